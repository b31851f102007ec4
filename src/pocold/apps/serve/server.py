"""The server process: opens the model, listens, and drains when it is told to stop."""

import ipaddress
import socket
import sys
from types import FrameType

import uvicorn

from pocold.apps.drawing.models import Model, open_model, with_estimator
from pocold.apps.serve.app import Service, create_app
from pocold.apps.serve.command import ServeOptions


def open_service(options: ServeOptions) -> Service:
    """A service with the model that the options name.

    Raises:
        ValueError: for a model, device or scheduler that there is not.
    """
    return Service(options, with_estimator(served_model(options)))


def served_model(options: ServeOptions) -> Model:
    """The model that the options name, with their scheduler.

    Raises:
        ValueError: as :func:`open_service`.
    """
    model = open_model(options.model, options.precision, options.device)
    if options.scheduler is not None:
        model.pipeline.set_scheduler(options.scheduler)
    return model


class _Server(uvicorn.Server):
    """Says no to new requests as soon as it is told to stop; those that run are answered."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.draining = True
        super().handle_exit(sig, frame)


def run_server(options: ServeOptions) -> None:
    """Serve until interrupted.

    Raises:
        ValueError: if the model cannot be opened, or the address cannot be listened at.
    """
    listening = listen(options.host, options.port)
    service = open_service(options)
    config = uvicorn.Config(
        create_app(service), log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=max(1, round(options.drain_seconds)),
    )  # fmt: skip
    host, port = listening.getsockname()[:2]
    announce(host, port, options.token)
    _Server(config, service).run(sockets=[listening])


def announce(host: str, port: int, token: str | None) -> None:
    """Say on stderr where the server is, and who can use it."""
    print(f"pocold: serving at {url(host, port)}; Ctrl-C ends it", file=sys.stderr, flush=True)
    if not is_local(host) and token is None:
        print(
            f"pocold: warning: whoever reaches {host} can use this server, and what is sent to it is not encrypted; "
            "ask for a --token, and put a server with TLS in front",
            file=sys.stderr,
            flush=True,
        )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; ValueError if that cannot be."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise ValueError(f"--host {host} --port {port} cannot be listened at: {error.strerror or error}") from None


def is_local(host: str) -> bool:
    """Whether an address is this computer's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url(host: str, port: int) -> str:
    """As a browser takes it."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
