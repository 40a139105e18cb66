# Two commands do everything on a fresh machine with Python 3.11 or newer: `make serve` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SERVE_ARGS ?=
EXAMPLES ?= 100
CYCLES ?= 200
IMAGES ?= 3000

.PHONY: serve test lint check bench fuzz crash clean help

help:            ## list these targets
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

serve: $(VENV)/.serve  ## start the server on SQLite and local files in ./data
	@exec $(BIN)/mdserver serve $(SERVE_ARGS)

test: lint check  ## everything that CI runs: ruff, mypy, pytest on SQLite and PostgreSQL
	$(BIN)/pytest -n 2 --dist worksteal

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check: $(VENV)/.test
	$(BIN)/mypy

bench: $(VENV)/.test  ## our numbers beside PocketBase, datasette and a bare aiohttp handler
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m tests.bench

fuzz: $(VENV)/.test  ## many requests of every kind against a real server; EXAMPLES=100 of each operation in each role
	MDSERVER_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -n 2 --dist worksteal tests/robust/test_api.py

crash: $(VENV)/.test  ## many kills under load, then many power cuts; all that was acknowledged has to be there
	$(BIN)/python -m tests.robust.crash --cycles $(CYCLES)
	$(BIN)/python -m tests.robust.power --images $(IMAGES)

clean:           ## remove the environment and caches (never ./data)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@
