"""Bodies fitted to keypoints: how well the maps drawn from them agree with the true maps of drawn people.

    python -m benchmarks.keypoints --people 200 --sheet fits.png

People are random ones of ``pocold synth`` (a seed of their own), each in one random pose, view and crop. Given are the
points inside the picture. Facing is wrong where the fitted view is more than 90 degrees off.
"""

import argparse
import math
import time
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from benchmarks.measure import machine
from pocold.densepose.maps import DensePose
from pocold.evaluation.estimation import Confusions
from pocold.imaging.sheets import sheet_of_rows
from pocold.people.body.keypoint_fitting import fit_body
from pocold.people.body.posing import draw_body
from pocold.people.body.skeleton import Arm, bone_transforms, touches_itself
from pocold.people.labels import densepose_of, keypoints_3d
from pocold.people.poses import POSES, random_view
from pocold.people.rendering.render import Person, Shot, _Stage, random_person

_SIZE = (256, 176)
_SEED = 4242
_PER_ROW = 5


@dataclass(frozen=True, eq=False)
class Truth:
    """One drawn person.

    Attributes:
        pose: the true map.
        points: ``(18, 2)`` pixels; visible, inside: ``(18,)``; depth: ``(18,)``, in pixels.
        view: degrees.
    """

    pose: DensePose
    points: np.ndarray
    visible: np.ndarray
    inside: np.ndarray
    depth: np.ndarray
    view: float


def draw_truth(identity: int) -> Truth:
    """A random person in a random pose, view and crop."""
    person = random_person(_SEED, identity)
    rng = np.random.default_rng([_SEED, identity, 1])
    shot = person.random_shot(rng)
    return _truth(person, Shot(shot.pose, random_view(rng), shot.crop, shot.seed, None, shot.shift))


def draw_named() -> list[Truth]:
    """Every named pose in four views, each by another random person: many are rare, some no random person strikes."""
    return [
        _truth(random_person(_SEED, i), Shot(POSES[name], view + 20.0))
        for i, (name, view) in enumerate(product(POSES, (0, 90, 180, -90)))
    ]


def draw_free(identity: int) -> Truth:
    """A random person whose arms point anywhere that a shoulder and an elbow allow: no preset is near."""
    person = random_person(_SEED, identity)
    rng = np.random.default_rng([_SEED, identity, 2])
    body, heads, shot = person.wearer.anatomy.body, person.wearer.heads, person.random_shot(rng)
    for _ in range(100):
        arms = [_free_arm(rng) for _ in range(2)]
        pose = replace(shot.pose, left_arm=arms[0], right_arm=arms[1])
        if not touches_itself(bone_transforms(pose, body, heads), body, heads):
            break
    return _truth(person, Shot(pose, random_view(rng), "full", shot.seed, None, shot.shift))


def _free_arm(rng: np.random.Generator) -> Arm:
    while True:
        upper, lower = rng.normal(size=(2, 3))
        upper, lower = upper / np.linalg.norm(upper), lower / np.linalg.norm(lower)
        if upper[0] > -0.2 and upper[1] > -0.5 and upper @ lower > -0.6 and lower[1] > upper[1] - 0.1:
            return Arm(tuple(upper.tolist()), tuple(lower.tolist()))


def _truth(person: Person, shot: Shot) -> Truth:
    stage = _Stage.set(person, [shot], _SIZE)
    fragments = stage.body_fragments()
    pose = densepose_of(fragments, _SIZE, 1)[0]
    seen = stage.keypoints(fragments)[0]
    world = keypoints_3d(stage.body.vertices, person.wearer.heads, stage.transforms)
    camera = stage.cameras[0]
    depth = camera.project(camera.to_camera(world[0]))[1].numpy() * camera.focal / camera.distance
    points = seen[:, :2].astype(float)
    inside = np.all((points >= 0) & (points < [_SIZE[1], _SIZE[0]]), axis=1)
    return Truth(pose, points, seen[:, 2] > 0, inside, depth.astype(float), shot.view)


@dataclass
class Score:
    found: Confusions
    turned: int = 0
    count: int = 0
    seconds: float = 0.0

    def row(self) -> str:
        summary = self.found.summary()
        return (
            f"{summary['miou']:.3f} | {summary['body_accuracy']:.3f} | {100 * summary['mirrored']:.1f} % | "
            f"{100 * summary['other_side']:.1f} % | {100 * self.turned / self.count:.1f} % | "
            f"{self.seconds / self.count:.2f}"
        )


