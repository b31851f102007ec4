"""One door for every file that holds a DensePose map: what it is is told by its content."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from pocold.densepose.formats import colours
from pocold.densepose.formats.arrays import read_array
from pocold.densepose.formats.colours import ColourMap, ColourMapWarning
from pocold.densepose.formats.dumps import DumpedPicture, read_dump
from pocold.densepose.formats.stick_figures import INSTEAD, is_stick_figure
from pocold.densepose.formats.unpickling import is_pickle, is_torch_zip
from pocold.densepose.maps import (
    CHANNEL_ORDER_KEY,
    ChannelOrder,
    ColourPictureError,
    DensePose,
    PoseInput,
    open_map,
    refuse_lossy,
)
from pocold.densepose.plausibility import check_body, keep_person, people_apart, warn_outside
from pocold.imaging.images import ImageInput, load_image

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".npy", ".npz", ".pkl", ".pickle", ".pt", ".pth"})
Layout = Literal["auto", "iuv", "ivu", "vui", "uvi", "labels", "parula", "viridis"]

# Percentage of the body's pixels that got their part, measured on 24 pictures of drawn people (docs/densepose.md): from
# lossless pictures over a lost photo; and from JPEGs of quality 95, with the photo below, and with nothing.
_RIGHT_WITHOUT_PHOTO: dict[ColourMap, int] = {"parula": 73, "viridis": 57}
_RIGHT_IN_JPEG, _RIGHT_IN_PLAIN_JPEG = 87, 93
_SMALL_BOX = 0.25  # share of both sides of the photo below which a person is asked about


def read_pose(
    path: str | os.PathLike[str],
    layout: Layout = "auto",
    *,
    person: int | None = None,
    picture: str | None = None,
    photo: ImageInput | None = None,
    size: tuple[int, int] | None = None,
) -> DensePose:
    """Read the map of one person from any file that :mod:`pocold.densepose.formats` knows, and ask whether it can be a
    body (:func:`pocold.densepose.plausibility.check_body`).

    Args:
        path: a picture (labels, IUV in any channel order, a visualiser's colours), ``.npy`` or ``.npz`` (see
            :func:`pocold.densepose.formats.arrays.read_array`), or a dump of detectron2's ``apply_net.py`` (either
            form).
        layout: what a picture's or array's channels hold. ``auto`` tells labels, IUV and plain colours; colours over a
            photo (``parula`` or ``viridis``) must be said.
        person: which one of a dump's picture, or of a map's people who do not touch, the largest first, from 1; None
            takes the largest and says so if there are others.
        picture: which one of a dump of several, by its file name, with or without folders.
        photo: that a dump's boxes are pasted into, or that colours were drawn over. A dump's own photo is found by
            itself if it lies beside the dump, or where it did when the dump was made.
        size: (height, width) of a dump's photo, if there is none.

    Warns:
        ColourMapWarning: if labels were told by colours.
        PlausibilityWarning: if the map can hardly be that of one body, or shows several people and none was chosen.

    Raises:
        ValueError: if the file is missing, broken or refused, is none of these, or what it holds must be asked for.
        ImplausibleMapError: if the map cannot be that of a body.
    """
    path = Path(path)
    if layout not in get_args(Layout):
        raise ValueError(f"unknown layout {layout!r}: expected one of {', '.join(get_args(Layout))}")
    if is_dump(path):
        if layout != "auto":
            raise ValueError(f"{path} is a dump: it says itself what it holds, leave out the layout {layout!r}")
        dumped = _choose(read_dump(path), picture, path)
        if person is None and len(dumped.people) > 1:
            _say_largest(f"{path}: {dumped.name}", len(dumped.people))
        return paste_person(dumped, path, person=1 if person is None else person, photo=photo, size=size)
    if picture is not None:
        raise ValueError(f"{path} is no dump: it holds one map, so there is no picture to choose")
    if _starts_with(path, b"\x93NUMPY", b"PK"):
        if layout == "labels" or layout == "parula" or layout == "viridis":
            raise ValueError(
                f"{path} is an array, which can be read as {', '.join(get_args(ChannelOrder))}, not {layout}"
            )
        pose = read_array(path, layout)
    else:
        with open_map(path) as opened:
            pose, guess = _from_picture(opened, layout, photo)
        if guess is not None:
            warnings.warn(f"{path}: {guess}", ColourMapWarning, stacklevel=2)
    if size not in (None, pose.size):
        raise ValueError(f"{path} is {pose.size[0]}x{pose.size[1]} (height x width), not {size[0]}x{size[1]}")
    return check_body(_one_person(pose, person, path), str(path))


def read_frame(picture: Image.Image, layout: Layout = "auto", name: str = "video") -> DensePose | None:
    """The map of one picture of a video that shows maps in a visualiser's colours; None if nobody is in it.

    Args:
        picture: RGB.
        layout: ``parula`` or ``viridis``, also over the filmed person; ``auto`` tells plain colours.
        name: what messages call the video.

    Warns:
        ColourMapWarning, PlausibilityWarning: as :func:`read_pose`.

    Raises:
        ValueError: if it shows none, or one that cannot be a body.
    """
    try:
        pose, guess = _from_picture(picture, layout, None)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if guess is not None:
        warnings.warn(f"{name}: {guess}", ColourMapWarning, stacklevel=2)
    pose = check_body(pose, name, empty=True)
    return pose if pose.visible_parts else None


def load_pose(pose: PoseInput, name: str = "pose") -> DensePose:
    """:meth:`DensePose.load`, for paths to any file that :func:`read_pose` can read without being told more.

    Whatever it is, it is asked whether it can be a body (:func:`pocold.densepose.plausibility.check_body`).
    """
    if isinstance(pose, str | os.PathLike):
        return read_pose(pose)
    return check_body(DensePose.load(pose, name), name)


def is_dump(path: Path) -> bool:
    """Whether a file is a pickle or was written by ``torch.save``; ValueError if it cannot be read."""
    return is_torch_zip(path) if _starts_with(path, b"PK") else is_pickle(_start(path))


def read_people(
    path: Path, photos: Path | None = None, person: int = 1
) -> Iterator[tuple[DumpedPicture, DensePose | None]]:
    """The chosen person of every picture of a dump, None where nobody was found.

    Args:
        path: the dump.
        photos: folder of its photos; by default that of the dump, or theirs when it was made.
        person: which one, the largest first, from 1.

    Raises:
        ValueError: as :func:`read_pose`; or if two pictures have one name (without its ending).
    """
    pictures = read_dump(path)
    stems = [Path(picture.name).stem for picture in pictures]
    twice = next((stem for stem in stems if stems.count(stem) > 1 or not stem), None)
    if twice is not None:
        raise ValueError(
            f"{path} holds several pictures called {twice!r}, or one without a name; convert one at a time"
        )
    for dumped in pictures:
        photo = None if photos is None else photos / dumped.name
        yield dumped, paste_person(dumped, path, person=person, photo=photo) if dumped.people else None


def paste_person(
    dumped: DumpedPicture,
    path: Path,
    *,
    person: int = 1,
    photo: ImageInput | None = None,
    size: tuple[int, int] | None = None,
) -> DensePose:
    """One person of a dump's picture in the frame of its photo; arguments as for :func:`read_pose`."""
    count = len(dumped.people)
    if not 1 <= person <= count:
        shown = f"shows {count} {'person' if count == 1 else 'people'}" if count else "shows nobody"
        raise ValueError(f"{path}: {dumped.name} {shown}, there is no person {person}")
    found = photo is None and size is None
    if found:
        photo = _own_photo(dumped, path)
        if photo is None:
            raise ValueError(
                f"{path} holds boxes in a photo whose size it does not say, and {dumped.name} lies neither beside it "
                "nor where it did; give the photo (--photo) or its size (--size HEIGHTxWIDTH)"
            )
    if photo is not None:
        width, height = load_image(photo, "photo").size
        if size not in (None, (height, width)):
            raise ValueError(f"the photo is {height}x{width} (height x width), not {size[0]}x{size[1]}")
        size = height, width
    assert size is not None
    chosen = dumped.people[person - 1]
    if found and max(have / whole for have, whole in zip(chosen.pose.size, size, strict=True)) < _SMALL_BOX:
        (height, width), (whole_height, whole_width) = chosen.pose.size, size
        warn_outside(
            f"{path}: the person's box is {height}x{width} (height x width) at row {chosen.top}, column {chosen.left} "
            f"of {dumped.name}, which is {whole_height}x{whole_width}; if the dump was made from a smaller picture, "
            "give that one (--photo)"
        )
    try:
        pose = chosen.paste(size)
    except ValueError as error:
        raise ValueError(f"{path}: {dumped.name}: {error}") from None
    return check_body(pose, f"{path}: {dumped.name}")


