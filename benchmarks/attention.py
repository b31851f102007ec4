"""One double attention layer: linear form against the literal target-by-source product.

    python -m benchmarks.attention

Layers of the preset ``base`` at its four levels, forward without gradient; then forward and backward with the pose
penalty. CPU time; memory added at the peak, each in a process of its own.
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.literal import attention as literal_attention
from benchmarks.literal import same_part
from benchmarks.measure import cpu_times, in_own_process, machine, peak_memory_added, show
from pocold.models.attention import DoubleAttention
from pocold.models.pose_constraint import PoseConstraint

LEVELS = [(128, 64, 48), (256, 32, 24), (512, 16, 12), (512, 8, 6)]
SMALL = (128, 32, 22)


def body_labels(batch: int, height: int, width: int) -> torch.Tensor:
    """Something like a standing person: 24 parts in two columns of bands, background around them."""
    y, x = torch.meshgrid(torch.linspace(0, 0.999, height), torch.linspace(-1, 1, width), indexing="ij")
    bands = 2 * (y * 12).long() + (x > 0).long() + 1
    return torch.where(x.abs() < 0.42, bands, 0).expand(batch, -1, -1)


def setup(level: tuple[int, int, int], batch: int) -> tuple[DoubleAttention, torch.Tensor, torch.Tensor]:
    channels, height, width = level
    torch.manual_seed(0)
    layer = DoubleAttention(channels, channels)
    return layer, torch.randn(batch, channels, height, width), torch.randn(batch, channels, height, width)


def forward(level: tuple[int, int, int], variant: str, batch: int = 1) -> Callable[[], torch.Tensor]:
    layer, hidden, source = setup(level, batch)
    with torch.no_grad():
        code = layer.extract(source)

    def run() -> torch.Tensor:
        with torch.no_grad():
            if variant == "literal":
                return literal_attention(layer, hidden, source)[0]
            return layer(hidden, source)[0] if variant == "linear" else layer.distribute(hidden, code)

    return run


def train(level: tuple[int, int, int], variant: str, batch: int = 2) -> Callable[[], None]:
    layer, hidden, source = setup(level, batch)
    labels = body_labels(batch, *level[1:])
    size = (level[1], level[2])

    def run() -> None:
        constraint = PoseConstraint(labels, labels.flip(-2))
        if variant == "literal":
            result, penalty = literal_attention(layer, hidden, source, same_part(constraint, size, size))
        else:
            result, penalty = layer(hidden, source, constraint.level(size, size))
        assert penalty is not None
        (result.square().mean() + penalty.mean()).backward()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", nargs=2, metavar=("PASS", "VARIANT"), help="print MB added by one call, then stop")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory:
        kind, variant = arguments.memory
        run: Callable[[], Any] = forward(LEVELS[0], variant) if kind == "forward" else train(LEVELS[0], variant)
        print(json.dumps(peak_memory_added(run)))
        return

    print(machine())
    print("\nforward, batch 1")
    for level in [*LEVELS, SMALL]:
        runs: dict[str, Callable[[], Any]] = {name: forward(level, name) for name in ("literal", "linear", "cached")}
        times = cpu_times(runs, arguments.rounds)
        largest = (runs["literal"]() - runs["linear"]()).abs().max()
        first = level == LEVELS[0]
        show(f"{level[1]}x{level[2]}, {level[0]} channels", times, "literal", "linear", 15 if first else None)
        show("  with the appearance code kept", times, "literal", "cached")
        print(f"  largest difference of the outputs: {float(largest):.1e}")
    print("\nforward and backward with the pose penalty, batch 2")
    for level in LEVELS:
        runs = {name: train(level, name) for name in ("literal", "linear")}
        show(f"{level[1]}x{level[2]}, {level[0]} channels", cpu_times(runs, 3), "literal", "linear")
    print("\nmemory added at the peak, 64x48 (MB; aim for linear, forward: < 30)")
    for kind, variants in (("forward", ("literal", "linear", "cached")), ("train", ("literal", "linear"))):
        added = {name: in_own_process("benchmarks.attention", kind, name) for name in variants}
        print(f"{kind:<8}", "  ".join(f"{name} {value:.0f}" for name, value in added.items()))


if __name__ == "__main__":
    main()
