"""What went wrong, as a status and JSON: what, got, allowed, remedy, as everywhere in distilvox."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from distilvox.errors import UserError
from distilvox.sound import AudioError

LOG = logging.getLogger("uvicorn.error")


@dataclass(frozen=True)
class Fault:
    """What is wrong, what was got, what is allowed, what to do about it."""

    what: str
    got: str | None = None
    allowed: str | None = None
    remedy: str | None = None


class Turned(UserError):
    """A request turned away with a status of its own."""

    def __init__(
        self,
        status: int,
        what: str,
        *,
        got: object = None,
        allowed: str | None = None,
        remedy: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(what, got=got, allowed=allowed, remedy=remedy)
        self.status, self.headers = status, dict(headers or {})


STATUSES = {
    400: "a value is missing or wrong",
    401: "no key, or a wrong one",
    403: "asked for by another web page, or under another host's name",
    404: "nobody of this name, or no such path",
    408: "the body came too slowly",
    409: "it does not fit what is enrolled",
    413: "the body is too large",
    415: "the body is no form",
    422: "a recording cannot be used; the text says which and why",
    503: "all threads are busy and the queue is full: try again after `Retry-After` seconds",
}
"""What each status of a fault means."""

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Fault, "description": meaning} for status, meaning in STATUSES.items()
}
"""For OpenAPI."""


def status_of(error: UserError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, Turned):
        return error.status
    if isinstance(error, AudioError):
        return 422
    return 500 if error.exit_code == 1 else 400


def answer(error: UserError) -> JSONResponse:
    """An error as a response."""
    got = None if error.got is None else str(error.got)
    fault = {"what": error.what, "got": got, "allowed": error.allowed, "remedy": error.remedy}
    headers = error.headers if isinstance(error, Turned) else None
    return JSONResponse(fault, status_of(error), headers)


def add_handlers(app: FastAPI) -> None:
    """Every error that a request can meet leaves in the one form."""

    @app.exception_handler(UserError)
    async def of_user(request: Request, error: UserError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def of_value(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        said = None if first["type"] == "missing" else str(first["input"])[:200]
        return answer(
            Turned(400, f"{name} is wrong", got=said, allowed=str(first["msg"]), remedy="see /docs")
        )

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        what = HTTPStatus(error.status_code).phrase.lower()
        shown = f"{request.method} {request.url.path}"[:200]
        return answer(Turned(error.status_code, what, got=shown, remedy="see /docs", headers=error.headers))

    @app.exception_handler(Exception)
    async def of_nobody(request: Request, error: Exception) -> JSONResponse:
        LOG.error("a request failed", exc_info=error)
        what = "the service failed, and this must not happen"
        return answer(Turned(500, what, remedy="its log says more; please report it"))