def _one_person(pose: DensePose, person: int | None, path: Path) -> DensePose:
    """The chosen one of the people of a map who do not touch."""
    people = people_apart(pose.labels)
    if person is None and len(people) > 1:
        _say_largest(str(path), len(people))
    chosen = 1 if person is None else person
    if not 1 <= chosen <= len(people):
        found = "one person, or people who touch" if len(people) == 1 else f"{len(people)} people"
        raise ValueError(f"{path} shows {found}, there is no person {chosen}")
    return pose if len(people) == 1 else keep_person(pose, people[chosen - 1])


def _say_largest(what: str, count: int) -> None:
    warn_outside(f"{what} shows {count} people; the largest is taken (pocold pose FILE --person 2 takes the next)")


def _choose(pictures: list[DumpedPicture], picture: str | None, path: Path) -> DumpedPicture:
    if picture is None and len(pictures) == 1:
        return pictures[0]
    chosen = [dumped for dumped in pictures if picture in (dumped.file_name, dumped.name)]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(dumped.file_name for dumped in (chosen or pictures)[:5])
    names += ", ..." if len(chosen or pictures) > 5 else ""
    if picture is None:
        raise ValueError(f"{path} holds {len(pictures)} pictures; say which (--picture): {names}")
    if chosen:
        raise ValueError(f"{path} holds several pictures called {picture}: {names}")
    raise ValueError(f"{path} holds no picture {picture}; there are {names}")


