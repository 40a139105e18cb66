"""Schemathesis over the OpenAPI document: whatever is sent, the answer is one that the document describes.

A few fixed examples of each operation here; `make fuzz` sends many, other ones each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mdserver import app
from mdserver.store.db import Engine
from mdserver.web import openapi

from .served import Served, World, serving

EXAMPLES = int(os.environ.get("MDSERVER_FUZZ_EXAMPLES", "0"))
"""How many requests are made of one operation in one role; 0: few, and the same ones each time."""

FEW: dict[Engine, int] = {"sqlite": 6, "postgres": 3}

ROUTES = [route for resource in app.ROUTES for route in resource.all]
ADDRESSES = {(route.method, openapi._path(route)): route for route in ROUTES}
STREAM = "/api/v1/events"
"""An answer without an end, of which some seconds are heard."""

PRINCIPALS = ("anonymous", "viewer", "owner")

# Fields of a body, by the name of what they may name.
FIELDS = {
    "parent_id": "documents",
    "before": "documents",
    "after": "documents",
    "from": "documents",
    "workspace_id": "workspaces",
    "user_id": "user",
    "current_password": "password",
    "invitation": "token",
}
ACCEPTED = ("*/*", "application/json", "text/markdown", "text/html;q=0.5, application/json;q=0.1", "image/png", "?")


def refusals_are_problems(context: CheckContext, response: Response, case: Case[Any]) -> None:
    """Every answer from 400 on is an RFC 9457 problem that says the status it comes with."""
    if response.status_code >= 400:
        assert response.headers["content-type"] == ["application/problem+json"], response.headers
        told = response.json()
        assert told["status"] == response.status_code
        assert told["detail"]
        assert told["type"].startswith("http")


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    refusals_are_problems,
]


class Api:
    """A server, its description as Schemathesis reads it, and one connection to it."""

    def __init__(self, served: Served, engine: Engine) -> None:
        self.engine = engine
        self.served = served
        self.schema: Any = schemathesis.openapi.from_url(f"{served.url}/api/v1/openapi.json")
        self.session = requests.Session()

    def ask(self, case: Case[Any], headers: dict[str, str]) -> Response:
        """Send the case and judge the answer. FailureGroup says how to repeat what went wrong."""
        response = case.call(base_url=self.served.url, session=self.session, headers=headers, allow_redirects=False)
        case.validate_response(response, checks=CHECKS, headers=headers)
        return response


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def api(request: pytest.FixtureRequest) -> Iterator[Api]:
    engine: Engine = request.param
    with serving(engine) as served:
        made = Api(served, engine)
        yield made
        made.session.close()


@pytest.mark.parametrize("principal", PRINCIPALS)
@pytest.mark.parametrize(("method", "path"), sorted(ADDRESSES), ids=lambda one: str(one))
def test_every_answer_is_one_that_is_documented(api: Api, method: str, path: str, principal: str) -> None:
    operation: APIOperation[Any, Any, Any, Any] = api.schema[path][method]
    worlds = [api.served.world()]
    few = 1 if path == STREAM else FEW[api.engine]

    @hypothesis.settings(
        max_examples=EXAMPLES or few,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=cases(operation), draw=st.data())
    def run(case: Case[Any], draw: st.DataObject) -> None:
        world = worlds[-1]
        point(case, path, world, lambda options: draw.draw(st.sampled_from(options)))
        response = api.ask(case, world.credentials[principal])
        if method != "GET" and response.status_code < 300:
            worlds.append(api.served.world())  # who signed out, or deleted the workspace, would see the same ever after

    run()


def cases(operation: APIOperation[Any, Any, Any, Any]) -> st.SearchStrategy[Case[Any]]:
    """Requests as described and, where something can be wrong with them, ones that are not."""
    good = operation.as_strategy()
    if operation.body or operation.query:
        return st.one_of(good, good, operation.as_strategy(GenerationMode.NEGATIVE))
    return good


def point(case: Case[Any], path: str, world: World, choose: Any) -> None:
    """Make most ids in a request those of things that exist: random ones would all be answered 404."""
    for name in case.path_parameters:
        noun = path.split("/{" + name)[0].rpartition("/")[2] if name == "id" else name
        if found := world.known.get(noun):
            case.path_parameters[name] = choose([*found, *found, case.path_parameters[name]])
    if "If-Match" in case.headers or choose([True, False]):
        case.headers["If-Match"] = choose(["*", "*", '"1-0000000000000000"', case.headers.get("If-Match", "*")])
    case.headers["Accept"] = choose(ACCEPTED)
    if isinstance(case.body, dict):
        for field, value in case.body.items():
            if found := world.known.get(FIELDS.get(field, field)):
                case.body[field] = choose([*found, value])


def test_an_undocumented_answer_is_found(api: Api) -> None:
    """The mutant: a description that leaves out what the server does answer."""
    path = "/api/v1/workspaces/{id}"
    described = requests.get(f"{api.served.url}/api/v1/openapi.json", timeout=30).json()
    del described["paths"][path]["get"]["responses"]["404"]
    described["components"]["schemas"]["Workspace"]["properties"]["name"]["type"] = "integer"
    schema = schemathesis.openapi.from_dict(described)
    world = api.served.world()
    for id, found in ((world.known["workspaces"][0], "Response violates schema"), ("0" * 36, "Undocumented")):
        case = schema[path]["GET"].Case(path_parameters={"id": id})
        response = case.call(base_url=api.served.url, session=api.session, headers=world.credentials["owner"])
        with pytest.raises(FailureGroup, match=found):
            case.validate_response(response, checks=CHECKS)
