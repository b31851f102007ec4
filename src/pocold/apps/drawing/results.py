"""What a drawing command leaves behind: files that are never half written, what they say of themselves, a summary."""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pocold.appearance import AppearanceCode
from pocold.apps.drawing.models import Model
from pocold.apps.drawing.options import DrawOptions, ModelOptions, flags
from pocold.imaging import files
from pocold.imaging.animations import ENDINGS, read_notes
from pocold.imaging.metadata import read_png_metadata, write_png

_SOFTWARE = ("pocold", "torch", "diffusers")


def picture_paths(output: Path, labels: Sequence[str], num_images: int) -> list[Path]:
    """Where the pictures go: pose by pose, ``num_images`` of each.

    A single picture is ``output`` itself. Of several, those of ``out.png`` are called ``out-walk-side.png``,
    ``out-walk-side-2.png``, ..., or ``out-1.png``, ... of a single pose; in a folder ``walk-side.png``, ...

    Raises:
        ValueError: if ``output`` is neither a ``.png`` nor a folder, or would be a folder inside none.
    """
    folder = output.is_dir() or not output.suffix
    if not folder and output.suffix.lower() != ".png":
        raise ValueError(f"--output: pictures are written as .png (they carry metadata) or into a folder, got {output}")
    if not output.absolute().parent.is_dir():
        raise ValueError(f"--output: the folder {output.parent} does not exist; create it first")
    repeated, met = Counter(labels), Counter[str]()
    names = []
    for label in labels:
        met[label] += 1
        pose = f"{label}.{met[label]}" if repeated[label] > 1 else label
        for i in range(num_images):
            number = [str(i + 1)] if num_images > 1 else []
            names.append("-".join(([pose] if folder or len(labels) > 1 else []) + number))
    if folder:
        return [output / f"{name}.png" for name in names]
    return [output.with_stem("-".join([output.stem, name])) if name else output for name in names]


def again(**given: object) -> list[str]:
    """Flags as someone types them who wants to do it again beside the files.

    Args:
        **given: values by name. What is None, False or empty is left out, True is the flag alone; of a file the name
            is told.
    """
    words: list[str] = []
    for name, value in given.items():
        values = list(value) if isinstance(value, list | tuple) else [value]
        if value is None or value is False or not values:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words += [item.name if isinstance(item, Path) else str(item) for item in values]
    return words


def check_replaceable(
    paths: Iterable[Path],
    sources: Iterable[Path],
    overwrite: bool,
    is_ours: Callable[[Path], bool] | None = None,
) -> None:
    """:func:`pocold.imaging.files.check_replaceable` for what drawing commands write, told by :func:`is_drawn`."""
    files.check_replaceable(paths, sources, overwrite, is_ours or is_drawn)


def is_drawn(path: Path) -> bool:
    """Whether a drawing command wrote this file: a picture that says so, or an appearance code."""
    try:
        if path.suffix == ".safetensors":
            AppearanceCode.load(path)
            return True
        return "command" in read_png_metadata(path)
    except ValueError:
        return False


@dataclass
class Report:
    """What a command did, told at its end.

    Attributes:
        model: with which.
        options: how.
        command: its name, and its words without those of ``options``, for people who want to do it again.
        files: what was written, with what it says of itself.
        seconds, cpu_seconds: of encoding and drawing, without loading and reading; by the clock, and of the processor.
        drawn: pictures.
        peak_bytes: the most memory held; None where the system does not tell.
    """

    model: Model
    options: ModelOptions
    command: Sequence[str]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    drawn: int = 0
    peak_bytes: int | None = None

    def settings(self, own: Mapping[str, Any], words: Sequence[str], seed: int | None = None) -> dict[str, Any]:
        """The metadata of one file.

        Args:
            own: its sources, pose and the like.
            words: of the command line, between the command's and the options'.
            seed: of the picture.
        """
        pipeline = self.model.pipeline
        how: dict[str, Any] = {}
        if isinstance(self.options, DrawOptions):
            resolved = self.options.resolved(pipeline)
            how = {name.replace("_", " "): value for name, value in resolved.items()} | {"seed": seed}
        line = ["pocold", *self.command, *words, *flags(self.options)]
        return {
            "command": self.command[0],
            "model": self.model.name,
            "model sha256": self.model.sha256,
            **own,
            **how,
            "precision": str(pipeline.engine.dtype).removeprefix("torch."),
            "device": pipeline.device.type,
            **({} if pipeline.engine.name == "torch" else {"engine": pipeline.engine.name}),
            "software": {name: version(name) for name in _SOFTWARE},
            "again": shlex.join(line + ([] if seed is None else ["--seed", str(seed)])),
        }

    def write(self, picture: Image.Image, path: Path, settings: dict[str, Any]) -> None:
        """Write a picture with its metadata; its folder is made if need be."""
        path.parent.mkdir(exist_ok=True)
        write_png(picture, path, settings)
        self.files[str(path)] = settings

    def write_code(self, code: AppearanceCode, path: Path, settings: dict[str, Any]) -> None:
        """Write an appearance code."""
        code.save(path)
        self.files[str(path)] = settings

    def tell(self) -> None:
        """Print the files on stdout and a line of costs on stderr; or all of it as JSON on stdout."""
        device = self.model.pipeline.device
        kind = "GPU memory" if device.type == "cuda" else "memory"
        if self.options.json:
            costs = {
                "pictures drawn": self.drawn,
                "seconds": round(self.seconds, 3),
                "cpu seconds": round(self.cpu_seconds, 3),
                "peak bytes": self.peak_bytes,
                "threads": torch.get_num_threads(),
            }
            files = [{"file": name, **settings} for name, settings in self.files.items()]
            print(json.dumps({"files": files, **costs}, indent=2))
            return
        for name in self.files:
            print(name)
        each = f" ({self.seconds / self.drawn:.2f} s each)" if self.drawn > 1 else ""
        count = f"{self.drawn} picture{'s' * (self.drawn != 1)}" if self.drawn else "encoded"
        peak = "" if self.peak_bytes is None else f", at most {self.peak_bytes / 1e6:,.0f} MB of {kind}"
        engine = self.model.pipeline.engine
        dtype = str(engine.dtype).removeprefix("torch.")
        why = "" if self.options.engine == "torch" else f", {engine.name} ({engine.reason})"
        print(f"{count} in {self.seconds:.2f} s{each}{peak}, {device.type}, {dtype}{why}", file=sys.stderr)


def describe(path: Path) -> dict[str, Any]:
    """What a picture, an animation or a folder of frames says of itself.

    Raises:
        ValueError: if it cannot be read or pocold did not write it.
    """
    try:
        moving = path.suffix.lower() in ENDINGS or path.is_dir()
        return read_notes(path) if moving else read_png_metadata(path)
    except ValueError as error:
        if "carries no pocold metadata" in str(error):
            raise ValueError(
                f"{path} carries no pocold metadata: it is a photograph, or was drawn by something else, or lost its "
                "metadata on the way (through an editor, a screenshot, or as JPEG)"
            ) from None
        raise


def as_lines(settings: Mapping[str, Any]) -> list[str]:
    """Settings for people to read, nested ones with both names."""
    lines = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            lines += [f"{name} {line}" for line in as_lines(value)]
        elif isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
            lines += [f"{name} {line}" for item in value for line in as_lines(item)]
        else:
            lines.append(f"{name}: {json.dumps(value) if not isinstance(value, str) else value}")
    return lines
