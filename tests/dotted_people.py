"""People of coloured dots, and two small networks that see them as BlazePose's see people."""

import math

import numpy as np
from PIL import Image, ImageDraw

from pocold.models.blazepose import BlazePose

# A person who stands: x to the right, y down, the hips in the origin, 2 high. Of MediaPipe's points, then those two
# that say where to look.
BODY = {
    0: (0, -0.85), 2: (0.04, -0.88), 5: (-0.04, -0.88), 7: (0.08, -0.86), 8: (-0.08, -0.86), 11: (0.2, -0.6),
    12: (-0.2, -0.6), 13: (0.28, -0.3), 14: (-0.28, -0.3), 15: (0.3, -0.02), 16: (-0.3, -0.02), 23: (0.11, 0),
    24: (-0.11, 0), 25: (0.12, 0.45), 26: (-0.12, 0.45), 27: (0.13, 0.88), 28: (-0.13, 0.88), 29: (0.13, 0.95),
    30: (-0.13, 0.95), 31: (0.17, 0.98), 32: (-0.17, 0.98), 33: (0, 0), 34: (0, -1),
}  # fmt: skip
POINTS = 39


def colour(point, person=0):
    return 6 * point + 10, 255 - 60 * person, 255 - 6 * point


def dots(size, people, radius=4):
    """A black picture (height, width) with people (x, y, half of the height, degrees); and where their dots are."""
    picture = Image.new("RGB", size[::-1])
    draw = ImageDraw.Draw(picture)
    placed = []
    for number, (x, y, scale, degrees) in enumerate(people):
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        places = {i: (x + scale * (cos * a - sin * b), y + scale * (sin * a + cos * b)) for i, (a, b) in BODY.items()}
        for i in sorted(places, key=lambda i: -i):
            u, v = places[i]
            draw.ellipse([u - radius, v - radius, u + radius, v + radius], fill=colour(i, number))
        placed.append(places)
    return picture, placed


def where(picture, point, person):
    """Middle of a dot in a picture of 0..255, or None."""
    rows, columns = np.nonzero((np.abs(picture - colour(point, person)) < 2.5).all(-1))
    return None if len(rows) == 0 else (columns.mean() + 0.5, rows.mean() + 0.5)


def detector(least=30.0, people=2):
    """Finds people of whom hips and top are at least so many pixels apart in its picture; the later the surer."""

    def network(pictures):
        picture = (pictures[0] + 1) * 127.5
        raw, logits = np.zeros((1, 2254, 12)), np.full((1, 2254, 1), -9.0)
        for person in range(people):
            hips, top = where(picture, 33, person), where(picture, 34, person)
            if hips is None or top is None or math.dist(hips, top) < least:
                continue
            cell = min(27, int(hips[1] / 8)) * 28 + min(27, int(hips[0] / 8))
            middle = np.array([cell % 28 + 0.5, cell // 28 + 0.5]) * 8
            raw[0, 2 * cell] = np.concatenate([hips - middle, [60, 120], hips - middle, top - middle, np.zeros(4)])
            logits[0, 2 * cell] = 2.0 + person
        return [raw, logits]

    return network


def landmarks(body=1.0, people=2):
    """Finds the dots of the person in the middle; the mask is a circle around the hips."""

    def network(pictures):
        picture = pictures[0] * 255
        found = [where(picture, 33, person) for person in range(people)]
        near = min(range(people), key=lambda n: math.inf if found[n] is None else math.dist(found[n], (128, 128)))
        values = np.zeros((POINTS, 5))
        values[:, 3:] = -9
        for point in BODY:
            place = where(picture, point, near)
            if place is not None:
                values[point] = [*place, point, 5, 5]
        if found[near] is None:
            return [values.reshape(1, -1), np.zeros((1, 1)), np.full((1, 256, 256, 1), -9.0)]
        rows, columns = np.mgrid[:256, :256] + 0.5
        distance = np.hypot(columns - found[near][0], rows - found[near][1])
        return [values.reshape(1, -1), np.full((1, 1), body), (40 - distance)[None, :, :, None]]

    return network


def blazepose(**how):
    return BlazePose(detector(**how), landmarks())
