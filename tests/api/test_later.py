"""The API is made at its first request, or when the host shows its schema."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from facechain_ext.api.later import PREFIX, install_at_first_request


@pytest.fixture
def made() -> list[str]:
    """Grows with every installation."""
    return []


@pytest.fixture
def client(made: list[str]) -> TestClient:
    """A host with a page of its own."""
    app = FastAPI()

    @app.get("/own")
    def own() -> str:
        return "host"

    def install() -> None:
        made.append("installed")

        @app.get(PREFIX + "/health")
        def health() -> str:
            return "ok"

        @app.post(PREFIX + "/echo")
        def echo(body: dict[str, int]) -> dict[str, int]:
            return body

    install_at_first_request(app, install)
    return TestClient(app)


def test_the_hosts_own_requests_make_nothing(client, made):
    assert client.get("/own").json() == "host"
    assert client.get("/else").status_code == 404
    assert made == []


def test_the_first_request_is_answered_and_later_ones_too(client, made):
    assert client.post(f"{PREFIX}/echo", json={"a": 1}).json() == {"a": 1}
    assert client.get(f"{PREFIX}/health").json() == "ok"
    assert made == ["installed"]
    assert [r.path for r in client.app.routes if "rest" in r.path] == []


def test_what_is_not_there_is_not_there(client, made):
    assert client.get(f"{PREFIX}/nothing").status_code == 404
    assert client.get(f"{PREFIX}/echo").status_code == 405
    assert made == ["installed"]


def test_the_hosts_schema_names_it(client, made):
    assert {"/own", f"{PREFIX}/health"} <= set(client.get("/openapi.json").json()["paths"])
    assert client.get(f"{PREFIX}/health").json() == "ok"
    assert made == ["installed"]


def test_a_failure_is_said_at_every_request(made):
    app = FastAPI()

    def install() -> None:
        made.append("tried")
        raise ImportError("no pydantic")

    install_at_first_request(app, install)
    client = TestClient(app, raise_server_exceptions=False)
    assert [client.get(f"{PREFIX}/health").status_code for _ in range(2)] == [500, 500]
    assert made == ["tried", "tried"]
