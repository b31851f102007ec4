"""What a page shows before anything is drawn: the found maps, the chosen pose, and what has to be invented for it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pocold.apps.drawing.models import Model
from pocold.apps.drawing.options import FrameName
from pocold.apps.drawing.results import Report
from pocold.apps.drawing.sources import (
    Person,
    read_garments,
    read_person,
    seen,
    tell_doubts,
    with_map,
    with_maps,
)
from pocold.apps.transfer import plan_transfer
from pocold.apps.ui.drawing import How
from pocold.apps.ui.sessions import Session
from pocold.densepose.coverage import missing_parts
from pocold.densepose.labels import BODY_PARTS
from pocold.densepose.maps import DensePose
from pocold.imaging.metadata import write_png
from pocold.people.rendering.surface import CLASS_ID, CLASSES
from pocold.people.sheets import shaded_pose
from pocold.photographs import Photo, read_photo

_SHOWN = 768  # pixels of the longest side of what is shown but not drawn
_NOT_WORN = frozenset({"background", "skin", "face"})
_PARTS = [part for part in BODY_PARTS if part not in ("background", "body")]


def look(session: Session, model: Model, photos: Sequence[Path], maps: Sequence[Path]) -> list[str]:
    """Take these as the person of a page. What a person should know is given back.

    Raises:
        ValueError: for what cannot be read; then the page has no person.
    """
    session.photos, session.maps, session.person = [], [], None
    told: list[str] = []
    if photos:
        person = read_person(photos, maps)
        tell_doubts([(photo.path, photo.pose) for photo in person.photos], told.append)
        person = with_maps(person, model.pipeline, lambda _: None)  # found_sentence says what was estimated
        session.photos, session.maps, session.person = list(photos), list(maps), person
    return told


def found_picture(person: Person | None) -> Image.Image | None:
    """The maps over their photographs, side by side; a photograph in which nobody was found stays as it is."""
    if person is None or not person.photos:
        return None
    tiles = [shown(photo.picture if photo.pose is None else photo.pose.over(photo.picture)) for photo in person.photos]
    height = min(tile.height for tile in tiles)
    tiles = [tile.resize((max(1, round(tile.width * height / tile.height)), height)) for tile in tiles]
    row = Image.new("RGB", (sum(tile.width for tile in tiles), height))
    left = 0
    for tile in tiles:
        row.paste(tile, (left, 0))
        left += tile.width
    return row


def found_sentence(person: Person | None) -> str:
    """What was found in the photographs, in words."""
    if person is None:
        return ""
    nobody = [photo.path.name for photo in person.photos if photo.pose is None]
    if nobody:
        return (
            f"Nobody was found in {', '.join(nobody)}. Give a DensePose map, or take a photograph that shows one "
            "person from head to feet."
        )
    shown_parts = seen(person)
    parts = 0 if shown_parts is None else len(shown_parts.visible_parts)
    estimated = any(photo.found_by for photo in person.photos)
    note = " The map was estimated: look whether its colours lie on the body." if estimated else ""
    return f"{parts} of 24 parts of the body are seen.{note}"


def suggested_frame(person: Person | None, model: Model) -> FrameName:
    """``person`` where the photograph has another shape than the model's and somebody was found in it; else ``pad``."""
    size = model.pipeline.native_size
    if person is None or size is None or not person.photos or any(photo.pose is None for photo in person.photos):
        return "pad"
    fits = all(photo.size[0] * size[1] == photo.size[1] * size[0] for photo in person.photos)
    return "pad" if fits else "person"


def target(session: Session, model: Model, how: How) -> tuple[Image.Image | None, str]:
    """The chosen pose as it will be drawn, and how much of it the photographs show; nothing without a person.

    Raises:
        ValueError: for a pose or a frame that cannot be used.
    """
    if session.person is None:
        return None, ""
    return target_of(session.person, session.pose, session.maps, model, how)


def target_of(person: Person, pose: str, maps: Sequence[Path], model: Model, how: How) -> tuple[Image.Image, str]:
    """Likewise, of any person and pose."""
    report = Report(model, how.options, ["transfer"])
    plan = plan_transfer(report, person, [pose], maps, "source", how.frame, how.paste_back)
    drawn = plan.targets[0].pose
    return shown(shaded_pose(drawn)), _coverage(plan.person, drawn)


def _coverage(person: Person, pose: DensePose) -> str:
    source = seen(person)
    if not pose.visible_parts:
        return "This pose shows nobody."
    if source is None or not source.visible_parts:
        return "What the photograph shows of this pose is not known: nobody was found in it."
    missing = missing_parts(source, pose)
    if missing.missing < 0.005:
        return "The photograph shows all of this pose."
    return f"The photograph shows {1 - missing.missing:.0%} of this pose. To be invented: {missing.named()}."


def take_pose(session: Session, model: Model, photo: Path) -> Path:
    """The pose of somebody in a photograph, as a map in a file.

    Raises:
        ValueError: if nobody is found.
    """
    found = with_map(read_photo(photo), model.pipeline, lambda _: None)
    path = photo.with_name(f"{photo.stem}.iuv.png")
    found.need_pose("taking its pose").write(path)
    return path


def regions(photo: Photo | None, garments: Path | None = None) -> list[tuple[str, str]]:
    """What of a photograph can be edited: labels for people, and regions as ``pocold edit`` takes them."""
    if photo is None or photo.pose is None:
        return []
    parts = photo.pose.visible_parts
    found = [(f"{part.replace('_', ' ')} (body)", f"parts:{part}") for part in _PARTS if BODY_PARTS[part] & parts]
    classes = read_garments(photo, garments)
    if classes is None:
        return found
    there = set(np.unique(classes).tolist())
    worn = [name for name in CLASSES if name not in _NOT_WORN and CLASS_ID[name] in there]
    return [(f"{name} (garment)", f"garment:{name}") for name in worn] + found


def painted_mask(session: Session, editor: Mapping[str, Any] | None) -> Path | None:
    """What was painted over the first photograph, as a mask of its size in a file; None if nothing was.

    Args:
        session: of the page.
        editor: ``layers``: RGBA pictures of one size, whose opaque pixels were painted.
    """
    layers = [np.asarray(layer.convert("RGBA"))[..., 3] > 0 for layer in (editor or {}).get("layers") or ()]
    if session.person is None or not layers or not np.any(layers):
        return None
    mask = Image.fromarray(np.any(layers, axis=0).astype(np.uint8) * 255)
    path = session.folder / "mask.png"
    write_png(mask.resize(session.person.photos[0].picture.size, Image.Resampling.NEAREST), path, {"picture": "mask"})
    return path


def shown(picture: Image.Image) -> Image.Image:
    """A picture no larger than a page needs it."""
    smaller = picture.copy()
    smaller.thumbnail((_SHOWN, _SHOWN))
    return smaller
