"""Motions: what can be asked for, and the maps that follow each other, of a body before a still camera or of files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocold.apps.drawing.clips import check_fps, open_clip
from pocold.densepose.maps import DensePose
from pocold.models.densepose_estimator import DensePoseEstimator
from pocold.people.body.fitting import Stage
from pocold.people.body.skeleton import Pose
from pocold.people.poses import NamedPose, interpolate, parse_pose, turntable, walk_cycle

TURN_SECONDS, STRIDE_SECONDS, LEG_SECONDS = 3.0, 1.2, 1.0  # of a turn, of two steps, from one pose to the next


@dataclass(frozen=True, eq=False)
class Motion:
    """Maps that follow each other.

    Attributes:
        maps: each is drawn once.
        repeats: how often they are shown one after the other.
        about: what it is, for metadata.
    """

    maps: Sequence[DensePose]
    repeats: int
    about: dict[str, Any]


@dataclass(frozen=True)
class Length:
    """How long a motion is.

    Attributes:
        fps: frames per second.
        frames: of the whole motion; None takes ``seconds``.
        seconds: likewise; None takes what the motion takes by itself.
    """

    fps: float = 12.0
    frames: int | None = None
    seconds: float | None = None

    def check(self) -> None:
        """Raise a ValueError for numbers that cannot be meant."""
        check_fps(self.fps)
        if self.frames is not None and self.seconds is not None:
            raise ValueError("--frames and --seconds both say how long the animation is; leave one out")
        if self.frames is not None and self.frames < 2:
            raise ValueError(f"--frames: expected at least 2, got {self.frames}")
        if self.seconds is not None and not 0 < self.seconds <= 3600:
            raise ValueError(f"--seconds: expected a number above 0 and at most 3600, got {self.seconds:g}")

    def count(self, usual: float) -> int:
        """Frames of a motion that by itself takes ``usual`` seconds."""
        if self.frames is not None:
            return self.frames
        return max(2, round(self.fps * (usual if self.seconds is None else self.seconds)))

    def words(self) -> list[str]:
        """As flags of a command line."""
        words = ["--fps", f"{self.fps:g}"]
        words += ["--frames", str(self.frames)] if self.frames is not None else []
        return words + (["--seconds", f"{self.seconds:g}"] if self.seconds is not None else [])


@dataclass(frozen=True)
class Asked:
    """The motion that was asked for: one of the first four.

    Attributes:
        turn: once round on the spot, in ``pose``, from its view on.
        walk: on the spot, seen from ``view``.
        between: names of poses to go through.
        poses: a folder of maps or keypoints, or a video.
        pose: of ``turn``.
        view: of ``walk``.
        length: how long it takes.
        loop: let ``between`` end where it began.
    """

    turn: bool = False
    walk: bool = False
    between: Sequence[str] = ()
    poses: Path | None = None
    pose: str = "relaxed"
    view: str = "quarter"
    length: Length = Length()
    loop: bool = True

    def check(self) -> None:
        """Raise a ValueError unless exactly one motion is asked for, of a length that can be meant."""
        self.length.check()
        asked = [name for name in ("turn", "walk", "between", "poses") if getattr(self, name)]
        if len(asked) != 1:
            got = " and ".join(f"--{name}" for name in asked) or "none"
            raise ValueError(f"expected one motion: --turn, --walk, --between POSE POSE ... or --poses PATH, got {got}")

    def count(self) -> int | None:
        """How many frames are drawn; None where only the files can say."""
        if self.turn:
            return self.length.count(TURN_SECONDS)
        if self.walk:
            return _stride(self.length)[0]
        return self.length.count(LEG_SECONDS * _legs(self.between, self.loop)) if self.between else None

    def words(self) -> list[str]:
        """As flags of a command line."""
        if self.between:
            words = ["--between", *self.between]
        elif self.poses is not None:
            words = ["--poses", self.poses.name]
        else:
            words = ["--turn", "--pose", self.pose] if self.turn else ["--walk", "--view", self.view]
        return words + self.length.words() + (["--no-loop"] if not self.loop else [])

    def moved(self, stage: Stage) -> Motion:
        """The maps of a body that moves by itself.

        Args:
            stage: the body, and where it stands.

        Raises:
            ValueError: for poses or views that there are not.
        """
        if self.turn:
            return turn(stage, self.pose, self.length)
        if self.walk:
            return walk(stage, self.view, self.length)
        return between(stage, self.between, self.length, self.loop)


def turn(stage: Stage, pose: str, length: Length) -> Motion:
    """One full turn on the spot, in a named pose, from its view on."""
    named = parse_pose(pose)
    views = turntable(length.count(TURN_SECONDS))
    maps = [stage.draw(named.pose, _angle(named.view + view)) for view in views]
    return Motion(maps, 1, {"motion": "turn", "pose": pose})


def walk(stage: Stage, view: str, length: Length) -> Motion:
    """Strides on the spot, seen from a view; each takes 1.2 seconds, and is drawn once."""
    angle = parse_pose(f"walk:{view}").view
    frames, repeats = _stride(length)
    maps = [stage.draw(pose, angle) for pose in walk_cycle(frames)]
    return Motion(maps, repeats, {"motion": "walk", "view": view})


def _stride(length: Length) -> tuple[int, int]:
    """Frames of a stride, and how often it is shown."""
    if length.frames is not None:
        return length.frames, 1
    repeats = max(1, round((length.seconds or STRIDE_SECONDS) / STRIDE_SECONDS))
    return max(2, round(STRIDE_SECONDS * length.fps)), repeats


def between(stage: Stage, poses: Sequence[str], length: Length, loop: bool) -> Motion:
    """From named pose to named pose, slow at each of them; looping, back to the first.

    Raises:
        ValueError: for fewer than two poses, or fewer frames than poses.
    """
    if len(poses) < 2:
        raise ValueError(f"--between: expected at least two poses, such as stand:front wave:30, got {' '.join(poses)}")
    stops = [parse_pose(pose) for pose in poses]
    ways = list(zip(stops, stops[1:] + stops[:1], strict=True))[: _legs(poses, loop)]
    count = length.count(LEG_SECONDS * len(ways))
    if count <= len(ways):
        raise ValueError(f"--between: {len(poses)} poses need more than {len(ways)} frames, got {count}")
    maps = []
    for i in range(count):
        place = len(ways) * i / (count if loop else count - 1)
        way = min(int(place), len(ways) - 1)
        maps.append(stage.draw(*_between(*ways[way], _eased(place - way))))
    return Motion(maps, 1, {"motion": "between", "poses": list(poses), "loop": loop})


def _legs(poses: Sequence[str], loop: bool) -> int:
    return len(poses) - (not loop)


def _between(start: NamedPose, end: NamedPose, t: float) -> tuple[Pose, float]:
    turned = _angle(end.view - start.view)
    return interpolate(start.pose, end.pose, t), _angle(start.view + t * turned)


def _eased(t: float) -> float:
    """Slow, quick, slow: a body does not start at full speed."""
    return t * t * (3 - 2 * t)


def _angle(degrees: float) -> float:
    return (degrees + 180) % 360 - 180


def from_files(
    path: Path, length: Length, estimator: Callable[[], DensePoseEstimator], tell: Callable[[str], None]
) -> Motion:
    """The poses of a clip, see :func:`pocold.apps.drawing.clips.open_clip`.

    Args:
        path: the folder or video.
        length: of a video; a folder gives one frame per file.
        estimator: opens what finds the maps of pictures where BlazePose is not installed.
        tell: is told what was left out.

    Raises:
        ValueError: if there are none, or one of them cannot be read.
    """
    if path.is_dir() and (length.frames is not None or length.seconds is not None):
        raise ValueError(f"--poses {path}: a folder has one frame per file; leave out --frames and --seconds")
    limit = length.frames if length.seconds is None else length.count(0)
    clip = open_clip(path, length.fps, limit, flag="--poses: ")
    found = list(clip.maps(estimator))
    maps = [pose for pose in found if pose is not None]
    if not maps:
        raise ValueError(f"--poses {path}: no person was found in any of its {len(found)} pictures")
    if len(maps) < len(found):
        tell(f"{path}: nobody was found in {len(found) - len(maps)} of {len(found)} pictures; they are left out")
    return Motion(maps, 1, {"motion": "files" if path.is_dir() else "video", "poses": path.name})
