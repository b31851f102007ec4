"""A server of this process, at a port of its own, as a client meets it."""

import io
import threading
import time
from contextlib import contextmanager

import httpx
import numpy as np
import uvicorn
from PIL import Image

from pocold.apps.serve.app import create_app
from pocold.apps.serve.command import ServeOptions
from pocold.apps.serve.server import listen, open_service


@contextmanager
def served(model, **options):
    """A client of a running server; the client has the ``service``."""
    service = open_service(ServeOptions(model=model, port=0, **options))
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_level="error", timeout_graceful_shutdown=30))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=120) as client:
            client.service = service
            wait_for(lambda: server.started)
            yield client
    finally:  # a test that fails must not leave a server, whose thread would keep the run from ending
        server.should_exit = True
        thread.join(60)
    assert not thread.is_alive()


def wait_for(true, seconds=30):
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def form(**fields):
    """The fields and files of a form; paths are files, lists are repeated."""
    files, data = [], {}
    for name, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            if hasattr(value, "read_bytes"):
                files.append((name, (value.name, value.read_bytes())))
            else:
                data.setdefault(name, []).append(str(value))
    return {"data": data, "files": files or None}


def post(client, path, **fields):
    return client.post(path, **form(**fields))


def picture(answer):
    """The drawn picture ``(H, W, 3)``, as integers whose differences do not wrap."""
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)
