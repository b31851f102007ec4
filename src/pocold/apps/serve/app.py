"""The routes. They read what is asked for, have it done, and watch whether anybody still waits for it."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from threading import Event
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from pocold.apps.drawing.models import Model
from pocold.apps.serve.batching import Drawer, StoppedError
from pocold.apps.serve.command import ServeOptions
from pocold.apps.serve.exchange import Answer
from pocold.apps.serve.limits import OPEN_PATHS, Limits
from pocold.apps.serve.metrics import Metrics
from pocold.apps.serve.problems import ProblemError, answer_problems, busy, problem_responses
from pocold.apps.serve.requests import (
    AnimateBody,
    B,
    EditBody,
    EncodeBody,
    PoseBody,
    TransferBody,
    read_body,
    request_bodies,
)
from pocold.apps.serve.stages import Stages, Steps
from pocold.apps.serve.work import MOVING, Work
from pocold.devices import release_memory

_LEFT = 499  # what servers write down for a client that has left; nobody reads it


class Service:
    """A model at work for many clients.

    Args:
        options: limits.
        model: draws; its pipeline has an estimator.
    """

    def __init__(self, options: ServeOptions, model: Model) -> None:
        self.options, self.metrics = options, Metrics()
        self.drawer = Drawer(model.pipeline, options.batch, options.batch_wait / 1000, self.metrics)
        self.work = Work(options, model)
        self.running = 0
        self.draining = False
        self._stages = Stages(self.drawer)
        self._tasks: set[asyncio.Task[Answer]] = set()
        self.metrics.gauge("pocold_requests_running", "Requests drawn and waiting.", lambda: self.running)
        self.metrics.gauge("pocold_pictures_waiting", "Pictures waiting to be drawn.", lambda: len(self.drawer))
        self.metrics.gauge("pocold_codes", "Appearance codes in memory.", lambda: len(self.work.codes))

    async def answer(self, request: Request, kind: type[B], work: Callable[[B, Event], Steps]) -> Response:
        """Work on a request, in its turn, as long as its client waits and its time lasts."""
        if self.draining:
            raise busy("the server is shutting down", 5, status=503)
        if self.running >= self.options.queue:
            async for _ in request.stream():  # a client that is still sending would not read the answer
                pass
            raise busy(f"{self.running} requests are being worked on, more do not fit", self._wait())
        self.running += 1
        handed_over = False
        try:
            body = await self._body(request, kind)
            stop = Event()
            result = asyncio.create_task(self._stages.run(work(body, stop), stop))
            self._tasks.add(result)
            result.add_done_callback(self._done)
            handed_over = True
        finally:
            if not handed_over:
                self.running -= 1
        return await self._watch(request, result, stop)

    async def _body(self, request: Request, kind: type[B]) -> B:
        try:
            return await asyncio.wait_for(read_body(request, kind), self.options.upload_seconds)
        except TimeoutError:
            seconds = self.options.upload_seconds
            raise ProblemError(408, f"the request did not arrive within {seconds:g} seconds", _CLOSE) from None

    async def _watch(self, request: Request, result: "asyncio.Task[Answer]", stop: Event) -> Response:
        """The result; a client that leaves, or time that is up, stops the work at its next step."""
        left = asyncio.create_task(_until_left(request))
        try:
            watched: set[asyncio.Future[Any]] = {result, left}
            await asyncio.wait(watched, timeout=self.options.seconds, return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                answer = result.result()
                return Response(answer.content, 200, answer.headers, answer.media_type)
            stop.set()
            if left.done():
                self.metrics.count("pocold_stopped_total", reason="client left")
                return Response(status_code=_LEFT)
            self.metrics.count("pocold_stopped_total", reason="time")
            raise busy(f"this took longer than {self.options.seconds:g} seconds", self._wait(), status=503)
        except asyncio.CancelledError:  # the server was told to stop, and the time to drain is over
            stop.set()
            raise
        finally:
            left.cancel()

    def _done(self, result: "asyncio.Task[Answer]") -> None:
        self.running -= 1
        self._tasks.discard(result)
        if self.running == 0 and not self.draining:
            result.get_loop().call_later(_IDLE, self._rest)
        if not result.cancelled():
            result.exception()  # else asyncio complains of one that nobody asked for

    def _rest(self) -> None:
        """Keep no memory that nobody needs, if there is still nothing to do."""
        if self.running == 0 and not self.draining:
            asyncio.get_running_loop().run_in_executor(None, self._give_back)

    def _give_back(self) -> None:
        release_memory()
        self.metrics.count("pocold_memory_released_total")

    def _wait(self) -> int:
        """Seconds until there is likely to be room."""
        return max(1, min(60, math.ceil(len(self.drawer) * self.drawer.seconds_per_picture / 2)))

    async def close(self) -> None:
        """End the threads, once their work is done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._stages.close)
        await asyncio.to_thread(self.drawer.close)


