"""The demonstration: one person in several poses, end to end, offline.

There are no trained weights yet: the toy model that draws is built from a fixed seed and has learned nothing. What it
shows is the way of the data, not a result.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from pocold import images
from pocold.densepose import DensePose
from pocold.pipeline import PoseTransferPipeline

HEIGHT, WIDTH = 256, 176
NOTICE = "untrained toy model: these pictures show the data flow, not a result"

# Limbs of a front view as (label, colour, joints, width); sizes in pixels of a 256x176 picture. A person's right is the
# picture's left. Joints: see _joints.
_LIMBS = (
    (9, "trousers", "right hip", "right knee", 26),
    (10, "trousers", "left hip", "left knee", 26),
    (13, "trousers", "right knee", "right ankle", 20),
    (14, "trousers", "left knee", "left ankle", 20),
    (6, "shoes", "right ankle", "right toe", 14),
    (5, "shoes", "left ankle", "left toe", 14),
    (18, "top", "right shoulder", "right elbow", 20),
    (17, "top", "left shoulder", "left elbow", 20),
    (22, "skin", "right elbow", "right wrist", 15),
    (21, "skin", "left elbow", "left wrist", 15),
    (3, "skin", "right wrist", "right hand", 13),
    (4, "skin", "left wrist", "left hand", 13),
)
_COLOURS = {
    "background": (232, 230, 226),
    "skin": (196, 148, 118),
    "hair": (58, 40, 34),
    "top": (178, 52, 58),
    "trousers": (44, 62, 102),
    "shoes": (40, 38, 40),
}


def _joints(arms: float, stride: float) -> dict[str, np.ndarray]:
    """Joints of a figure whose arms are raised by ``arms`` radians, with legs ``stride`` pixels apart."""
    joints: dict[str, Any] = {"neck": (88, 58)}
    for side, sign in (("right", -1), ("left", 1)):
        shoulder = np.array([88 + sign * 22, 72])
        down, out = np.cos(arms), np.sin(arms)
        direction = np.array([sign * (0.25 + out), down])
        direction /= np.linalg.norm(direction)
        joints |= {
            f"{side} shoulder": shoulder,
            f"{side} elbow": shoulder + 34 * direction,
            f"{side} wrist": shoulder + 64 * direction,
            f"{side} hand": shoulder + 74 * direction,
            f"{side} hip": (88 + sign * 13, 134),
            f"{side} knee": (88 + sign * (13 + stride / 2), 182),
            f"{side} ankle": (88 + sign * (13 + stride), 230),
            f"{side} toe": (88 + sign * (18 + stride), 238),
        }
    return {name: np.asarray(point, dtype=float) for name, point in joints.items()}


def draw_figure(arms: float, stride: float) -> tuple[Image.Image, DensePose]:
    """A plain figure, front view, as a picture and its map of body labels; see :func:`_joints`."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), _COLOURS["background"])
    labels = Image.new("L", (WIDTH, HEIGHT), 0)
    joints = _joints(arms, stride)
    canvases = ImageDraw.Draw(picture), ImageDraw.Draw(labels)

    def limb(start: np.ndarray, end: np.ndarray, width: int, colour: str, label: int) -> None:
        fills: tuple[Any, Any] = (_COLOURS[colour], label)
        for canvas, fill in zip(canvases, fills, strict=True):
            canvas.line([*start, *end], fill=fill, width=width)
            for x, y in (start, end):
                canvas.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=fill)

    for label, colour, start, end, width in _LIMBS:
        limb(joints[start], joints[end], width, colour, label)
    limb(np.array([88, 74.0]), np.array([88, 126.0]), 46, "top", 2)
    limb(joints["neck"], joints["neck"] - (0, 6), 14, "skin", 24)
    halves: tuple[Any, Any] = ((_COLOURS["skin"],) * 2, (23, 24))
    for canvas, (right, left) in zip(canvases, halves, strict=True):
        canvas.pieslice([73, 22, 103, 60], 90, 270, fill=right)
        canvas.pieslice([73, 22, 103, 60], 270, 90, fill=left)
    canvases[0].pieslice([72, 18, 104, 58], 180, 360, fill=_COLOURS["hair"])
    return picture, DensePose(np.asarray(labels))


def run_demo(output: Path, steps: int, seed: int) -> list[Path]:
    """Draw the sheet (source, then each pose with its picture), and write its parts beside it.

    Returns:
        The files written, the sheet first.

    Raises:
        ValueError: if ``output`` is not a ``.png``, or ``steps`` or ``seed`` are impossible.
    """
    if output.suffix.lower() != ".png":
        raise ValueError(f"--output: expected a file name ending in .png, got {output}")
    output.parent.mkdir(parents=True, exist_ok=True)
    source, _ = draw_figure(arms=0.1, stride=0)
    poses = [draw_figure(*pose)[1] for pose in ((1.2, 6), (2.4, 14))]

    pipeline = PoseTransferPipeline.from_preset("toy", seed=0)
    code = pipeline.encode_appearance(source)
    generators = [torch.Generator().manual_seed(seed + i) for i in range(len(poses))]
    drawn = pipeline(code, poses, num_inference_steps=steps, generator=generators).images

    tiles = [source]
    for pose, picture in zip(poses, drawn, strict=True):
        tiles += [pose.to_image(), picture]
    sheet = Image.new("RGB", ((WIDTH + 8) * len(tiles) + 8, HEIGHT + 36), "white")
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (8 + i * (WIDTH + 8), 8))
    ImageDraw.Draw(sheet).text((8, HEIGHT + 16), NOTICE, fill="black")

    settings = {"model": "toy preset, untrained", "steps": steps, "seed": seed}
    paths = [output, output.parent / "person.png"]
    images.write_png(sheet, output, {**settings, "note": NOTICE})
    images.write_png(source, paths[1], {"drawn": "by pocold, a plain figure"})
    for i, pose in enumerate(poses):
        paths.append(output.parent / f"pose-{i + 1}.png")
        pose.write(paths[-1])
    return paths
