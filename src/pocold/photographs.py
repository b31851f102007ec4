"""A photograph on its way through the package: read once, into one value; from there it only walks down.

Three questions are answered here and nowhere else: which map a photograph has (one that is given, one that lies beside
it, or one that is found in it), which part of it is meant, and how both are brought to another size.

Legend: H W size of a photograph, h w that of what it is brought to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pocold.densepose.beside import MAPS_BESIDE, Maps, find_map
from pocold.densepose.coordinates import with_coordinates
from pocold.densepose.formats.reading import read_pose
from pocold.densepose.framing import PersonFrame, framed
from pocold.densepose.keypoints import is_keypoints
from pocold.densepose.labels import LABEL_NAMES
from pocold.densepose.maps import ChannelOrder, DensePose, require_uv
from pocold.finding import advice, find_densepose
from pocold.imaging.files import origin
from pocold.imaging.images import Frame, load_image, to_tensor
from pocold.models.densepose_estimator import DensePoseEstimator
from pocold.people.body.keypoint_maps import read_keypoint_pose

Size = tuple[int, int]


class InferredWarning(UserWarning):
    """U and V that a map lacks were taken from another one."""


# Beside the photograph, or as pocold synth lays them out: img/NAME.jpg with iuv/NAME.png.
_MAPS = (*MAPS_BESIDE, Maps("{folder}/../iuv/{stem}.png"))


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph and what is known of it.

    An appearance code keeps photographs in another form, as bytes on the surface of the body:
    :class:`pocold.densepose.correspondence.Photograph`.

    Attributes:
        path: its file; of a picture without one, what errors call it.
        picture: RGB, H x W.
        pose: its DensePose map, of its size, if known.
        found_by: SHA-256 of the weights that the map was found with; None for a map that was given.
        uv_by: likewise, of a map that was given with labels only.
    """

    path: Path
    picture: Image.Image
    pose: DensePose | None = None
    found_by: str | None = None
    uv_by: str | None = None

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.picture.height, self.picture.width

    def need_pose(self, purpose: str) -> DensePose:
        """The map; a ValueError that says how to give one if ``purpose`` has none."""
        if self.pose is None:
            raise ValueError(
                f"{self.path}: {purpose} needs the DensePose map of the photograph, and no person was found in it; "
                f"expected {self.path.stem}.iuv.png beside it, or --source-pose FILE{advice()}"
            )
        return self.pose

    def about(self) -> dict[str, str]:
        """Where it comes from, for the metadata of what is made of it."""
        told = {} if self.found_by is None else {"map": f"estimated by {self.found_by}"}
        return origin(self.path) | (told if self.uv_by is None else {"map": f"U and V estimated by {self.uv_by}"})

    def found(
        self, estimator: DensePoseEstimator, person: int | None = None, pose_model: Path | None = None
    ) -> "Photo":
        """With the map of the person in it, in place of any other; see :func:`pocold.finding.find_densepose`.

        Raises:
            ValueError: if nobody is found, and as there.
        """
        found = find_densepose(self.picture, estimator, str(self.path), person=person, pose_model=pose_model)
        return replace(self, pose=found.pose, found_by=found.by)

    def with_uv(self, estimator: DensePoseEstimator) -> tuple["Photo", str]:
        """With U and V for a map that has labels only: those of the map that is found in the picture, by its labels.

        Returns:
            The photograph, and what to tell its user.

        Raises:
            ValueError: if nobody is found, or the map has another size than the picture; see :meth:`found`.
        """
        assert self.pose is not None
        found = self.found(estimator)
        pose, guessed = with_coordinates(self.pose, found.need_pose("U and V"))
        names = ", ".join(LABEL_NAMES[part] for part in sorted(guessed))
        told = f"{self.path}: its map has labels only, so U and V were taken from the map that is found in the picture"
        told += f"; that does not show {names}, which will have one colour each" if guessed else ""
        return replace(self, pose=pose, uv_by=found.found_by), told

    def through(self, frame: Frame | PersonFrame) -> "Photo":
        """Picture and map as a frame shows them, h x w."""
        pose = None if self.pose is None else framed(self.pose, frame)
        return replace(self, picture=frame.image(self.picture), pose=pose)

    def cut_out(self, size: Size) -> "Photo":
        """The part around the person, brought to ``size``.

        Raises:
            ValueError: if the map is not known, or shows nobody.
        """
        return self.through(PersonFrame.around(self.need_pose("cutting out the person").labels, size=size))

    def tensor(self, frame: Frame) -> Tensor:
        """The picture in a frame: float32 ``(1, 3, h, w)`` in [-1, 1]."""
        return to_tensor(frame.image(self.picture))


def read_photo(path: Path, pose: Path | None = None) -> Photo:
    """A photograph and its map: ``pose``, or what lies beside it (``STEM.iuv.png`` and the like), or none.

    Raises:
        ValueError: if either cannot be read, or their sizes differ.
    """
    picture = load_image(path, str(path))
    pose, channels = map_of(path, pose)
    if pose is None:
        return Photo(path, picture)
    if is_keypoints(pose):
        found = read_keypoint_pose(pose, size=(picture.height, picture.width))
    else:
        found = read_pose(pose, channels) if channels != "auto" else read_pose(pose, photo=picture)
    check_map_size(found.size, picture, pose, path)
    return Photo(path, picture, found)


def map_of(photo: Path, pose: Path | None = None) -> tuple[Path | None, ChannelOrder]:
    """The file of a photograph's map, ``pose`` or what lies beside it, and its channel order; None if there is none."""
    if pose is not None:
        return pose, "auto"
    return find_map(Path(), _MAPS, folder=str(photo.parent), stem=photo.stem, path="", name="", split="")


def check_map_size(size: Sequence[int], picture: Image.Image, path: Path, photo: Path) -> None:
    """Raise a ValueError unless a map or mask, of (height, width), has the size of its photograph."""
    if tuple(size) != (picture.height, picture.width):
        raise ValueError(
            f"{path} is {size[0]}x{size[1]} (height x width), but {photo} {picture.height}x{picture.width}: "
            "a map has the size of its photograph"
        )


def map_tensors(
    pose: DensePose, frame: Frame | PersonFrame, name: str, uv_for: str | None
) -> tuple[Tensor, Tensor | None]:
    """A map in a frame, as tensors.

    Args:
        pose: the map.
        frame: brings it to h x w.
        name: what errors call it.
        uv_for: what needs U and V; None if nothing does.

    Returns:
        Labels uint8 ``(h, w)``, and U and V float32 ``(2, h, w)`` in [0, 1], or None where nothing needs them.

    Raises:
        ValueError: if U and V are needed and the map has none, or it is of another size than the frame is for.
    """
    labels = torch.from_numpy(frame.labels(pose.labels))
    if uv_for is None:
        return labels, None
    return labels, torch.from_numpy(frame.uv(require_uv(pose.uv, name, uv_for)))
