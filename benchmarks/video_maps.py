"""How much the map of a person who does not move changes from frame to frame: python -m benchmarks.video_maps

A photograph with fresh grain in each frame, written and read as H.264. Share of the body's pixels whose label changes,
if each frame is looked at alone and if they are looked at as a clip. Needs BlazePose (``pocold pose --install``).
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from pocold.densepose.maps import DensePose
from pocold.finding import find_clip, find_densepose
from pocold.imaging.animations import read_frames, write_animation
from pocold.models.blazepose_files import HOW, open_blazepose
from pocold.models.densepose_estimator import open_estimator

FPS = 25


def changes(maps: Iterable[DensePose]) -> float:
    """Mean share of the body's pixels that get another label in the next map."""
    steps = []
    for one, other in itertools.pairwise(maps):
        body = (one.labels > 0) | (other.labels > 0)
        steps.append(float((one.labels != other.labels)[body].mean()))
    return float(np.mean(steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--grain", type=float, nargs="+", default=[3.0, 6.0], help="standard deviations, of 255")
    given = parser.parse_args()
    if open_blazepose() is None:
        raise SystemExit(f"expected BlazePose: {HOW}")
    picture, network = skimage.data.astronaut().astype(float), open_estimator()
    print("| grain | each frame alone | as a clip |\n| ---: | ---: | ---: |")
    for grain in given.grain:
        rng = np.random.default_rng(0)
        frames = [picture + rng.normal(0, grain, picture.shape) for _ in range(given.frames)]
        with tempfile.TemporaryDirectory() as folder:
            film = Path(folder, "still.mp4")
            write_animation([Image.fromarray(np.clip(f, 0, 255).astype(np.uint8)) for f in frames], film, FPS, {})
            seen = list(read_frames(film, FPS))
        alone = changes(find_densepose(frame, network).pose for frame in seen[:9])
        clip = changes(pose for pose in find_clip(seen, FPS, lambda: network) if pose is not None)
        print(f"| {grain:g} | {alone:.2%} | {clip:.2%} |", flush=True)


if __name__ == "__main__":
    main()
