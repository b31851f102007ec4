"""Pictures per CPU second of ``pocold bulk`` against plain loops: python -m benchmarks.bulk

The bundled model, people with maps, each in several poses. Loading the model counts, starting Python does not. The CPU
time of worker processes counts.
"""

import argparse
import contextlib
import io
import os
import resource
import shlex
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from benchmarks.measure import machine
from pocold.cli import main as pocold
from pocold.densepose.framing import framed
from pocold.imaging.images import Frame
from pocold.imaging.metadata import write_png
from pocold.people.body.fitting import fit_pose
from pocold.people.body.keypoint_maps import load_any_pose
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person
from pocold.pipeline import PoseTransferPipeline

POSES = ("walk:side", "hips:back", "wave:30", "stand:front")
Rows = list[tuple[str, str, int]]


def write_people(count: int) -> Rows:
    """Photographs, maps, and ``jobs.csv`` of each in all poses, here; the rows."""
    pose = parse_pose("relaxed:front")
    for i in range(count):
        picture = random_person(7, i).draw([Shot(pose.pose, pose.view, pose.crop)], (256, 176))[0]
        Image.fromarray(picture.image).save(f"{i}.png")
        picture.densepose.write(Path(f"{i}.iuv.png"))
    rows = [(f"{i}.png", name, seed) for seed, name in enumerate(POSES) for i in range(count)]
    Path("jobs.csv").write_text("photo,pose,seed\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    return rows


def command(words: str) -> None:
    """A command line in this process, silent."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pocold(shlex.split(words))


def transfers(rows: Rows, how: str) -> None:
    """``pocold transfer`` for each row."""
    for number, (photo, pose, seed) in enumerate(rows):
        command(f"transfer {photo} --pose {pose} --seed {seed} -o transfer-{number}.png {how}")


def loop(rows: Rows, size: tuple[int, int], steps: int) -> None:
    """What a script does: one pipeline, each row from its files, the pose struck by the person of the photograph."""
    pipeline = PoseTransferPipeline.from_bundled()
    pipeline.set_progress_bar_config(disable=True)
    for number, (photo, pose, seed) in enumerate(rows):
        own = load_any_pose(photo.replace(".png", ".iuv.png"))
        drawn = pipeline(
            photo,
            fit_pose(parse_pose(pose), framed(own, Frame(own.size, size))),
            source_pose=own,
            height=size[0],
            width=size[1],
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(seed),
        )
        write_png(drawn.images[0], f"loop-{number}.png")


def cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--size", default="256x176")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--ray", action="store_true", help="also on a local Ray cluster")
    given = parser.parse_args()
    torch.set_num_threads(1)
    height, width = map(int, given.size.split("x"))
    how = f"--size {given.size} --steps {given.steps}"
    print(machine())
    print("| | pictures | CPU s | pictures per CPU second | seconds by the clock |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        rows = write_people(given.people)
        variants: dict[str, Callable[[], None]] = {
            "`pocold transfer` for each row": lambda: transfers(rows, how),
            "the pipeline in a loop": lambda: loop(rows, (height, width), given.steps),
            "`pocold bulk`": lambda: command(f"bulk jobs.csv -o one {how}"),
            "`pocold bulk --batch-size 4`": lambda: command(f"bulk jobs.csv -o four {how} --batch-size 4"),
            "`pocold bulk --workers 2`": lambda: command(f"bulk jobs.csv -o two {how} --workers 2"),
        }
        if given.ray:
            variants["`pocold bulk --ray local`"] = lambda: command(
                f"bulk jobs.csv -o ray {how} --ray local --workers 2"
            )
        for name, function in variants.items():
            cpu, clock = cpu_seconds(), time.perf_counter()
            function()
            cpu, clock = cpu_seconds() - cpu, time.perf_counter() - clock
            print(f"| {name} | {len(rows)} | {cpu:.1f} | {len(rows) / cpu:.2f} | {clock:.1f} |", flush=True)
        assert len(os.listdir("one")) == len(rows) + 4


if __name__ == "__main__":
    main()
