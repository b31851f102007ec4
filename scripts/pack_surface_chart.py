"""Pack the places that DensePose's charts name, (part, U, V) -> metres at rest.

Written to ``src/pocold/densepose/surface_chart.npz``.

The core must not import the synthetic people, so the little that it needs of their body lies beside it as data. Run it
again when the body or its charts change; a test compares the file with what this script computes.
"""

from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

from pocold.densepose.labels import MIRRORED_LABEL, MIRRORED_U, MIRRORED_V
from pocold.imaging.files import atomic_write
from pocold.people import labels
from pocold.people.body.anatomy import load_anatomy

TARGET = Path(__file__).resolve().parents[1] / "src" / "pocold" / "densepose" / "surface_chart.npz"
STEPS = 64  # along U and V: finer than the vertices of the body


def surface_chart() -> np.ndarray:
    """Where the middle of every cell of every chart lies on the average body at rest.

    Returns:
        float16 ``(25, STEPS, STEPS, 3)``: metres to the person's left, backwards and up; part 0 is zero.
    """
    anatomy, chart = load_anatomy(), labels.load_chart()
    skin = anatomy.body.faces.flatten().unique()
    values, position = labels._vertex_values(anatomy)[skin], anatomy.position[skin]
    part = labels._left_parts(values)
    scale = chart.scale[part]
    uv = ((labels._raw_uv(values, part) - scale[:, 0::2]) / scale[:, 1::2]).clamp(0, 1)
    middles = (np.arange(STEPS) + 0.5) / STEPS
    cells = np.meshgrid(middles, middles, indexing="ij")
    table = np.zeros((25, STEPS, STEPS, 3), np.float32)
    for label in part.unique().tolist():
        torso = label in (1, 2)  # one chart for both halves; all other parts are labelled as on the left side
        chosen = (part == label) & (torch.ones(len(part), dtype=torch.bool) if torso else position[:, 0] >= -1e-3)
        places, points = position[chosen].numpy(), uv[chosen].numpy().copy()
        if torso:
            right = places[:, 0] < 0
            points[right, 1] = 1 - points[right, 1]
        inside = LinearNDInterpolator(points, places)(*cells)
        table[label] = np.where(np.isnan(inside), NearestNDInterpolator(points, places)(*cells), inside)
        other = int(MIRRORED_LABEL[label])
        if other != label:
            turned = table[label][:: -1 if MIRRORED_U[label] else 1, :: -1 if MIRRORED_V[label] else 1]
            table[other] = turned * np.array([-1, 1, 1], np.float32)
    return table.astype(np.float16)


def main() -> None:
    with atomic_write(TARGET) as temporary:
        np.savez_compressed(temporary, place=surface_chart())
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
