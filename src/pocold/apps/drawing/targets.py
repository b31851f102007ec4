"""The poses that a command is asked for: files and names, names fitted to the person."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocold.apps.drawing.sources import DEFAULT_SIZE, Person, Tell, seen, warn, working_size
from pocold.apps.pose import names_a_file
from pocold.densepose.coverage import missing_parts
from pocold.densepose.framing import framed
from pocold.densepose.maps import DensePose
from pocold.imaging.files import origin
from pocold.imaging.images import Frame, FrameMode
from pocold.people.body.fitting import fit_pose
from pocold.people.body.keypoint_maps import load_any_pose, pose_size
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import NamedPose, interpolate, parse_pose
from pocold.photographs import Size
from pocold.pipeline import PoseTransferPipeline

SOURCE, NOBODY = "source", "none"  # words for --like


@dataclass(frozen=True, eq=False)
class Target:
    """A pose to draw.

    Attributes:
        text: as it was asked for.
        pose: its map.
        fitted: whether a named pose was given a person's build and place.
    """

    text: str
    pose: DensePose
    fitted: bool = False

    def settings(self) -> dict[str, Any]:
        """What a picture's metadata say of it."""
        if names_a_file(self.text):
            return {"pose": origin(Path(self.text))}
        return {"pose": self.text, "fitted to the person": self.fitted}


def pose_label(text: str) -> str:
    """A pose as captions and file names call it: ``walk-side``, or a file's name without its endings.

    Raises:
        ValueError: for a name that no pose has.
    """
    if names_a_file(text):
        return Path(text).name.removesuffix(Path(text).suffix).removesuffix(".iuv")
    parse_pose(text)
    return text.strip().lower().replace(":", "-")


def drawing_size(
    pipeline: PoseTransferPipeline, poses: Sequence[str], person: Person, asked: Size | None = None
) -> Size:
    """(height, width) of the pictures: ``asked``, the model's own, the first pose file's, or the photograph's."""
    file = next((pose for pose in poses if names_a_file(pose)), None)
    if asked or pipeline.native_size:
        fallback = DEFAULT_SIZE
    elif file is not None:
        fallback = pose_size(file)
    else:
        known = [photo.size for photo in person.photos] or [pose.size for pose in person.maps]
        fallback = known[0] if known else DEFAULT_SIZE
    return working_size(pipeline, asked, fallback)


def reference_map(like: str, person: Person, size: Size, mode: FrameMode) -> DensePose | None:
    """The map that named poses are fitted to, as the model sees it; None draws them with the average body.

    Args:
        like: ``source`` for the person's own map, if one is known; ``none``; or a file.
        person: whose first photograph is meant.
        size: of the pictures.
        mode: how photographs are framed to it.
    """
    if like == NOBODY:
        return None
    if like != SOURCE:
        found = load_any_pose(like)
    elif not person.maps or (person.photos and person.photos[0].pose is None):
        return None
    else:
        found = person.maps[0]
    return framed(found, Frame(found.size, size, mode))


def read_targets(texts: Sequence[str], size: Size, reference: DensePose | None, like: str = SOURCE) -> list[Target]:
    """Poses by file or name. A name that says its crop (``wave:30:upper``) is drawn as it says, never fitted.

    Args:
        texts: as on the command line.
        size: (height, width) of named poses.
        reference: what they are fitted to, see :func:`reference_map`.
        like: where that comes from: a map without a head is an error if it was asked for, else the pose is not fitted.

    Raises:
        ValueError: for no pose, an unknown one, or a file that cannot be read.
    """
    if not texts:
        raise ValueError("expected at least one pose, such as --pose walk:side or --pose map.png")
    if like == SOURCE and reference is not None and not _shows_head(reference):
        reference = None
    return [_read(text, size, reference) for text in texts]


def _read(text: str, size: Size, reference: DensePose | None) -> Target:
    if names_a_file(text):
        return Target(text, load_any_pose(text))
    named = parse_pose(text)
    if reference is None or text.count(":") == 2:
        return Target(text, draw_densepose(named.pose, named.view, named.crop, size))
    return Target(text, fit_pose(named, reference), fitted=True)


def _shows_head(pose: DensePose) -> bool:
    return bool(pose.visible_parts & {23, 24})


def between(start: str, end: str, t: float, size: Size, reference: DensePose | None) -> Target:
    """A pose a share ``t`` of the way between two named ones: limbs and view turn the shorter way.

    Raises:
        ValueError: if either is a file: there is nothing between two maps.
    """
    for text in (start, end):
        if names_a_file(text):
            raise ValueError(f"poses between two can only be drawn for named poses, but {text} is a file")
    first, last = parse_pose(start), parse_pose(end)
    turn = math.remainder(last.view - first.view, 360)
    pose = NamedPose(first.name, interpolate(first.pose, last.pose, t), first.view + t * turn, first.crop)
    text = f"{start} {t:.0%} {end}" if 0 < t < 1 else (end if t else start)
    if reference is None or not _shows_head(reference):
        return Target(text, draw_densepose(pose.pose, pose.view, pose.crop, size))
    return Target(text, fit_pose(pose, reference), fitted=True)


def warn_of_missing(person: Person, targets: Sequence[Target], tell: Tell = warn) -> None:
    """One warning for each pose that asks for much of what the photographs do not show."""
    shown = seen(person)
    if shown is None or not shown.visible_parts:
        return
    for target in targets:
        message = missing_parts(shown, target.pose).warning() if target.pose.visible_parts else None
        if message is not None:
            tell(f"{target.text}: {message}")
