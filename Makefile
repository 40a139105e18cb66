# Two commands do everything on a fresh machine with Python 3.11 or newer: `make serve` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
NPM := tests/npm/node_modules/.package-lock.json
SERVE_ARGS ?=
EXAMPLES ?= 100
CYCLES ?= 200
IMAGES ?= 3000
MINUTES ?= 5

.PHONY: serve test lint check npm bench fuzz crash soak soak-sync binary test-binary wheel test-wheel clean help

help:            ## list these targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

serve: $(VENV)/.serve  ## start the server on SQLite and local files in ./data
	@exec $(BIN)/mdserver serve $(SERVE_ARGS)

test: lint check $(NPM)  ## everything that CI runs: ruff, mypy, pytest on SQLite and PostgreSQL
	$(BIN)/pytest -n 2 --dist worksteal

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check: $(VENV)/.test
	$(BIN)/mypy

npm: $(NPM)  ## the real clients of live editing, from npm, with the Node of the environment: tests/npm/node_modules

bench: $(VENV)/.test  ## our numbers beside PocketBase, datasette and a bare aiohttp handler
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m tests.bench

fuzz: $(VENV)/.test  ## many requests of every kind against a real server; EXAMPLES=100 of each operation in each role
	MDSERVER_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -n 2 --dist worksteal tests/robust/test_api.py

crash: $(VENV)/.test  ## many kills under load, then many power cuts; all that was acknowledged has to be there
	$(BIN)/python -m tests.robust.crash --cycles $(CYCLES)
	$(BIN)/python -m tests.robust.power --images $(IMAGES)

soak: $(VENV)/.test $(NPM)  ## real clients of live editing for minutes: typing, lost connections, kills; MINUTES=5
	$(BIN)/python -m tests.collab.soak --minutes $(MINUTES)

soak-sync: $(VENV)/.test $(NPM)  ## two synced folders, live editors and requests for minutes, with kills; MINUTES=5
	$(BIN)/python -m tests.folder.soak --minutes $(MINUTES)

# It runs where the C library is at least as new as on the machine that builds it. What is loaded by name is named here.
PACKING := --onefile --name mdserver --noconfirm --log-level WARN --distpath dist --workpath build --specpath build \
	--collect-data mdserver --collect-submodules mdserver --exclude-module tkinter \
	--hidden-import pysqlite3 --hidden-import psycopg_binary --hidden-import uvloop

binary: $(VENV)/.test  ## the server as a single file that needs no Python: dist/mdserver
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[binary]'
	$(BIN)/pyinstaller $(PACKING) mdserver/__main__.py

test-binary: binary  ## run dist/mdserver in a bare directory with an empty environment
	$(BIN)/python -m tests.deploy.packed dist/mdserver

wheel: $(VENV)/.test  ## the Python package: dist/mdserver-*.whl
	rm -f dist/mdserver-*.whl
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

test-wheel: wheel  ## install the package into an empty environment, and run it there as above
	rm -rf build/wheel && $(PYTHON) -m venv build/wheel
	build/wheel/bin/pip install --quiet --disable-pip-version-check dist/mdserver-*.whl
	$(BIN)/python -m tests.deploy.packed build/wheel/bin/mdserver

clean:           ## remove the environment and caches (never ./data)
	rm -rf $(VENV) tests/npm/node_modules build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

# npm writes its stamp itself, and asks the registry that the machine is set up for.
$(NPM): tests/npm/package.json tests/npm/package-lock.json | $(VENV)/.test
	$(BIN)/python -m tests.npm ci --loglevel=error
	@touch $@
