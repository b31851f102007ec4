"""``pocold serve --replicas N``: the same application as a deployment of Ray Serve, in one machine or in many.

Every replica is an actor that opens the model itself and serves what ``pocold serve`` serves. Ray's proxy on the head
node takes the requests and gives each to one of them.
"""

import io
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import replace
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Any

from pocold.apps.ray_clusters import LOCAL, connect, silence_statistics
from pocold.apps.serve.command import ServeOptions

if TYPE_CHECKING:
    from starlette.types import ASGIApp

NAME = "pocold"  # of the application and its deployment
REPLICA = "X-Pocold-Replica"  # the header that says who answered
_ROOM = 64  # requests of a replica beyond its queue: those that it refuses, and /healthz, which must not wait


def make_application(options: ServeOptions, replicas: int, gpus: float = 0) -> Any:
    """The Ray Serve application (a ``ray.serve.Application``) that ``ray.serve.run`` takes.

    Args:
        options: of each replica: the model, which lies at the same path on every node, and the limits. No appearance
            codes are kept: the next request may reach another replica, which would not know them.
        replicas: number of actors; each takes a core.
        gpus: that each takes.

    Raises:
        ValueError: if Ray is not installed.
    """
    _, serve = _import_ray()
    deployment = serve.deployment(
        serve.ingress(_builder(replace(options, codes=0)))(),
        name=NAME,
        num_replicas=replicas,
        ray_actor_options={"num_cpus": 1, "num_gpus": gpus},
        # more than a replica takes: else Ray keeps back what the replica would answer with 429
        max_ongoing_requests=options.queue + _ROOM,
        graceful_shutdown_timeout_s=options.drain_seconds,
        graceful_shutdown_wait_loop_s=0.2,
        max_constructor_retry_count=1,  # a model that cannot be opened cannot be opened the next time either
        logging_config=_quiet(),
    )
    return deployment.bind()


def _builder(options: ServeOptions) -> Callable[[], "ASGIApp"]:
    """What a replica calls to get its application."""

    def build() -> "ASGIApp":
        from ray import serve

        from pocold.apps.serve.app import create_app
        from pocold.apps.serve.server import open_service

        return _named(create_app(open_service(options)), serve.get_replica_context().replica_id.unique_id)

    return build


def _named(app: "ASGIApp", replica: str) -> "ASGIApp":
    """Say in every answer which replica gave it."""
    from starlette.datastructures import MutableHeaders
    from starlette.types import Message, Receive, Scope, Send

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REPLICA] = replica
            await send(message)

        await app(scope, receive, sending)

    return named


def run_on_ray(options: ServeOptions) -> None:
    """Serve until interrupted or told to end (SIGTERM); running requests are answered, replicas end.

    Args:
        options: ``replicas`` and ``ray`` say how many, and where.

    Raises:
        ValueError: if Ray is not installed, there is no cluster at the address, it has not as many GPUs or cores, it
            serves something else, the address cannot be listened at, or the model cannot be opened.
    """
    with served_on_ray(options) as (host, port):
        from pocold.apps.serve.server import announce

        with _told_to_end() as told:
            announce(host, port, options.token)
            while not told.wait(1):  # a wait without end would not let Python see a signal on Windows
                pass


@contextmanager
def served_on_ray(options: ServeOptions) -> Iterator[tuple[str, int]]:
    """The application on Ray as long as the block lasts; yields the host and port that Ray's proxy listens at.

    A cluster that was started here ends with the block. On another one Ray Serve ends, the cluster stays.

    Args:
        options: ``replicas`` and ``ray`` say how many, and where.

    Raises:
        ValueError: see :func:`run_on_ray`.
    """
    ray, serve = _import_ray()
    address = options.ray or LOCAL
    port = _port(options, address)
    if options.model is not None:  # actors have other working folders
        options = replace(options, model=options.model.resolve())
    if address == LOCAL:  # what cannot be opened here cannot be in an actor, and Ray does not always say why
        from pocold.apps.serve.server import served_model

        served_model(replace(options, device="cpu", precision="auto"))  # the accelerators are the actors'
    connect(ray, address, options.replicas or 1, "ray.serve")
    try:
        if serve.status().proxies:
            raise ValueError("--ray: this cluster serves something already; `serve shutdown` would end that")
        replicas, gpus = shares(options, ray.cluster_resources())
        try:
            _start(ray, serve, options, port, make_application(options, replicas, gpus))
            yield options.host, port
            _drain(serve, options.drain_seconds)
        finally:
            with redirect_stdout(io.StringIO()):  # Ray prints that it cannot end twice what it has just ended
                serve.shutdown()
    finally:
        ray.shutdown()


