"""Drawing rows. What a row gives depends on the row alone: it is what ``pocold transfer`` draws of it."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from pocold.appearance import AppearanceCode
from pocold.apps.bulk.jobs import Batch, Row
from pocold.apps.drawing.draw import Task, draw_all
from pocold.apps.drawing.models import with_estimator
from pocold.apps.drawing.options import DrawOptions, FrameName
from pocold.apps.drawing.results import Report
from pocold.apps.drawing.sources import Person, encode_person, read_person, with_maps
from pocold.apps.drawing.targets import warn_of_missing
from pocold.apps.transfer import TransferPlan, open_for, plan_transfer
from pocold.imaging.images import FrameMode
from pocold.imaging.metadata import png_bytes
from pocold.photographs import Size, map_of
from pocold.pipeline import PoseTransferPipeline

_PEOPLE = 8  # photographs and maps in memory
_CODES = 256  # appearance codes in memory
# What says nothing of the row: the next one would fail as well.
_FATAL = (MemoryError, torch.OutOfMemoryError, getattr(torch, "AcceleratorError", MemoryError))
V = TypeVar("V")


@dataclass(frozen=True)
class How:
    """How all rows are drawn.

    Attributes:
        base: folder that the paths of rows begin at.
        options: of drawing; paths are absolute.
        like: whose build named poses get, see ``pocold transfer``; a path is absolute.
        frame: how photographs are framed.
        threads: of the processor, for each process.
        weights: SHA-256 that the model must have, in whichever process or machine; None for any.
    """

    base: Path
    options: DrawOptions
    like: str
    frame: FrameName
    threads: int
    weights: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a row: the bytes of a PNG file, or why there are none, with what there is to know of it."""

    row: Row
    png: bytes | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()


class StoppedError(ValueError):
    """Nothing more can be drawn."""


class _Recent(OrderedDict[tuple[object, ...], V]):
    """The values used last, so many of them."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def find(self, key: tuple[object, ...]) -> V | None:
        if key in self:
            self.move_to_end(key)
        return self.get(key)

    def keep(self, key: tuple[object, ...], value: V) -> None:
        self[key] = value
        if len(self) > self._limit:
            self.popitem(last=False)


@dataclass(frozen=True)
class _Ready:
    """A row that can be drawn."""

    row: Row
    plan: TransferPlan
    task: Task
    notes: tuple[str, ...]


class Painter:
    """A model at work on rows, in this process. It sets the number of torch's threads.

    Args:
        how: all rows are drawn.
        device: instead of that of the options.

    Attributes:
        encoded: how often a person was encoded.

    Raises:
        ValueError: if the model cannot be opened, or is another than it must be.
    """

    def __init__(self, how: How, device: str | None = None) -> None:
        torch.set_num_threads(how.threads)
        options = how.options if device is None else replace(how.options, device=device)
        self.how = how
        self.model = with_estimator(open_for(options))
        if how.weights not in (None, self.model.sha256):
            raise StoppedError(
                f"the model here has other weights (SHA-256 {self.model.sha256}) than where rows are read"
            )
        self.encoded = 0
        self._people, self._codes = _Recent[Person](_PEOPLE), _Recent[AppearanceCode](_CODES)

    def paint(self, batch: Batch) -> list[Outcome]:
        """Draw a batch; the outcomes are those of its wanted rows, in their order.

        Raises:
            StoppedError: if there is no more memory, or the device failed.
        """
        outcomes: dict[int, Outcome] = {}
        ready: list[_Ready] = []
        for row in batch:
            try:
                ready.append(self._prepared(row))
            except Exception as error:
                outcomes[row.number] = Outcome(row, error=_sentence(error))
        if any(item.row.wanted for item in ready):
            for size in dict.fromkeys(item.plan.size for item in ready):
                group = [item for item in ready if item.plan.size == size]
                outcomes.update((outcome.row.number, outcome) for outcome in self._drawn(group))
        return [outcomes[row.number] for row in batch if row.wanted]

    def _prepared(self, row: Row) -> _Ready:
        """A row with its person encoded and its pose read; ValueError if either cannot be."""
        if row.error is not None:
            raise ValueError(row.error)
        photo = self.how.base / row.photo
        given = None if row.source_pose is None else self.how.base / row.source_pose
        key, person = self._person(photo, given)
        pose = str(self.how.base / row.pose) if row.pose_is_file else row.pose
        options = replace(self.how.options, seed=row.seed, num_images=1)
        report = Report(self.model, options, ["transfer", photo.name])
        maps = [] if given is None else [given]
        plan = plan_transfer(report, person, [pose], maps, self.how.like, self.how.frame)
        if plan.frame == "person":
            key = (*key, plan.size)  # the person was cut out at that size

        def encode(pipeline: PoseTransferPipeline, who: Person, size: Size | None, mode: FrameMode) -> AppearanceCode:
            code = self._codes.find(key)
            if code is None:
                code = encode_person(pipeline, who, size, mode)
                self.encoded += 1
                self._codes.keep(key, code)
            return code

        notes: list[str] = ["the map was estimated"] if any(seen.found_by for seen in person.photos) else []
        warn_of_missing(plan.person, plan.targets, lambda said: notes.append(said.removeprefix(f"{pose}: ")))
        return _Ready(row, plan, plan.tasks(encode)[0], tuple(notes))

    def _person(self, photo: Path, given: Path | None) -> tuple[tuple[object, ...], Person]:
        """A person with maps, and the key that says which: the contents of photograph and map."""
        if not photo.is_file():
            raise ValueError(f"no such photograph: {photo}")
        pose, channels = map_of(photo, given)
        key = (_digest(photo), photo.suffix, None if pose is None else (_digest(pose), pose.suffix), channels)
        person = self._people.find(key)
        if person is None:
            person = with_maps(
                read_person([photo], [] if given is None else [given]), self.model.pipeline, lambda _: None
            )
            self._people.keep(key, person)
        # another file may hold the same photograph
        return key, replace(person, files=(photo,), photos=tuple(replace(p, path=photo) for p in person.photos))

    def _drawn(self, group: Sequence[_Ready]) -> list[Outcome]:
        """The pictures of rows of one size; where they cannot be drawn together, each alone."""
        try:
            options = replace(self.how.options, batch_size=len(group))
            size, mode = group[0].plan.size, group[0].plan.mode
            tasks = [item.task for item in group]
            pictures = list(draw_all(self.model.pipeline, tasks, options, size, mode))
        except Exception as error:
            sentence = _sentence(error)
            if len(group) > 1:
                return [self._drawn([item])[0] for item in group]
            return [Outcome(group[0].row, error=sentence)]
        return [
            Outcome(item.row, png_bytes(picture, item.plan.settings(0, Path(item.row.output).name)), notes=item.notes)
            for item, picture in zip(group, pictures, strict=True)
        ]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sentence(error: Exception) -> str:
    """An error as one line."""
    if isinstance(error, _FATAL):
        why = (str(error) or "out of memory").splitlines()[0]
        raise StoppedError(
            f"drawing stopped: {why}; run the command again to go on, with fewer --workers or a smaller --batch-size "
            "if memory is short"
        ) from error
    said = " ".join(str(error).split())
    return said if isinstance(error, ValueError) and said else f"{type(error).__name__}: {said}"
