"""Where the body is found in photographs that nobody here made: python -m benchmarks.photographs --sheet found.png

Two pictures of scikit-image's: an astronaut who sits, and a man who leans over a camera. A part is in its place if the
middle of its pixels lies in a box that was drawn by hand on the photograph, without a look at any map. With the bundled
network, and with BlazePose if it is installed (``pocold pose --install``).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from pocold.densepose.maps import DensePose
from pocold.imaging.sheets import sheet_of_rows
from pocold.models.blazepose_files import open_blazepose
from pocold.models.densepose_estimator import estimate_densepose, open_estimator
from pocold.photographs import Photo

Box = tuple[int, int, int, int]  # left, top, right, bottom
PARTS = {
    "head": {23, 24}, "torso": {1, 2}, "right upper arm": {16, 18}, "left upper arm": {15, 17},
    "right lower arm": {20, 22}, "left lower arm": {19, 21}, "right hand": {3}, "left hand": {4},
    "right upper leg": {7, 9},
}  # fmt: skip
BOXES: dict[str, dict[str, Box]] = {  # what the helmet, or the near arm, hides is not judged
    "astronaut": {
        "head": (175, 30, 285, 175), "torso": (130, 230, 320, 500), "right upper arm": (25, 230, 130, 400),
        "left upper arm": (300, 225, 365, 345), "right lower arm": (20, 400, 170, 512),
        "right hand": (110, 440, 195, 512),
    },
    "camera": {
        "head": (175, 80, 265, 185), "torso": (40, 150, 190, 330), "right upper arm": (60, 160, 190, 310),
        "right lower arm": (130, 190, 235, 310), "right hand": (190, 180, 250, 250),
        "left lower arm": (250, 200, 320, 305), "left hand": (280, 160, 345, 235),
        "right upper leg": (20, 340, 140, 500),
    },
}  # fmt: skip


def found_in(picture: Image.Image, name: str) -> Iterator[tuple[str, DensePose | None]]:
    """The map of each finder, None where it finds nobody."""
    network = open_estimator()
    try:
        yield "network", estimate_densepose(picture, network, name)
    except ValueError:
        yield "network", None
    if open_blazepose() is not None:
        yield "BlazePose", Photo(Path(name), picture).found(network).pose


def place(pose: DensePose | None, part: str, box: Box) -> str:
    """Whether a part is in its place."""
    if pose is None or not pose.visible_parts & PARTS[part]:
        return "not found"
    y, x = np.argwhere(np.isin(pose.labels, list(PARTS[part]))).mean(0).tolist()
    return "yes" if box[0] <= x <= box[2] and box[1] <= y <= box[3] else f"no, at {x:.0f}, {y:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sheet", type=Path, help="draw what is found over the photographs into this PNG file")
    given = parser.parse_args()
    rows, tiles = [], []
    for name, boxes in BOXES.items():
        picture = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
        maps = dict(found_in(picture, name))
        tiles.append([picture, *(picture if pose is None else pose.over(picture) for pose in maps.values())])
        rows += [(name, part, *(place(pose, part, box) for pose in maps.values())) for part, box in boxes.items()]
    print(f"| photograph | part | {' | '.join(maps)} |")
    print("| --- | --- |" + " --- |" * len(maps))
    for row in rows:
        print(f"| {' | '.join(row)} |")
    for i, finder in enumerate(maps, 2):
        print(f"{finder}: {sum(row[i] == 'yes' for row in rows)} of {len(rows)} parts in their place")
    if given.sheet is not None:
        sheet_of_rows(tiles, ["photograph", *maps]).save(given.sheet)


if __name__ == "__main__":
    main()
