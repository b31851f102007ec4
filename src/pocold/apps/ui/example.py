"""What a page begins with: two people of the library's own, with exact maps, so that the first click draws."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pocold.apps.demo import SOURCE_POSE, photograph
from pocold.apps.drawing.sources import Person, read_person
from pocold.imaging.metadata import write_png
from pocold.people.rendering.render import random_person

_PEOPLE = {"person": (1, 1), "other": (1, 21)}  # seeds and numbers; nobody that a model was trained on
_SIZE = (256, 176)  # unless the model has one of its own


@dataclass(frozen=True, eq=False)
class Example:
    """Files and choices that a page begins with.

    Attributes:
        photo: of the person; its DensePose and garment maps lie beside it.
        other: of whom clothes are taken, likewise.
        person: the photograph with its map.
        pose: name of the pose, and degrees that it is seen from.
    """

    photo: Path
    other: Path
    person: Person
    pose: tuple[str, float] = ("walk", 35.0)


def write_example(folder: Path, size: tuple[int, int] | None) -> Example:
    """Draw the two people into a folder, at a size (height, width)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, (seed, number) in _PEOPLE.items():
        picture = photograph(random_person(seed, number), SOURCE_POSE, size or _SIZE)
        paths.append(folder / f"{name}.png")
        write_png(Image.fromarray(picture.image), paths[-1], {"person": [seed, number], "pose": SOURCE_POSE})
        picture.densepose.write(folder / f"{name}.iuv.png")
        Image.fromarray(picture.garments).save(folder / f"{name}.garments.png")
    return Example(*paths, read_person(paths[:1]))
