"""The person that a command is given: photographs with their maps, or an appearance code."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from pocold.appearance import AppearanceCode
from pocold.apps.drawing.options import FrameName
from pocold.densepose.correspondence import BESIDE
from pocold.densepose.labels import body_part_labels
from pocold.densepose.maps import DensePose
from pocold.finding import NobodyFoundError, advice
from pocold.imaging.files import MAX_PIXELS, PICTURE_ERRORS, origin
from pocold.imaging.images import FrameMode
from pocold.models import autoencoder
from pocold.models.densepose_estimator import DensePoseEstimator, open_estimator
from pocold.photographs import Photo, Size, check_map_size, read_photo
from pocold.pipeline import PoseTransferPipeline

Tell = Callable[[str], None]  # what a warning is given to
CODE_ENDING = ".safetensors"
DEFAULT_SIZE = (256, 176)
_GARMENTS = ("{stem}.garments.png", "../garments/{stem}.png")


@dataclass(frozen=True, eq=False)
class Person:
    """Photographs of one person, or the code that was made of them.

    Attributes:
        files: where they come from.
        photos: the photographs; empty for a code.
        code: the code; None for photographs.
    """

    files: tuple[Path, ...]
    photos: tuple[Photo, ...] = ()
    code: AppearanceCode | None = None

    def about(self) -> list[dict[str, str]]:
        """Where the person comes from, for metadata."""
        return [photo.about() for photo in self.photos] or [origin(file) for file in self.files]

    @property
    def maps(self) -> list[DensePose]:
        """The maps of the photographs, as far as they are known; a code with a surface holds them."""
        if self.code is None:
            return [photo.pose for photo in self.photos if photo.pose is not None]
        surfaces = self.code.surface or ()
        shown = [photograph for surface in surfaces for _, photographs in surface.layers for photograph in photographs]
        return [
            DensePose(photo.labels.masked_fill(photo.labels >= BESIDE, 0).numpy(), photo.uv.numpy() / np.float32(255))
            for photo in shown
        ]


def read_person(files: Sequence[Path], maps: Sequence[Path] = ()) -> Person:
    """The person in some files: one appearance code, or photographs.

    Args:
        files: one ``.safetensors``, or any number of pictures.
        maps: of the photographs, in their order; none looks for them beside each.

    Raises:
        ValueError: for both kinds together, several codes, a code of several people, files that cannot be read, or
            maps of another number or size than the photographs.
    """
    codes = [file for file in files if file.suffix == CODE_ENDING]
    if not files:
        raise ValueError(f"expected a photograph, or an appearance code ({CODE_ENDING}), got none")
    if codes:
        if len(files) > 1:
            raise ValueError(f"expected one appearance code, or photographs of one person, got {len(files)} files")
        if maps:
            raise ValueError(f"--source-pose is the map of a photograph, but {codes[0]} is an appearance code")
        code = AppearanceCode.load(codes[0])
        if len(code) != 1:
            raise ValueError(f"{codes[0]}: expected the code of one person, got {len(code)}")
        return Person((codes[0],), code=code)
    if maps and len(maps) != len(files):
        raise ValueError(f"--source-pose: expected one map for each of {len(files)} photographs, got {len(maps)}")
    given: Sequence[Path | None] = maps or [None] * len(files)
    return Person(tuple(files), tuple(read_photo(file, pose) for file, pose in zip(files, given, strict=True)))


def warn(message: str) -> None:
    """A warning as the commands tell it: one line on stderr."""
    print(f"pocold: warning: {message}", file=sys.stderr)


def tell_doubts(maps: Iterable[tuple[object, DensePose | None]], tell: Tell) -> None:
    """Tell what speaks against maps, given with what to call them, to someone who does not see Python's warnings."""
    for name, pose in maps:
        for doubt in (pose.doubts or ()) if pose is not None else ():
            tell(f"{name}: {doubt}")


def with_map(photo: Photo, pipeline: PoseTransferPipeline, tell: Tell = warn) -> Photo:
    """A photograph with its map: what was given, or what is found by :func:`pocold.finding.find_densepose`.

    Its estimator is the pipeline's, or else the bundled one.

    A photograph in which nobody is found stays without; whatever needs the map will say so. A map with labels only gets
    U and V if the pipeline needs them. What was found goes to ``tell``.
    """
    if photo.pose is not None and (photo.pose.uv is not None or not keeps_surface(pipeline)):
        return photo
    estimator = pipeline.densepose_estimator or open_estimator().to(pipeline.device)
    if photo.pose is not None:
        return _with_uv(photo, estimator, tell)
    try:
        found = photo.found(estimator)
    except NobodyFoundError:
        return photo
    tell(
        f"{photo.path}: no DensePose map was given, so it was estimated; pocold pose {photo.path} "
        f"--show look.png draws it, --source-pose FILE gives a better one{advice()}"
    )
    return found


def _with_uv(photo: Photo, estimator: DensePoseEstimator, tell: Tell) -> Photo:
    """A photograph whose map has labels only, with U and V if somebody is found in it."""
    try:
        known, told = photo.with_uv(estimator)
    except NobodyFoundError:
        return photo
    tell(told)
    return known


