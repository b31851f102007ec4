"""A ComfyUI workflow without ComfyUI: the nodes of PoCoLD, called one after the other.

    python examples/comfyui_workflow.py src/pocold/apps/comfyui/workflows/api/poses.json --inputs photos --output drawn

The workflow is one in ComfyUI's API format. Of ComfyUI's own nodes LoadImage, SaveImage and PreviewImage are known.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pocold.apps.comfyui import NODE_CLASS_MAPPINGS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workflow", type=Path)
    parser.add_argument("--inputs", type=Path, default=Path(), help="where the photographs lie that it names")
    parser.add_argument("--model", help="a model folder instead of the workflow's")
    parser.add_argument("--steps", type=int, help="denoising steps instead of the workflow's")
    parser.add_argument("--output", type=Path, default=Path("drawn"))
    arguments = parser.parse_args()

    graph = json.loads(arguments.workflow.read_text())
    for node in graph.values():
        if arguments.model and "folder" in node["inputs"]:
            node["inputs"]["folder"] = arguments.model
        if arguments.steps and "steps" in node["inputs"]:
            node["inputs"]["steps"] = arguments.steps
    arguments.output.mkdir(parents=True, exist_ok=True)
    for path in run_workflow(graph, arguments.inputs, arguments.output):
        print(path)


def run_workflow(graph: dict[str, Any], inputs: Path, output: Path) -> list[Path]:
    """The files that a workflow's SaveImage nodes write."""
    done: dict[str, tuple[Any, ...]] = {}
    written: list[Path] = []

    def outputs_of(number: str) -> tuple[Any, ...]:
        if number not in done:
            kind, given = graph[number]["class_type"], graph[number]["inputs"]
            links = {name: link for name, link in given.items() if isinstance(link, list)}
            values = given | {name: outputs_of(source)[slot] for name, (source, slot) in links.items()}
            done[number] = call(kind, values)
        return done[number]

    def call(kind: str, values: dict[str, Any]) -> tuple[Any, ...]:
        if kind == "LoadImage":
            return load_image(inputs / values["image"])
        if kind == "SaveImage":
            written.extend(save_image(output / Path(values["filename_prefix"]).name, values["images"]))
        if kind in ("SaveImage", "PreviewImage"):
            return ()
        node = NODE_CLASS_MAPPINGS[kind]()
        return getattr(node, node.FUNCTION)(**values)

    with torch.inference_mode():  # as ComfyUI does
        for number in graph:
            outputs_of(number)
    return written


def load_image(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """IMAGE (1, H, W, 3) in [0, 1], and MASK (1, H, W), 1 where the picture is transparent."""
    with Image.open(path) as picture:
        rgb = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
        alpha = np.asarray(picture.getchannel("A"), dtype=np.float32) / 255 if "A" in picture.getbands() else None
    mask = np.zeros((64, 64), dtype=np.float32) if alpha is None else 1 - alpha
    return torch.from_numpy(rgb)[None], torch.from_numpy(mask)[None]


def save_image(start: Path, images: torch.Tensor) -> list[Path]:
    """One PNG for each picture of a batch."""
    paths = [start.with_name(f"{start.name}_{i:05d}_.png") for i in range(1, len(images) + 1)]
    for path, picture in zip(paths, images, strict=True):
        Image.fromarray((255 * picture.cpu().numpy()).clip(0, 255).astype(np.uint8)).save(path)
    return paths


if __name__ == "__main__":
    main()
