"""The top of one person with the legs of another, and a half-way blend of both.

    python examples/mix_people.py a.png a-pose.png b.png b-pose.png --output mixed

Parts are cut out of the *appearance*, before anything is drawn: each photograph's map says which of its pixels may
be extracted from. The bundled model draws unless `--model FOLDER` names another.
"""

import argparse
from pathlib import Path

import torch

from pocold import AppearanceCode, PoseTransferPipeline
from pocold.imaging.metadata import write_png


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("a", "a_pose", "b", "b_pose"):
        parser.add_argument(name)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--steps", type=int, help="the model's own number if not given")
    parser.add_argument("--output", type=Path, default=Path("mixed"))
    arguments = parser.parse_args()

    if arguments.model:
        pipeline = PoseTransferPipeline.from_pretrained(arguments.model)
    else:
        pipeline = PoseTransferPipeline.from_bundled()

    top = pipeline.encode_appearance(
        arguments.a, source_pose=arguments.a_pose, parts=["head", "top", "hands", "background"]
    )
    legs = pipeline.encode_appearance(arguments.b, source_pose=arguments.b_pose, parts=["legs", "feet"])
    people = ((arguments.a, arguments.a_pose), (arguments.b, arguments.b_pose))
    whole = [pipeline.encode_appearance(photo, source_pose=pose) for photo, pose in people]
    codes = {"top-and-legs": AppearanceCode.union([top, legs]), "half-way": whole[0].blend(whole[1], 0.5)}

    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, code in codes.items():
        picture = pipeline(
            code,
            arguments.a_pose,
            num_inference_steps=arguments.steps,
            generator=torch.Generator().manual_seed(0),
        ).images[0]
        path = arguments.output / f"{name}.png"
        write_png(picture, path, {"seed": 0})
        print(path)


if __name__ == "__main__":
    main()