SETTINGS = {  # noise (share of the picture's height), share of points missing, depth known, hidden points known
    "2-D, exact": (0.0, 0.0, False, True),
    "with depth, exact": (0.0, 0.0, True, True),
    "2-D, visible points only": (0.0, 0.0, False, False),
    "2-D, 2 % noise, 20 % missing": (0.02, 0.2, False, True),
    "with depth, 2 % noise, 20 % missing": (0.02, 0.2, True, True),
}


def fit(truth: Truth, setting: str, seed: int) -> tuple[DensePose, float, float, np.ndarray]:
    """The fitted map, its view, the CPU seconds of the fit and the points that were given, NaN where missing."""
    noise, missing, with_depth, hidden = SETTINGS[setting]
    rng = np.random.default_rng([seed, 7])
    points = truth.points + rng.normal(size=truth.points.shape) * noise * _SIZE[0]
    kept = truth.inside & (rng.uniform(size=len(points)) >= missing)
    sure = np.where(truth.visible, 1.0, 0.5 if hidden else 0.0) * kept
    depth = truth.depth + rng.normal(size=len(points)) * noise * _SIZE[0] if with_depth else None
    start = time.process_time()
    shape, pose, camera = fit_body(points, sure, depth=depth, size=_SIZE)
    seconds = time.process_time() - start
    return draw_body(shape, pose, camera), camera.view, seconds, np.where(sure[:, None] > 0, points, np.nan)


def add(score: Score, truth: Truth, drawn: DensePose, view: float, seconds: float) -> bool:
    """Add one fit; whether it faces the right way."""
    maps = [torch.from_numpy(v.astype(np.int64))[None] for v in (drawn.labels, truth.pose.labels)]
    assert drawn.uv is not None
    assert truth.pose.uv is not None
    score.found.add(maps[0], torch.from_numpy(drawn.uv)[None], maps[1], torch.from_numpy(truth.pose.uv)[None])
    turned = abs(math.remainder(view - truth.view, 360)) > 90
    score.turned += turned
    score.count += 1
    score.seconds += seconds
    return not turned


def with_points(pose: DensePose, points: np.ndarray) -> Image.Image:
    picture = pose.to_image().convert("RGB")
    pen = ImageDraw.Draw(picture)
    for x, y in points[np.isfinite(points).all(1)]:
        pen.rectangle([x - 1, y - 1, x + 1, y + 1], fill="white", outline="black")
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument(
        "--poses", choices=("random", "named", "free"), default="random",
        help="as pocold synth draws them; every named pose in four views; or with arms that point anywhere",
    )  # fmt: skip
    parser.add_argument("--sheet", type=Path, help="true and fitted maps, worst first, as PNG: of the first setting")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    draw = draw_free if arguments.poses == "free" else draw_truth
    truths = draw_named() if arguments.poses == "named" else [draw(i) for i in range(arguments.people)]
    print(
        f"| {len(truths)} people | mIoU | body accuracy | mirrored limbs | limbs of other side | facing wrong | CPU s |"
    )
    print("| --- |" + " ---: |" * 6)
    for setting in arguments.settings:
        score, pictures = Score(Confusions()), []
        for i, truth in enumerate(truths):
            drawn, view, seconds, given = fit(truth, setting, i)
            right = add(score, truth, drawn, view, seconds)
            body = (truth.pose.labels > 0) | (drawn.labels > 0)
            agreeing = float((truth.pose.labels == drawn.labels)[body].mean())
            pictures.append((agreeing - (not right), i, with_points(truth.pose, given), drawn.to_image()))
        print(f"| {setting} | {score.row()} |", flush=True)
        if arguments.sheet is not None and setting == arguments.settings[0]:
            _write_sheet(pictures, arguments.sheet)


def _write_sheet(pictures: list[tuple[float, int, Image.Image, Image.Image]], path: Path) -> None:
    pictures = sorted(pictures, key=lambda row: row[0])
    for value, identity, _, _ in pictures[:10]:
        print(f"  person {identity}: agreement {value:.2f}")
    cells = [picture for _, _, true, drawn in pictures for picture in (true, drawn)]
    rows = [cells[i : i + 2 * _PER_ROW] for i in range(0, min(len(cells), 16 * _PER_ROW), 2 * _PER_ROW)]
    sheet_of_rows(rows, ["true, points given", "fitted"] * _PER_ROW).save(path)


if __name__ == "__main__":
    main()
