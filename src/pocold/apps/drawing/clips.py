"""Clips: folders and videos of poses that follow each other, told apart by their content."""

import itertools
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from pocold.densepose.formats.colours import recognise
from pocold.densepose.formats.reading import Layout, read_frame, read_pose
from pocold.densepose.keypoints import is_keypoints, read_people_of
from pocold.densepose.maps import DensePose, ImplausibleMapError
from pocold.finding import find_clip
from pocold.imaging.animations import frame_rate, read_frames
from pocold.imaging.images import load_image
from pocold.models.densepose_estimator import DensePoseEstimator
from pocold.people.body.clips import draw_clip
from pocold.people.body.keypoint_maps import load_any_pose

VIDEOS = frozenset({".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v", ".gif", ".webp"})
FOLDER_FPS = 25.0  # of frames that lie in a folder, if nobody says

Kind = Literal["maps", "colours", "keypoints", "photographs"]


@dataclass(frozen=True, eq=False)
class Clip:
    """Poses that follow each other, before any is read.

    Attributes:
        path: the folder or the video.
        kind: what its files or pictures show: maps, maps in a visualiser's colours, keypoints, or a person.
        files: of a folder, in the order of the numbers in their names; empty for a video.
        fps: frames per second.
        limit: of a video's frames; None takes all.
        layout: of maps and colours, see :func:`pocold.densepose.formats.reading.read_pose`.
    """

    path: Path
    kind: Kind
    files: Sequence[Path]
    fps: float
    limit: int | None = None
    layout: Layout = "auto"

    def names(self) -> Iterator[str]:
        """What each frame is called; without end for a video."""
        if self.files:
            return (file.name.removesuffix(file.suffix).removesuffix(".iuv") for file in self.files)
        return (f"frame-{number:04d}" for number in itertools.count(1))

    def pictures(self) -> Iterator[Image.Image]:
        """The pictures of photographs, or of a video."""
        if self.files:
            return (load_image(file, str(file)) for file in self.files)
        return read_frames(self.path, self.fps, self.limit)

    def maps(
        self, estimator: Callable[[], DensePoseEstimator], person: int | None = None, pose_model: Path | None = None
    ) -> Iterator[DensePose | None]:
        """The map of each frame; None where nobody is found.

        Args:
            estimator: opens what looks at photographs where BlazePose is not installed.
            person: which one: of photographs from left to right, of keypoints the largest first.
            pose_model: folder of BlazePose's files.

        Raises:
            ValueError: if a file cannot be read, and as :func:`pocold.finding.find_clip`.
        """
        if self.kind == "photographs":
            return find_clip(self.pictures(), self.fps, estimator, self.path.name, person=person, pose_model=pose_model)
        if self.kind == "keypoints":
            people = [read_people_of(file) for file in self.files]
            frames = [found[(person or 1) - 1] if len(found) >= (person or 1) else None for found in people]
            return draw_clip(frames, self.fps)
        if self.kind == "maps":
            return (self._map(file, person) for file in self.files)
        return self._coloured()

    def _map(self, file: Path, person: int | None) -> DensePose:
        if self.layout == "auto" and person is None:
            return load_any_pose(file)
        return read_pose(file, self.layout, person=person)

    def _coloured(self) -> Iterator[DensePose | None]:
        for number, picture in enumerate(self.pictures()):
            with warnings.catch_warnings():
                if number:  # what is to be said of one is to be said of all
                    warnings.simplefilter("ignore")
                yield read_frame(picture, self.layout, str(self.path))


def check_fps(fps: float) -> None:
    """Raise a ValueError for frames per second that cannot be meant."""
    if not 0 < fps <= 120:
        raise ValueError(f"--fps: expected frames per second above 0 and at most 120, got {fps:g}")


def open_clip(
    path: Path, fps: float | None = None, limit: int | None = None, layout: Layout = "auto", flag: str = ""
) -> Clip:
    """A folder of maps, keypoints or photographs of one person; or a video of a person, or in a visualiser's colours.

    Args:
        path: the folder or video.
        fps: frames per second: of a video those that are read, its own if not given; of a folder what they were taken
            at.
        limit: of a video's frames.
        layout: of maps; ``auto`` looks.
        flag: what errors begin with, such as ``--poses: ``.

    Raises:
        ValueError: if there is none of these.
    """
    if path.is_dir():
        files = sorted((file for file in path.iterdir() if file.is_file() and file.name[0] != "."), key=_natural)
        if not files:
            raise ValueError(f"{flag}{path} is empty: expected a folder of maps, keypoints or pictures of a person")
        return Clip(path, _kind_of_files(files, layout), files, fps or FOLDER_FPS, layout=layout)
    if path.suffix.lower() not in VIDEOS:
        raise ValueError(f"{flag}expected a folder of maps, keypoints or pictures, or a video, got {path}")
    if not path.is_file():
        raise ValueError(f"no such video: {path}")
    fps = fps or frame_rate(path)
    first = next(read_frames(path, fps, 1))
    coloured = layout != "auto" or recognise(np.asarray(first)) is not None
    return Clip(path, "colours" if coloured else "photographs", (), fps, limit, layout)


def _kind_of_files(files: Sequence[Path], layout: Layout) -> Kind:
    others = [file for file in files if not is_keypoints(file)]
    if not others:
        return "keypoints"
    if layout != "auto":
        return "maps"
    try:
        with warnings.catch_warnings(action="ignore"):
            read_pose(others[0])
    except ImplausibleMapError:
        return "maps"
    except ValueError:
        try:
            load_image(others[0])
        except ValueError:
            return "maps"  # which is told why it cannot be read
        return "photographs"
    return "maps"


def _natural(path: Path) -> list[tuple[int, str]]:
    """Numbers by value: frame-10 comes after frame-9."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", path.name)]