_CLOSE = {"Connection": "close"}
_IDLE = 1.0  # seconds without a request after which memory is given back


async def _until_left(request: Request) -> None:
    """Return when the client is gone; its whole request must have been read."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return


def create_app(service: Service) -> FastAPI:
    """The application of a service; the service ends with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    app = FastAPI(
        title="pocold", version=version("pocold"), lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Controllable person image synthesis: a person of a photograph in other poses.",
    )  # fmt: skip
    answer_problems(app)
    _add_routes(app, service)
    paths = frozenset(route for route in _described(app)["paths"] if "{" not in route) | OPEN_PATHS
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    options = service.options
    app.add_middleware(
        Limits, token=options.token, max_bytes=int(options.max_mb * 1e6), metrics=service.metrics, paths=paths
    )
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    _, bodies = request_bodies()

    def described(kind: type[Any], content: dict[str, Any], summary: str) -> dict[str, Any]:
        return {
            "summary": summary,
            "response_class": Response,
            "openapi_extra": {"requestBody": bodies[kind]},
            "responses": {200: {"description": "done", "content": content}, **problem_responses()},
        }

    binary = {"schema": {"type": "string", "format": "binary"}}
    pictures: dict[str, Any] = {"image/png": binary, "application/zip": binary}
    pictures |= {"application/json": {"example": {"pictures": [{"name": "walk-side.png", "data": "iVBORw0KGgo="}]}}}
    code = {"application/json": {"example": {"code": "q83vEjRWeJA", "warnings": []}}}
    one = {"image/png": binary}
    moving = dict.fromkeys((*MOVING.values(), "application/zip"), binary)

    @app.post("/v1/transfer", **described(TransferBody, pictures, "A person in other poses"))
    async def transfer(request: Request) -> Response:
        return await service.answer(request, TransferBody, service.work.transfer)

    @app.post("/v1/encode", **described(EncodeBody, code, "The appearance code of a person"))
    async def encode(request: Request) -> Response:
        return await service.answer(request, EncodeBody, service.work.encode)

    @app.post("/v1/edit", **described(EditBody, pictures, "A region in another person's appearance"))
    async def edit(request: Request) -> Response:
        return await service.answer(request, EditBody, service.work.edit)

    @app.post("/v1/animate", **described(AnimateBody, moving, "A person who moves"))
    async def animate(request: Request) -> Response:
        return await service.answer(request, AnimateBody, service.work.animate)

    @app.post("/v1/pose", **described(PoseBody, one, "The DensePose map of a photograph or a named pose"))
    async def pose(request: Request) -> Response:
        return await service.answer(request, PoseBody, service.work.pose)

    @app.delete("/v1/codes/{code}", summary="Forget an appearance code", status_code=204, response_class=Response)
    async def forget(code: str) -> Response:
        service.work.codes.forget(code)
        return Response(status_code=204)

    @app.get("/healthz", summary="Whether the server runs")
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", summary="Whether it takes requests")
    async def readyz() -> JSONResponse:
        if service.draining:
            raise busy("the server is shutting down", 5, status=503)
        if service.running >= service.options.queue:
            raise busy("as many requests as fit are being worked on", 1, status=503)
        return JSONResponse({"status": "ready", "running": service.running})

    @app.get("/metrics", summary="Counters for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(service.metrics.render(), media_type="text/plain; version=0.0.4")

    @app.exception_handler(StoppedError)
    async def stopped(_: Request, __: StoppedError) -> Response:
        return Response(status_code=_LEFT)


def _described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, with the bodies that the routes read themselves."""
    if app.openapi_schema is None:
        described = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas, _ = request_bodies()
        described.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
        app.openapi_schema = described
    return app.openapi_schema
