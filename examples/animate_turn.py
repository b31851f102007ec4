"""One person turning round: the maps of a moving body, one code, one noise for all frames.

    python examples/animate_turn.py person.png --output turn.gif

The ending says what is written: .gif or .webp; .mp4 or .webm with PyAV; none is a folder of frames. `pocold animate`
does more.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image

from pocold import DensePose, PoseTransferPipeline
from pocold.densepose.maps import PoseInput
from pocold.imaging.animations import write_animation
from pocold.imaging.images import Frame
from pocold.models.densepose_estimator import estimate_densepose, open_estimator
from pocold.people.body.fitting import Stage
from pocold.people.poses import POSES, turntable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("person", type=Path)
    parser.add_argument("--source-pose", type=Path, help="the DensePose map of the photograph; found if not given")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--steps", type=int, help="the model's own number if not given")
    parser.add_argument("--output", type=Path, default=Path("turn.gif"))
    arguments = parser.parse_args()

    if arguments.model:
        pipeline = PoseTransferPipeline.from_pretrained(arguments.model)
    else:
        pipeline = PoseTransferPipeline.from_bundled()
    pose = arguments.source_pose
    own = DensePose.read(pose) if pose else estimate_densepose(arguments.person, open_estimator())

    size = pipeline.native_size or own.size
    stage = Stage.of(at_size(own, size), size)
    maps: list[PoseInput] = [stage.draw(POSES["relaxed"], view) for view in turntable(arguments.frames)]
    frames: list[Image.Image] = pipeline(
        pipeline.encode_appearance(arguments.person, source_pose=own),
        maps,
        num_inference_steps=arguments.steps,
        generator=[torch.Generator().manual_seed(0) for _ in maps],  # the same noise in every frame
    ).images
    write_animation(frames, arguments.output, 12, {"pose": "relaxed", "seed": 0})
    print(arguments.output)


def at_size(pose: DensePose, size: tuple[int, int]) -> DensePose:
    """A map as the model sees it: the frame that the photograph gets, too."""
    frame = Frame(pose.size, size)
    return DensePose(frame.labels(pose.labels), None if pose.uv is None else frame.uv(pose.uv))


if __name__ == "__main__":
    main()
