"""How much animations flicker: python -m benchmarks.flicker

Random people turn on the spot (the first 19 of 36 frames: to the back), walk (a stride of 14), and stand still (4).
Each frame is brought onto the next by the surface points that both show; the mean difference of colours, in 1/255, is
the flicker, of the body and of the backdrop. Beside it the same of true renders: what a film of that motion has (light
that moves over cloth, pixels that do not coincide). The bundled model draws from one photograph, at 256x176.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from benchmarks.measure import machine
from pocold.apps.animate.plan import Noise, frame_tasks
from pocold.apps.animate.steadying import steadied
from pocold.apps.drawing.draw import draw_all
from pocold.apps.drawing.options import STEADY, DrawOptions
from pocold.densepose.correspondence import surface_correspondence
from pocold.densepose.maps import DensePose
from pocold.people.poses import parse_pose, turntable, walk_cycle
from pocold.people.rendering.render import Person, Shot, random_person
from pocold.pipeline import PoseTransferPipeline

SIZE, SEED = (256, 176), 4242
NOISES: tuple[Noise, ...] = ("fresh", "shared", "surface")


@dataclass(frozen=True, eq=False)
class Film:
    """True frames of somebody who moves, and a photograph of the same person."""

    name: str
    photo: Image.Image
    photo_map: DensePose
    frames: list[np.ndarray]
    maps: list[DensePose]


def film(person: Person, name: str, shots: Sequence[Shot]) -> Film:
    """Draw one."""
    pose = parse_pose("relaxed:front")
    photo, *frames = person.draw([Shot(pose.pose, pose.view, pose.crop), *shots], SIZE)
    return Film(
        name, Image.fromarray(photo.image), photo.densepose,
        [frame.image for frame in frames], [frame.densepose for frame in frames],
    )  # fmt: skip


def films(person: Person) -> list[Film]:
    """A part of a turn, a stride seen from the front's left, and nothing that moves."""
    pose, view = parse_pose("relaxed:front").pose, parse_pose("walk:quarter").view
    return [
        film(person, "turn", [Shot(pose, view) for view in turntable(36)[:19]]),
        film(person, "walk", [Shot(pose, view) for pose in walk_cycle(14)]),
        film(person, "still", [Shot(pose, 0.0)] * 4),
    ]


def flicker(frames: Sequence[np.ndarray], maps: Sequence[DensePose]) -> list[float]:
    """Mean difference of neighbouring frames where both show the same, in 1/255: of the body, of the backdrop."""
    differences = []
    for i in range(len(frames) - 1):
        (before, after), (old, new) = maps[i : i + 2], frames[i : i + 2]
        assert before.uv is not None
        assert after.uv is not None
        index, visible = surface_correspondence(
            torch.from_numpy(after.labels), torch.from_numpy(after.uv),
            torch.from_numpy(before.labels), torch.from_numpy(before.uv),
        )  # fmt: skip
        moved = np.abs(old.reshape(-1, 3)[index.numpy()].astype(int) - new).mean(-1)
        body = after.labels > 0
        differences.append([moved[visible.numpy() & kind].mean() for kind in (body, ~body)])
    mean: list[float] = np.mean(differences, axis=0).tolist()
    return mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--steps", type=int, default=None, help="the model's own if not given")
    given = parser.parse_args()
    pipeline = PoseTransferPipeline.from_bundled()
    pipeline.set_progress_bar_config(disable=True)
    options = DrawOptions(steps=given.steps, batch_size=4)
    print(machine())
    print("| motion | of | true renders | fresh noise | shared noise | surface noise | shared, steadied "
          "| the same / fresh |")  # fmt: skip
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    everybody = [films(random_person(SEED, i)) for i in range(given.people)]
    for motion in zip(*everybody, strict=True):
        rows = []
        for one in motion:
            code = pipeline.encode_appearance(one.photo, source_pose=one.photo_map, height=SIZE[0], width=SIZE[1])
            row = [flicker(one.frames, one.maps)]
            for noise in NOISES:
                tasks = frame_tasks(pipeline, code, one.maps, noise, 0)
                drawn = list(draw_all(pipeline, tasks, options, SIZE))
                row.append(flicker([np.asarray(picture) for picture in drawn], one.maps))
                if noise == "shared":
                    assert code.surface is not None
                    drawn = list(steadied(drawn, one.maps, code.surface[0], STEADY))
                    steady = flicker([np.asarray(picture) for picture in drawn], one.maps)
            row.append(steady)
            rows.append(row)
        for of, values in zip(("body", "backdrop"), np.mean(rows, axis=0).T, strict=True):
            cells = " | ".join(f"{value:.2f}" for value in values)
            print(f"| {motion[0].name} | {of} | {cells} | {values[-1] / values[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
