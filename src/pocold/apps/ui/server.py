"""The server process: opens the model, serves the page, and removes every file at its end."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from fastapi import FastAPI

from pocold.apps.drawing.models import open_for
from pocold.apps.drawing.options import DrawOptions
from pocold.apps.serve.server import is_local, listen, url, with_estimator
from pocold.apps.ui.command import UiOptions
from pocold.apps.ui.example import copy_example
from pocold.apps.ui.sessions import Sessions

# The page and nothing else: no browser that shows it asks any other computer for anything.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; img-src 'self' data: blob:; "
    "frame-ancestors 'self'; form-action 'self'"
)


class _OwnFilesOnly:
    """Adds the policy to every answer. (As plain ASGI: an event stream is passed on as it comes.)"""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self._app(scope, receive, with_policy if scope["type"] == "http" else send)


def create_app(options: UiOptions, root: Path, **how: Any) -> tuple[FastAPI, Sessions]:
    """The page as an application, and its sessions.

    Args:
        options: of the command.
        root: folder for all files; to be removed when the server has ended.
        **how: of :class:`pocold.apps.ui.sessions.Sessions`.

    Raises:
        ValueError: for a model or device that there is not.
    """
    # Gradio reads these when it is imported, and when a part of a page is made.
    os.environ.update(GRADIO_TEMP_DIR=str(root / "cache"), GRADIO_ANALYTICS_ENABLED="False")
    import gradio as gr

    from pocold.apps.ui.handlers import Handlers
    from pocold.apps.ui.page import CSS, build_page, theme

    drawing = DrawOptions(model=options.model, precision=options.precision, device=options.device)
    model = with_estimator(open_for(drawing))
    example = copy_example(root / "example")
    sessions = Sessions(root, example, options.max_megapixels * 1e6, **how)
    page = build_page(Handlers(model, sessions, drawing), model, example)
    app = FastAPI(openapi_url=None)
    app = gr.mount_gradio_app(
        app, page, "/", server_name=options.host, server_port=options.port, max_file_size=int(options.max_mb * 1e6),
        show_error=False, ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False, run_history=False,
        footer_links=[], theme=theme(), css=CSS,
    )  # fmt: skip
    app.add_middleware(_OwnFilesOnly)
    return app, sessions


def run_ui(options: UiOptions) -> None:
    """Serve the page until interrupted.

    Raises:
        ValueError: if the model cannot be opened, or the address cannot be listened at.
    """
    listening = listen(options.host, options.port)
    with TemporaryDirectory(prefix="pocold-ui-") as folder:
        print("pocold: opening the model", file=sys.stderr, flush=True)
        app, _ = create_app(options, Path(folder))
        host, port = listening.getsockname()[:2]
        for sentence in announcement(host, port):
            print(f"pocold: {sentence}", file=sys.stderr, flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False,
                                timeout_graceful_shutdown=2)  # fmt: skip
        uvicorn.Server(config).run(sockets=[listening])


def announcement(host: str, port: int) -> list[str]:
    """What is told when the page can be opened: where, and what it means that others can."""
    told = [f"the page is at {url(host, port)}; Ctrl-C ends it"]
    if not is_local(host):
        told.append(
            f"warning: whoever reaches {host} can use this page and this computer's time, and photographs sent to it "
            "are not encrypted; put a server with TLS and a password in front"
        )
    return told
