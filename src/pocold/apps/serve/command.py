"""The flags of ``pocold serve``. Nothing heavy is imported here, so that ``--help`` needs no torch and no FastAPI."""

import os
from dataclasses import dataclass, fields
from pathlib import Path

import tyro

from pocold.apps.drawing.options import Precision

TOKEN_VARIABLE = "POCOLD_TOKEN"


@dataclass(frozen=True)
class ServeOptions:
    """How the server listens, draws, and what it refuses.

    Attributes:
        host: Address to listen at. 127.0.0.1 is this computer alone; any other lets whoever reaches it use the server.
        port: To listen at; 0 takes a free one.
        token: Asked for as "Authorization: Bearer TOKEN" by everything but /healthz, /readyz and /openapi.json. The
            environment variable POCOLD_TOKEN does the same and shows in no list of processes.
        model: Model folder; the bundled model if not given.
        precision: Of the networks, see pocold transfer.
        device: Such as cpu or cuda; auto takes a GPU where there is one.
        scheduler: Sampler of all pictures; the model's own if not given.
        batch: Most pictures drawn at once; 1 draws each alone.
        batch_wait: Milliseconds that a picture waits for others to be drawn with.
        queue: Most requests at a time, drawn and waiting; more are answered with 429.
        pictures: Most pictures of one request.
        frames: Most frames of one animation.
        codes: Appearance codes kept in memory; the one used longest ago goes first. 0 keeps none: /v1/encode answers
            with their files alone.
        max_mb: Most megabytes of one request.
        max_megapixels: Most megapixels of one uploaded picture; told by its header, before it is decoded.
        max_size: Longest side in pixels of what is drawn.
        max_steps: Most denoising steps.
        upload_seconds: For a request to arrive.
        seconds: For a request to be answered.
        drain_seconds: For running requests to end once the server is told to stop.
        replicas: Draw with so many processes of Ray Serve, each with the model; the limits above are those of each, and
            no codes are kept. With --ray one for each GPU or core of the cluster if not given.
        ray: Serve on a Ray cluster: its address, or local for one in this machine, which --replicas alone means.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    model: Path | None = None
    precision: Precision = "auto"
    device: str = "auto"
    scheduler: str | None = None
    batch: int = 4
    batch_wait: float = 20.0
    queue: int = 64
    pictures: int = 16
    frames: int = 120
    codes: int = 64
    max_mb: float = 20.0
    max_megapixels: float = 24.0
    max_size: int = 1024
    max_steps: int = 250
    upload_seconds: float = 30.0
    seconds: float = 300.0
    drain_seconds: float = 60.0
    replicas: int | None = None
    ray: str | None = None

    def check(self) -> None:
        """Raise a ValueError for numbers that cannot be meant."""
        for field in fields(self):
            value = getattr(self, field.name)
            low = 0 if field.name in ("port", "batch_wait", "codes") else 1 if isinstance(value, int) else 1e-3
            if isinstance(value, int | float) and not low <= value < 1e9:
                flag = field.name.replace("_", "-")
                raise ValueError(f"--{flag}: expected a number of at least {low:g}, got {value:g}")
        if self.port > 65535:
            raise ValueError(f"--port: expected a number of at most 65535, got {self.port}")
        if self.token is not None and (len(self.token) < 8 or not self.token.isascii() or " " in self.token):
            raise ValueError("--token: expected at least 8 characters of ASCII without spaces")


def serve(options: tyro.conf.OmitArgPrefixes[ServeOptions]) -> None:
    """Draw over HTTP: POST /v1/transfer, /v1/encode, /v1/edit, /v1/animate and /v1/pose; see docs/serve.md."""
    from dataclasses import replace

    if options.token is None and os.environ.get(TOKEN_VARIABLE):
        options = replace(options, token=os.environ[TOKEN_VARIABLE])
    options.check()
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ValueError(f'pocold serve needs the extra "serve": pip install "pocold[serve]" ({error})') from None
    if options.replicas is None and options.ray is None:
        from pocold.apps.serve.server import run_server

        run_server(options)
    else:
        from pocold.apps.ray_serve import run_on_ray

        run_on_ray(options)
