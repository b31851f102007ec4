"""How many labels of a visualiser's picture are told rightly by their colours: python benchmarks/colour_maps.py

Two pictures of each of 12 drawn people (seed 3, 256x176), drawn in the colours of dp_segm, then read back.
"""

import io

import numpy as np
import torch
from PIL import Image

from pocold.densepose.formats.colours import COLOURS, OPACITY, ColourMap, invert_blended, invert_plain, paint, recognise
from pocold.densepose.maps import DensePose
from pocold.people.rendering.render import random_person


def draw_people() -> list[tuple[np.ndarray, DensePose]]:
    pictures = []
    for identity in range(12):
        person, rng = random_person(3, identity), np.random.default_rng(identity)
        pictures += [(p.image, p.densepose) for p in person.draw([person.random_shot(rng) for _ in range(2)])]
    return pictures


def blend(photo: np.ndarray, pose: DensePose, colour_map: ColourMap) -> np.ndarray:
    body = (pose.labels > 0)[..., None]
    mixed = (1 - OPACITY) * photo + OPACITY * COLOURS[colour_map][pose.labels].astype(np.float32)
    return np.where(body, mixed, photo).astype(np.uint8)


def compress(picture: np.ndarray, quality: int) -> np.ndarray:
    if quality == 100:
        return picture  # as PNG
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def read_plain(picture: np.ndarray) -> DensePose:
    colours = recognise(picture)
    assert colours is not None
    return invert_plain(picture, colours)


def main() -> None:
    torch.set_num_threads(1)
    people = draw_people()
    print("colours, file, below: right on the body, on the background")
    for colour_map in COLOURS:
        for quality in (100, 95, 75):
            found: dict[str, list[DensePose]] = {"nothing below": [], "photo given": [], "photo lost": []}
            for photo, pose in people:
                found["nothing below"].append(read_plain(compress(np.asarray(paint(pose, colour_map)), quality)))
                picture = compress(blend(photo, pose, colour_map), quality)
                found["photo given"].append(invert_blended(picture, colour_map, photo))
                found["photo lost"].append(invert_blended(picture, colour_map, None))
            for below, maps in found.items():
                labels = np.stack([pose.labels for _, pose in people])
                same, body = np.stack([pose.labels for pose in maps]) == labels, labels > 0
                file = "PNG" if quality == 100 else f"JPEG {quality}"
                print(f"{colour_map:8} {file:8} {below:14} {same[body].mean():.3f} {same[~body].mean():.3f}")


if __name__ == "__main__":
    main()
