"""The flags of ``pocold ui``. Nothing heavy is imported here, so that ``--help`` needs no torch and no gradio."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import tyro

from pocold.apps.drawing.options import Precision


@dataclass(frozen=True)
class UiOptions:
    """How the page is served, what it draws with, and what it refuses.

    Attributes:
        host: Address to listen at. 127.0.0.1 is this computer alone; any other lets whoever reaches it use the page.
        port: To listen at; 0 takes a free one.
        model: Model folder; the bundled model if not given.
        precision: Of the networks, see pocold transfer.
        device: Such as cpu or cuda; auto takes a GPU where there is one.
        max_mb: Most megabytes of one file.
        max_megapixels: Most megapixels of one picture; told by its header, before it is decoded.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    model: Path | None = None
    precision: Precision = "auto"
    device: str = "auto"
    max_mb: float = 50.0
    max_megapixels: float = 60.0

    def check(self) -> None:
        """Raise a ValueError for numbers that cannot be meant."""
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port: expected a number from 0 to 65535, got {self.port}")
        for flag, value in (("max-mb", self.max_mb), ("max-megapixels", self.max_megapixels)):
            if not 1e-3 <= value < 1e6:
                raise ValueError(f"--{flag}: expected a number of at least 0.001, got {value:g}")


def ui(options: tyro.conf.OmitArgPrefixes[UiOptions]) -> None:
    """Draw in a browser: photographs, poses to choose by looking, edits, mixtures and animations; see docs/ui.md."""
    options.check()
    if find_spec("gradio") is None:  # it takes seconds to import
        raise ValueError('pocold ui needs the extra "ui": pip install "pocold[ui]"')
    from pocold.apps.ui.server import run_ui

    run_ui(options)