def _own_photo(dumped: DumpedPicture, path: Path) -> Path | None:
    places = (path.parent / dumped.name, Path(dumped.file_name))
    return next((place for place in places if dumped.name and place.is_file()), None)


def _from_picture(picture: Image.Image, layout: Layout, photo: ImageInput | None) -> tuple[DensePose, str | None]:
    """The map in an opened picture, and how its labels were guessed, if they were."""
    if layout == "labels":
        values = np.asarray(picture)
        if values.ndim == 3 and (values != values[..., :1]).any():
            raise ValueError(f"expected labels, one channel or equal ones, got a picture of mode {picture.mode}")
        values = values if values.ndim == 2 else values[..., 0]
        refuse_lossy(picture, values)
        return DensePose(values), None
    if layout == "parula" or layout == "viridis":
        seen = np.asarray(picture.convert("RGB"))
        plain = colours.recognise(seen, layout)
        return _from_colours(seen, plain) if plain is not None else _from_blend(seen, layout, photo)
    if layout == "auto" and CHANNEL_ORDER_KEY not in picture.info and picture.mode in ("RGB", "RGBA", "P"):
        seen = np.asarray(picture.convert("RGB"))
        plain = colours.recognise(seen)
        if plain is not None:
            return _from_colours(seen, plain)
    try:
        return DensePose.from_image(picture, "auto" if layout == "auto" else layout), None
    except ColourPictureError as error:
        if is_stick_figure(picture):
            raise ValueError(INSTEAD) from None
        raise ValueError(
            f"{error}; of a visualiser, with the photo below, say its colours (--read-as parula or viridis)"
        ) from None


def _from_colours(seen: np.ndarray, plain: colours.PlainColours) -> tuple[DensePose, str]:
    pose = colours.invert_plain(seen, plain)
    if plain.exact:
        return pose, f"labels were read from {plain.colour_map} colours, all of them exact; U and V are lost"
    return pose, (
        f"labels were guessed from {plain.colour_map} colours, blurred or compressed: in a test with JPEGs "
        f"{_RIGHT_IN_PLAIN_JPEG}% of the body came out right; U and V are lost"
    )


def _from_blend(seen: np.ndarray, colour_map: ColourMap, photo: ImageInput | None) -> tuple[DensePose, str]:
    below = None if photo is None else np.asarray(load_image(photo, "photo"))
    pose = colours.invert_blended(seen, colour_map, below)
    if photo is None:
        return pose, (
            f"labels were guessed from {colour_map} colours over an unknown photo: in a test "
            f"{_RIGHT_WITHOUT_PHOTO[colour_map]}% of the body came out right; give the photo (--photo) for better ones"
        )
    return pose, (
        f"labels were guessed from {colour_map} colours over the photo: in a test all of the body came out right from "
        f"lossless pictures, {_RIGHT_IN_JPEG}% from JPEGs; U and V are lost"
    )


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except FileNotFoundError:
        raise ValueError(f"no such DensePose file: {path}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None


def _starts_with(path: Path, *starts: bytes) -> bool:
    return _start(path).startswith(starts)