def _start(ray: Any, serve: Any, options: ServeOptions, port: int, application: Any) -> None:
    """Start Ray's proxy and the replicas; ValueError says what kept a replica from starting."""
    try:
        serve.start(
            proxy_location="HeadOnly", http_options={"host": options.host, "port": port}, logging_config=_quiet()
        )
        serve.run(application, name=NAME, route_prefix="/", logging_config=_quiet())
    except (ray.exceptions.RayError, RuntimeError) as error:
        raise ValueError(f"serving on Ray failed: {_cause(serve, error)}") from error


def _drain(serve: Any, seconds: float) -> None:
    """Let the replicas end once their requests are answered; without this Ray's proxy would end with the replicas."""
    until = time.monotonic() + seconds + 10
    while NAME in serve.status().applications and time.monotonic() < until:
        with suppress(TimeoutError):  # it waits a minute
            serve.delete(NAME)


def _import_ray() -> tuple[Any, Any]:
    silence_statistics()
    try:
        import ray
        from ray import serve
    except ImportError as error:
        raise ValueError(f'--replicas and --ray need the extra "ray": pip install "pocold[ray]" ({error})') from None
    return ray, serve


def _port(options: ServeOptions, address: str) -> int:
    """The port for Ray's proxy, which would not say which free one it took."""
    if address == LOCAL:
        from pocold.apps.serve.server import listen

        with listen(options.host, options.port) as listening:
            port: int = listening.getsockname()[1]
        return port
    if options.port == 0:
        raise ValueError("--port 0: a free port can be found with --ray local alone; give one that is free there")
    return options.port


def shares(options: ServeOptions, cluster: dict[str, float]) -> tuple[int, int]:
    """The number of replicas, and the GPUs of each.

    Args:
        options: ``replicas``, and ``device``, which says whether GPUs are used.
        cluster: what Ray says of it: how many of ``GPU`` and ``CPU``.

    Raises:
        ValueError: for more than fit: Ray would wait for other machines, and say nothing.
    """
    gpus = int(cluster.get("GPU", 0)) if options.device == "auto" or options.device.startswith("cuda") else 0
    there = gpus or max(1, int(cluster.get("CPU", 1)))
    replicas = options.replicas or there
    if replicas > there:
        what = "GPUs" if gpus else "cores"
        raise ValueError(f"--replicas: expected at most {there}, as the cluster has {what}, got {replicas}")
    return replicas, 1 if gpus else 0


def _quiet() -> dict[str, Any]:
    """Nothing of requests is written down."""
    return {"log_level": "ERROR", "enable_access_log": False}


def _cause(serve: Any, error: Exception) -> str:
    """What went wrong: if a replica did not start, the last line of its traceback, without the error's name."""
    application = serve.status().applications.get(NAME)
    deployment = application.deployments.get(NAME) if application else None
    lines = [line for line in (deployment.message if deployment else str(error)).splitlines() if line.strip()]
    last = lines[-1].strip() if lines else type(error).__name__
    return last.removeprefix("ValueError: ").removeprefix("RuntimeError: ")


@contextmanager
def _told_to_end() -> Iterator[Event]:
    """An event that SIGTERM or Ctrl-C sets."""
    told = Event()

    def tell(number: int, frame: FrameType | None) -> None:
        told.set()

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
