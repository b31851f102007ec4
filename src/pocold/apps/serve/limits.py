"""What every request passes first: the token, the limit on bytes, and the count of what was answered."""

import asyncio
import hmac
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pocold.apps.serve.metrics import Metrics
from pocold.apps.serve.problems import ProblemError

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json"})


class Limits:
    """ASGI middleware. (Starlette's own base class hides from a route that its client has left.)

    Args:
        app: what is behind.
        token: asked for; None asks for none.
        max_bytes: of a request's body.
        metrics: counts answers.
        paths: that are counted by name; all others are one.
    """

    def __init__(
        self, app: ASGIApp, token: str | None, max_bytes: int, metrics: Metrics, paths: frozenset[str]
    ) -> None:
        self._app, self._token, self._max_bytes, self._metrics, self._paths = app, token, max_bytes, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, path = time.monotonic(), scope["path"]
        counted = path if path in self._paths else "other"

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.count("pocold_requests_total", path=counted, status=str(message["status"]))
                if path.startswith("/v1/"):
                    self._metrics.observe(time.monotonic() - start)
            await send(message)

        headers = dict(scope["headers"])
        if not self._allowed(path, headers.get(b"authorization", b"")):
            problem = ProblemError(401, "this server asks for a token: Authorization: Bearer TOKEN", _CHALLENGE)
            await problem.response()(scope, receive, sending)
            return
        said = headers.get(b"content-length", b"0")
        if said.isdigit() and int(said) > self._max_bytes:
            if b"expect" not in headers:  # who waits for "100 Continue" has sent nothing yet
                await self._read_on(receive)
            await self._too_large().response()(scope, receive, sending)
            return
        arrived = 0

        async def receiving() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self._max_bytes:  # of a body that did not say its length
                if message.get("more_body"):
                    await self._read_on(receive)
                raise self._too_large()
            return message

        await self._app(scope, receiving, sending)

    def _allowed(self, path: str, given: bytes) -> bool:
        if self._token is None or path in OPEN_PATHS:
            return True
        return hmac.compare_digest(given, b"Bearer " + self._token.encode())

    async def _read_on(self, receive: Receive) -> None:
        """Reads and drops a body a little longer: a client that still sends when the connection closes sees a
        broken connection, not the answer. Bounded by bytes (twice what is allowed) and by seconds."""
        left = 2 * self._max_bytes
        try:
            async with asyncio.timeout(_READ_ON_SECONDS):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body"):  # the end, or the client has left
                        return
        except TimeoutError:
            return

    def _too_large(self) -> ProblemError:
        limit = f"{self._max_bytes / 1e6:g} MB"
        return ProblemError(413, f"the request is larger than {limit}", {"Connection": "close"})


_READ_ON_SECONDS = 2.0
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="pocold"'}
