"""How long completing a photograph on the body takes, and repairing a picture with it: python -m benchmarks.refining

Twelve pairs of pictures of drawn people (seed 3); one thread; medians and the slowest.
"""

import time

import numpy as np
import torch

from pocold.densepose.completion import complete
from pocold.densepose.correspondence import Photograph, Surface
from pocold.densepose.relighting import complete_relit
from pocold.models.refiner import Refiner
from pocold.people.rendering.render import random_person


def pairs(size: tuple[int, int]) -> list[tuple[Surface, torch.Tensor, torch.Tensor]]:
    """Twelve photographed surfaces, each with labels and U, V of another picture of that person."""
    made = []
    for identity in range(12):
        person, rng = random_person(3, identity), np.random.default_rng(identity)
        source, target = person.draw([person.random_shot(rng) for _ in range(2)], size)
        pixels = torch.from_numpy(np.array(source.image)).permute(2, 0, 1).contiguous()
        labels, uv = (torch.from_numpy(np.array(v)) for v in (source.densepose.labels, source.densepose.uv))
        photo = Photograph(pixels, labels, (uv * 255).round().to(torch.uint8))
        wanted = target.densepose
        pose = torch.from_numpy(np.array(wanted.labels)), torch.from_numpy(np.array(wanted.uv))
        made.append((Surface(((1.0, (photo,)),)), *pose))
    return made


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    refiner = Refiner().eval()
    print("size, step, median ms, slowest ms")
    for size in ((256, 176), (512, 352)):
        times: dict[str, list[float]] = {"warp": [], "complete": [], "relit": [], "refiner": []}
        for surface, labels, uv in pairs(size):
            start = time.perf_counter()
            surface.warp(labels, uv)
            times["warp"].append(time.perf_counter() - start)
            start = time.perf_counter()
            picture, confidence = complete(surface, labels, uv)
            times["complete"].append(time.perf_counter() - start)
            start = time.perf_counter()
            complete_relit(surface, labels, uv)  # light and outline of the photograph are found for the first time
            times["relit"].append(time.perf_counter() - start)
            seen = picture[None], picture[None], confidence[None, None], labels[None], uv[None]
            start = time.perf_counter()
            refiner(*seen)
            times["refiner"].append(time.perf_counter() - start)
        for step, seconds in times.items():
            print(f"{size[0]}x{size[1]}, {step}, {np.median(seconds) * 1e3:.0f}, {max(seconds) * 1e3:.0f}")


if __name__ == "__main__":
    main()
