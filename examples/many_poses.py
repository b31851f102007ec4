"""One person in many poses: encode once, draw in batches, one seed per picture.

    python examples/many_poses.py person.png pose-1.png pose-2.png --output drawn

With `--model FOLDER` a trained pipeline folder is used; without, the untrained toy model.
"""

import argparse
from pathlib import Path

import torch

from pocold import PoseTransferPipeline
from pocold.images import write_png


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("person")
    parser.add_argument("poses", nargs="+")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("drawn"))
    arguments = parser.parse_args()

    if arguments.model:
        pipeline = PoseTransferPipeline.from_pretrained(arguments.model)
    else:
        pipeline = PoseTransferPipeline.from_preset("toy")
    pipeline.set_scheduler("dpm++")

    arguments.output.mkdir(parents=True, exist_ok=True)
    code = pipeline.encode_appearance(arguments.person)
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
        write_png(picture, path, {"seed": seed, "steps": arguments.steps, "pose": Path(pose).name})
        print(path)


if __name__ == "__main__":
    main()
