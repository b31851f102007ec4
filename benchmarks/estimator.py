"""The DensePose estimator: size, speed, accuracy on held-out people as they are and under each corruption, and what it
says of photographs.

    python -m benchmarks.estimator FOLDER DATA --limit 300 --sheet photographs.png

DATA is a data set with U, V and garment maps, such as ``pocold synth`` writes; its test split is used. Photographs are
those that scikit-image carries, if it is installed.
"""

import argparse
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.measure import machine
from pocold.data.corruptions import CORRUPTIONS, Example, corrupt, nobody, resampled
from pocold.data.opening import open_data
from pocold.data.pairs import PairedTransform
from pocold.data.pictures import PairDataset
from pocold.densepose.framing import PersonFrame
from pocold.evaluation.estimation import confusions
from pocold.imaging import images
from pocold.imaging.sheets import sheet_of_rows
from pocold.models.densepose_estimator import (
    DensePoseEstimator,
    body_found,
    estimate_densepose,
    load_estimator,
    look_twice,
)

_AT_ONCE = 16
_TWICE = "clean, with the mirror image, U and V smooth"  # as photographs are looked at
PEOPLE = ("astronaut", "camera")
NO_PEOPLE = ("coffee", "rocket", "chelsea", "brick", "grass", "coins", "page", "moon")


def held_out(data: Path, limit: int) -> list[Example]:
    """Pictures of the test split, each once, evenly spread."""
    pairs = open_data(data, "test", transform=PairedTransform(uv=True))
    assert isinstance(pairs, PairDataset)
    first = {target: i for i, (_, target) in reversed(list(enumerate(pairs.pairs)))}
    chosen = sorted(first.values())
    samples = [pairs[chosen[i * len(chosen) // limit]] for i in range(min(limit, len(chosen)))]
    return [Example(s["target"], s["target_pose"], s["target_uv"], s.get("target_garments")) for s in samples]


def batches(rows: list[Example]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        yield (
            torch.stack([row.photo for row in part]),
            torch.stack([row.labels for row in part]),
            torch.stack([row.uv for row in part]),
        )


def show_accuracy(estimator: DensePoseEstimator, people: list[Example], strength: float) -> None:
    plain = [resampled(row, estimator.size) for row in people]
    sets = {"clean": plain}
    for name, corruption in CORRUPTIONS.items():
        sets[name] = [corruption(row, strength, torch.Generator().manual_seed(i)) for i, row in enumerate(plain)]
    sets[_TWICE] = plain
    sets["as in training"] = [
        corrupt(row, torch.Generator().manual_seed(i), estimator.size) for i, row in enumerate(people)
    ]
    names: list[str] = []
    for name, rows in sets.items():
        looks = partial(look_twice, estimator=estimator) if name == _TWICE else estimator
        found = confusions(looks, batches(rows))
        summary = found.summary()
        if not names:
            names = list(summary)
            print(f"| {len(rows)} pictures, strength {strength:g} | " + " | ".join(names) + " |")
            print("| --- |" + " ---: |" * len(names))
        print(f"| {name} | " + " | ".join(f"{summary[column]:.4f}" for column in names) + " |", flush=True)
        if name == "clean":
            weakest = sorted(found.part_iou().items(), key=lambda part: part[1])[:5]
    print("weakest parts, clean:", ", ".join(f"{name} {value:.2f}" for name, value in weakest))


def show_cost(estimator: DensePoseEstimator, folder: Path, rounds: int) -> None:
    count = sum(p.numel() for p in estimator.parameters())
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    print(
        f"{count / 1e6:.2f} M parameters, {2 * count / 1e6:.1f} MB in half precision, {stored / 1e6:.1f} MB as stored"
    )
    for size in ((256, 176), estimator.size):
        photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
        picture = images.to_tensor(photo)
        times = []
        with torch.inference_mode():
            for _ in range(rounds):
                start = time.process_time()
                estimator(picture)
                times.append(time.process_time() - start)
        print(f"{size[0]}x{size[1]}: {1000 * sorted(times)[len(times) // 2]:.0f} ms CPU, fp32, one thread")


def show_photographs(estimator: DensePoseEstimator, people: list[Example], sheet: Path | None) -> None:
    """Share of body and confidence of the first look, with and without people."""
    rows = []
    empty = [nobody(row, torch.Generator().manual_seed(i)) for i, row in enumerate(people)]
    for name, pictures in (("drawn people", people), ("drawn, nobody", empty)):
        found = [_first_look(images.to_pil(row.photo[None])[0], estimator) for row in pictures]
        shares, confidences = (sorted(column) for column in zip(*found, strict=True))
        ends = (0, len(found) // 20, len(found) // 2, -1 - len(found) // 20, -1)
        print(f"{name}: share " + " ".join(f"{shares[i]:.3f}" for i in ends), end="")
        print("; confidence " + " ".join(f"{confidences[i]:.2f}" for i in ends), "(least, 5 %, median, 95 %, most)")
    try:
        from skimage import data
    except ImportError:
        print("scikit-image is not installed: no photographs")
        return
    for name in (*PEOPLE, *NO_PEOPLE):
        try:
            photo = images.load_image(np.asarray(getattr(data, name)()))
        except (OSError, ValueError, ImportError):  # some have to be downloaded
            print(f"{name}: does not come with scikit-image here")
            continue
        share, confidence = _first_look(photo, estimator)
        try:
            shown = estimate_densepose(photo, estimator).over(photo)
            verdict = "a person"
        except ValueError:
            shown, verdict = photo, "nobody"
        print(f"{name}: {verdict}; share {share:.3f}, confidence {confidence:.2f}")
        rows.append([picture.resize((256, 256 * photo.height // photo.width)) for picture in (photo, shown)])
    if sheet is not None and rows:
        sheet_of_rows(rows, ["photograph", "found"]).save(sheet)


def _first_look(photo: Image.Image, estimator: DensePoseEstimator) -> tuple[float, float]:
    everything = np.ones((photo.height, photo.width), dtype=np.uint8)
    seen = PersonFrame.around(everything, size=estimator.size, margin=0.0).image(photo)
    with torch.inference_mode():
        return body_found(look_twice(images.to_tensor(seen), estimator).labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the estimator")
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, default=300, help="pictures")
    parser.add_argument("--strength", type=float, default=1.0, help="of each corruption alone")
    parser.add_argument("--rounds", type=int, default=15, help="of each timing")
    parser.add_argument("--sheet", type=Path, help="photographs and what was found in them, as PNG")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    estimator = load_estimator(arguments.folder)
    print(machine())
    show_cost(estimator, arguments.folder, arguments.rounds)
    people = held_out(arguments.data, arguments.limit)
    show_accuracy(estimator, people, arguments.strength)
    show_photographs(estimator, people, arguments.sheet)


if __name__ == "__main__":
    main()
