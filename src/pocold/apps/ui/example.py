"""What a page begins with: two people who do not exist, with exact maps, so that the first click draws.

Their pictures, and those of the named poses, are packed beside this file: drawing them takes a while.
``scripts/ui_pictures.py`` drew them.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pocold.apps.drawing.sources import Person, read_person
from pocold.people.poses import POSES
from pocold.people.sheets import pose_tiles

PICTURES = Path(__file__).parent / "pictures"
PEOPLE = {"person": (1, 1), "other": (1, 21)}  # seeds and numbers; nobody that the bundled model was trained on


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


def copy_example(folder: Path) -> Example:
    """Copy the two people into a folder, which is made."""
    folder.mkdir(parents=True)
    for name in PEOPLE:
        for file in PICTURES.glob(f"{name}.*"):
            shutil.copyfile(file, folder / file.name)
    photo, other = (folder / f"{name}.png" for name in PEOPLE)
    return Example(photo, other, read_person([photo]))


def pose_pictures() -> list[tuple[Image.Image, str]]:
    """All named poses as pictures, each with its name."""
    with Image.open(PICTURES / "poses.png") as sheet:
        return list(zip(pose_tiles(sheet.convert("RGB"), len(POSES)), POSES, strict=True))
