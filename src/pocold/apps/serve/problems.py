"""What goes wrong, as RFC 9457 problem details; the sentences are those of the command line."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """An answer that is not what was asked for.

    Attributes:
        status: of HTTP.
        detail: one sentence.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer."""
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return JSONResponse(body, self.status, self.headers, MEDIA_TYPE)


def busy(detail: str, seconds: int, status: int = 429) -> ProblemError:
    """Come again in so many seconds."""
    return ProblemError(status, detail, {"Retry-After": str(seconds)})


def answer_problems(app: FastAPI) -> None:
    """Answer everything that goes wrong in ``app`` as a problem."""

    @app.exception_handler(ProblemError)
    async def problem(_: Request, error: ProblemError) -> JSONResponse:
        return error.response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        detail = error.detail
        if error.status_code == 404:
            detail = f"there is nothing at {request.url.path}; GET /openapi.json says what there is"
        if error.status_code == 405:
            detail = f"{request.url.path} does not take {request.method}; GET /openapi.json says what it takes"
        return ProblemError(error.status_code, detail, error.headers).response()

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        # the traceback goes to the server's log; what it says may not be for the client
        return ProblemError(500, "the server failed at this request; its log says why").response()


def problem_responses() -> dict[int | str, dict[str, Any]]:
    """The problems of a route, for the OpenAPI description."""
    reasons = {
        400: "the request cannot be read",
        401: "no token, or another one",
        413: "more bytes or pixels than the server takes",
        415: "neither a form nor JSON",
        422: "what was asked for cannot be drawn",
        429: "too many requests; Retry-After says when to come again",
        503: "it took too long, or the server is shutting down",
    }
    schema = {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
        "example": {
            "type": "about:blank",
            "title": "Unprocessable Entity",
            "status": 422,
            "detail": "unknown pose 'wlak'; did you mean walk?",
        },
    }
    return {
        status: {"description": reason, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status, reason in reasons.items()
    }