def keeps_surface(pipeline: PoseTransferPipeline) -> bool:
    """Whether the codes of a pipeline hold what the photographs show, for which maps need U and V."""
    return pipeline.takes_surface_hint or pipeline.refiner is not None


def with_maps(person: Person, pipeline: PoseTransferPipeline, tell: Tell = warn) -> Person:
    """A person whose photographs have their maps, see :func:`with_map`."""
    return replace(person, photos=tuple(with_map(photo, pipeline, tell) for photo in person.photos))


def read_garments(photo: Photo, path: Path | None = None) -> np.ndarray | None:
    """The garment map of a photograph, uint8 ``(H, W)``: ``path``, or ``STEM.garments.png`` beside it, or none.

    Raises:
        ValueError: if it cannot be read, is no map of classes, or has another size.
    """
    if path is None:
        beside = (photo.path.parent / pattern.format(stem=photo.path.stem) for pattern in _GARMENTS)
        path = next((candidate for candidate in beside if candidate.is_file()), None)
        if path is None:
            return None
    try:
        with Image.open(path) as opened:
            if opened.mode not in ("L", "P") or opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"{path}: expected one 8-bit channel of classes, got a picture of mode {opened.mode}")
            classes = np.asarray(opened)
    except FileNotFoundError:
        raise ValueError(f"no such garment map: {path}") from None
    except PICTURE_ERRORS as error:
        raise ValueError(f"{path} cannot be read as a garment map: {error}") from error
    check_map_size(classes.shape, photo.picture, path, photo.path)
    return classes


def working_size(pipeline: PoseTransferPipeline, asked: Size | None, fallback: Size) -> Size:
    """(height, width) to work at: ``asked``, or the model's own, or ``fallback`` to the nearest that it can draw."""
    factor = autoencoder.downsampling_factor(pipeline.vae)
    near = max(factor, round(fallback[0] / factor) * factor), max(factor, round(fallback[1] / factor) * factor)
    return asked or pipeline.native_size or near


def encode_person(
    pipeline: PoseTransferPipeline,
    person: Person,
    asked: Size | None = None,
    mode: FrameMode = "pad",
    parts: Sequence[str | int] | None = None,
) -> AppearanceCode:
    """The code of a person. A code that was read is given back; the pipeline checks that it fits.

    Args:
        pipeline: encodes.
        person: who.
        asked: (height, width) to encode at; by default the model's, or the first photograph's.
        mode: how photographs are brought to it.
        parts: only these (names or labels), of photographs.

    Raises:
        ValueError: if maps are needed that are not known, for unknown parts or parts of a code, or if a map shows
            none of them.
    """
    if person.code is not None:
        if parts is not None:
            raise ValueError(f"parts are taken from a photograph and its map, but {person.files[0]} is a code")
        return person.code
    size = working_size(pipeline, asked, person.photos[0].size)
    photos, poses = person.photos, None
    if keeps_surface(pipeline) or parts is not None:
        poses = [photo.need_pose("this model" if parts is None else "taking parts") for photo in photos]
    for photo in photos if parts is not None else ():
        wanted = body_part_labels(parts or ())
        if 0 not in wanted and not wanted & photo.need_pose("taking parts").visible_parts:
            raise ValueError(f"{photo.path}: its map shows nothing of the parts that are to be taken from it")
    return pipeline.encode_appearance(
        [photo.picture for photo in photos],
        source_pose=poses,
        parts=parts,
        height=size[0],
        width=size[1],
        frame=mode,
    )


def cut_out(person: Person, size: Size, frame: FrameName) -> Person:
    """With ``person`` as frame every photograph, and its map, is cut out around who it shows; else nothing happens.

    Raises:
        ValueError: if a map is needed that is not known or shows nobody.
    """
    if frame != "person":
        return person
    return replace(person, photos=tuple(photo.cut_out(size) for photo in person.photos))


def chosen_frame(frame: FrameName, people: Iterable[Person]) -> FrameName:
    """What ``auto`` stands for: ``person`` if the map of a photograph had to be found, else ``pad``.

    Who has no map brings a photograph as people take them, in which the person may be anywhere.
    """
    if frame != "auto":
        return frame
    return "person" if any(photo.found_by for person in people for photo in person.photos) else "pad"


def frame_mode(frame: FrameName) -> FrameMode:
    """How what is not cut out is framed; :func:`chosen_frame` comes first."""
    assert frame != "auto"
    return "pad" if frame == "person" else frame


def named_parts(texts: Sequence[str]) -> list[str | int]:
    """Parts as typed: labels are numbers."""
    return [int(text) if text.isdigit() else text for text in texts]


def seen(person: Person) -> DensePose | None:
    """All that the person's photographs show, as one map (of pixels in a row); None if no map is known."""
    labels = [pose.labels.reshape(1, -1) for pose in person.maps]
    return DensePose(np.concatenate(labels, axis=1)) if labels else None
