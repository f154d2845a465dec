"""The API made at its first request: its schemas and routes take a WebUI's start a noticeable time that most starts never need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

PREFIX = "/facechain/v1"
"""Where all of it lies."""


def install_at_first_request(app: FastAPI, install: Callable[[], None]) -> None:
    """Call ``install``, which adds the routes to ``app``, when the first of them is asked for, or ``app``'s schema is."""
    later = _Later(app, install)
    later.route = Route(PREFIX + "/{rest:path}", later, include_in_schema=False)
    app.router.routes.append(later.route)
    make_schema = app.openapi

    def openapi() -> dict[str, Any]:
        later.come()
        return make_schema()

    app.openapi = openapi  # type: ignore[method-assign]


class _Later:
    """Stands where the routes will be. Both ways in run in the server's event loop, so that nothing is made twice."""

    route: Route

    def __init__(self, app: FastAPI, install: Callable[[], None]) -> None:
        self._app, self._install = app, install

    def come(self) -> None:
        if self.route in self._app.router.routes:
            self._install()
            self._app.router.routes.remove(self.route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.come()
        await self._app.router(scope, receive, send)
