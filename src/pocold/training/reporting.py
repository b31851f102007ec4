"""What a run says while it goes: a progress display, a log of scalars, TensorBoard where it is installed."""

import json
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressDisplay

from pocold.imaging.files import atomic_write


class Reporter:
    """Log and display of one run; silent in all processes but the main one.

    Scalars go to ``log.jsonl`` (a line per entry, with its step) and to TensorBoard. When a run goes on after a kill,
    entries beyond its checkpoint are dropped: every step is in the log once.

    Args:
        folder: of the run.
        max_steps: of the run.
        step: at which it begins.
        main: whether this is the main process.
    """

    def __init__(self, folder: Path, max_steps: int, step: int, main: bool) -> None:
        self.main, self.max_steps = main, max_steps
        self.console = Console(stderr=True, quiet=not main, soft_wrap=True)
        self._path = folder / "log.jsonl"
        self._board: Any = None
        self._rates: deque[tuple[float, int]] = deque(maxlen=50)
        self._display: ProgressDisplay | None = None
        if not main:
            return
        self._cut(step)
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)
        except ImportError:
            self.say("TensorBoard is not installed (pip install 'pocold[train]'): scalars go to log.jsonl alone")
        if self.console.is_terminal:
            columns = (
                TextColumn("step"), MofNCompleteColumn(), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
                TextColumn("{task.fields[text]}"),
            )  # fmt: skip
            self._display = ProgressDisplay(*columns, console=self.console)
            self._task = self._display.add_task("training", total=max_steps, completed=step, text="")
            self._display.start()

    def say(self, text: str) -> None:
        """A line for the user."""
        self.console.print(text, highlight=False, markup=False)

    def step(self, step: int, images: int, text: str = "") -> float:
        """Note that a step of so many images is done; images per second over the last steps."""
        now = time.perf_counter()
        self._rates.append((now, images))
        first = self._rates[0][0]
        rate = sum(n for _, n in list(self._rates)[1:]) / (now - first) if now > first else 0.0
        if self._display is not None:
            shown = f"{rate:.1f} images/s {text}" if text else self._display.tasks[0].fields["text"]
            self._display.update(self._task, completed=step, text=shown)
        return rate

    def scalars(self, step: int, values: dict[str, float], show: bool = True) -> None:
        """Log scalars of a step; without a terminal also print them."""
        if not self.main:
            return
        line = json.dumps({"step": step, **{name: round(value, 6) for name, value in values.items()}})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        if show and self._display is None:
            left = values.get("eta_minutes")
            parts = [f"{name} {value:.4g}" for name, value in values.items() if name != "eta_minutes"]
            self.say(f"step {step}/{self.max_steps}  " + "  ".join(parts) + (f"  ETA {left:.0f} min" if left else ""))

    def skipped(self, pictures: Mapping[str, str]) -> None:
        """Say which pictures were left out as broken, and list them with the reasons in ``skipped.json``."""
        if self.main and pictures:
            path = self._path.with_name("skipped.json")
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(dict(pictures), indent=1) + "\n", encoding="utf-8")
            self.say(f"{len(pictures)} pictures were left out as missing or broken; {path} lists them")

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        """Show a picture in TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, np.asarray(picture), step, dataformats="HWC")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._display is not None:
            self._display.stop()
        if self._board is not None:
            self._board.close()
        sys.stderr.flush()

    def _cut(self, step: int) -> None:
        if not self._path.exists():
            return
        kept = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError):
                continue  # the line that was being written when the run was killed
        self._path.write_text("".join(kept), encoding="utf-8")
