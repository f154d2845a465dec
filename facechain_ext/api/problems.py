"""Every refusal as ``{"error": code, "message": sentence}``: mapped on our own routes only, the host's handlers stay as they are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import Response
from starlette.types import Message

from facechain_ext.api.schemas import Problem
from facechain_ext.errors import (
    Cancelled,
    ConfigError,
    FaceChainError,
    FileFormatError,
    HostError,
    StorageError,
    TrainingError,
    UserInputError,
    WeightsMissing,
)

log = logging.getLogger(__name__)

SMALL_BODY = 1 << 20
"""Bytes of a request that holds settings only."""


class NotFound(UserInputError):
    """The address names a person, job or picture that is not there."""

    status = 404


class Conflict(UserInputError):
    """Something else has to happen first."""

    status = 409


class TooLarge(UserInputError):
    """More bytes or photos than we take."""

    status = 413


CODES: dict[type[FaceChainError], str] = {
    NotFound: "not-found",
    Conflict: "conflict",
    TooLarge: "too-large",
    ConfigError: "bad-settings",
    FileFormatError: "bad-file",
    UserInputError: "bad-input",
    WeightsMissing: "weights-missing",
    HostError: "host",
    TrainingError: "training",
    StorageError: "storage",
    Cancelled: "cancelled",
    FaceChainError: "failed",
}
STATUS_CODES = {400: "bad-request", 401: "unauthorized", 403: "forbidden", 413: "too-large", 415: "bad-request"}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": said, "content": {"application/json": {"example": {"error": code, "message": sentence}}}}
    for status, said, code, sentence in (
        (401, "No or wrong credentials, where the host asks for them", "unauthorized", "Incorrect username or password"),
        (404, "Not here", "not-found", "There is no person called 'Ada' here. Prepare their photos first."),
        (409, "Something else has to happen first", "conflict", "'Ada' has no face LoRA yet. Train one first."),
        (413, "Too large", "too-large", "The request is larger than 512 MB. Send fewer or smaller photos."),
        (422, "Something in the request cannot be used", "bad-settings", "'steps' must lie between 1 and 20000, not 0."),
    )
}


def problem(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer that says what went wrong."""
    return JSONResponse({"error": code, "message": message}, status, headers)


def code_of(error: FaceChainError) -> str:
    """The code of the nearest class we have one for."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def sentences(errors: Sequence[Any]) -> str:
    """What pydantic (1 or 2) found, as sentences."""
    said = []
    for error in errors:
        place = ".".join(str(part) for part in error["loc"] if part not in ("body", "query", "path"))
        message = str(error["msg"]).strip().rstrip(".")
        said.append(f"'{place}': {message}." if place and not place.isdigit() else f"The request cannot be read: {message}.")
    return " ".join(said)


class ApiRoute(APIRoute):
    """A route that limits the request's size and answers every error in our shape."""

    body_limit = SMALL_BODY

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, wrapped."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(limited(request, self.body_limit))
            except FaceChainError as error:
                return problem(error.status, code_of(error), str(error))
            except RequestValidationError as error:
                return problem(422, "bad-request", sentences(error.errors()))
            except StarletteHTTPException as error:
                code = STATUS_CODES.get(error.status_code, "refused")
                return problem(error.status_code, code, _said(error), dict(error.headers) if error.headers else None)
            except Exception as error:  # a host's entry point: no traceback may leave the house
                log.exception("%s %s failed", request.method, self.path)
                return problem(500, "unexpected", f"Something unexpected went wrong ({type(error).__name__}); the log has the details.")

        return answer


class UploadRoute(ApiRoute):
    """A route that checks its body's size itself."""

    body_limit = 1 << 62


def _said(error: StarletteHTTPException) -> str:
    return error.detail if isinstance(error.detail, str) and error.detail else HTTPStatus(error.status_code).phrase


def limited(request: Request, limit: int) -> Request:
    """``request`` that ends with 413 once its body exceeds ``limit`` bytes, whatever its headers say."""
    refusal = HTTPException(413, f"The request is larger than {limit / (1 << 20):g} MB. Send less.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise refusal
    seen = 0

    async def receive() -> Message:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise refusal
        return message

    return Request(request.scope, receive)
