"""``pocold transfer --estimate`` against the command itself: seconds of whole processes and peak memory.

    python -m benchmarks.estimates

Each row is one process that estimates and one that draws, one after the other, of a person of ours in named poses. On a
machine that does other work seconds by the clock say little; CPU seconds are compared as well.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.measure import machine
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person

SIZES = ("128x96", "256x176", "512x352")  # the bundled model's sizes are multiples of 16
POSES = ("walk:side", "hips", "wave:30", "relaxed:back", "run:quarter")
BOUND = 0.3  # an estimate may be wrong by that share


def timed(*words: str) -> tuple[float, float, dict[str, Any]]:
    """Seconds of one command, by the clock and of the processor, and what it prints as JSON."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pocold", *words, "--json"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu, json.loads(printed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="HEIGHTxWIDTH")
    parser.add_argument("--poses", nargs="+", type=int, default=[1, 5], help=f"numbers of poses, up to {len(POSES)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("more", nargs="*", metavar="FLAGS", help="of pocold transfer, behind --, such as -- --steps 20")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    print(machine())
    print("| size, poses | estimated s, CPU s, MB | real | off by | the estimate itself: s, CPU s |")
    print("| --- | --- | --- | --- | --- |")
    worst = [0.0, 0.0, 0.0]
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "person.png"
        drawn = next(iter(random_person(1, 1).draw([Shot(parse_pose("relaxed").pose, 0.0)], (256, 176))))
        Image.fromarray(drawn.image).save(photo)
        drawn.densepose.write(photo.with_suffix(".iuv.png"))
        for _ in range(arguments.rounds):
            for size in arguments.sizes:
                for count in arguments.poses:
                    words = ["transfer", str(photo), "--pose", *POSES[:count], "--size", size, *arguments.more]
                    own, own_cpu, told = timed(*words, "--estimate")
                    took, cpu, report = timed(*words, "-o", f"{folder}/drawn-{count}.png", "--overwrite")
                    estimated = told["seconds"], told["cpu seconds"], told["peak bytes"] / 1e6
                    real = took, cpu, report["peak bytes"] / 1e6
                    off = [a / b - 1 for a, b in zip(estimated, real, strict=True)]
                    worst = [max(a, abs(b)) for a, b in zip(worst, off, strict=True)]
                    cells = ["{:.1f}, {:.1f}, {:.0f}".format(*numbers) for numbers in (estimated, real)]
                    wrong = "{:+.0%}, {:+.0%}, {:+.0%}".format(*off)
                    print(f"| {size}, {count} | {' | '.join(cells)} | {wrong} | {own:.1f}, {own_cpu:.1f} |", flush=True)
    print("\nworst, s, CPU s, MB:", ", ".join(f"{share:.0%}" for share in worst), f"(aim {BOUND:.0%})")


if __name__ == "__main__":
    main()
