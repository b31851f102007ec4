"""One person in many poses: encode once, draw in batches, one seed per picture.

    python examples/many_poses.py person.png pose-1.png pose-2.png --output drawn

The bundled model draws unless `--model FOLDER` names another. Without `--source-pose` its estimator finds the map of
the photograph.
"""

import argparse
from pathlib import Path

import torch

from pocold import PoseTransferPipeline
from pocold.imaging.metadata import write_png


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("person")
    parser.add_argument("poses", nargs="+")
    parser.add_argument("--source-pose", help="the DensePose map of the photograph")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--steps", type=int, help="the model's own number if not given")
    parser.add_argument("--output", type=Path, default=Path("drawn"))
    arguments = parser.parse_args()

    if arguments.model:
        pipeline = PoseTransferPipeline.from_pretrained(arguments.model)
    else:
        pipeline = PoseTransferPipeline.from_bundled()

    arguments.output.mkdir(parents=True, exist_ok=True)
    code = pipeline.encode_appearance(arguments.person, source_pose=arguments.source_pose)
    code.save(arguments.output / "person.safetensors")  # next time: AppearanceCode.load(...)

    seeds = range(len(arguments.poses))
    pictures = pipeline(
        code,
        arguments.poses,
        num_inference_steps=arguments.steps,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        batch_size=4,
    ).images
    for seed, pose, picture in zip(seeds, arguments.poses, pictures, strict=True):
        path = arguments.output / f"{Path(pose).stem}.png"
        write_png(picture, path, {"seed": seed, "pose": Path(pose).name})
        print(path)


if __name__ == "__main__":
    main()
