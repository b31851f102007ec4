"""Pictures per CPU second of the synthetic people, and where the time goes.

    OMP_NUM_THREADS=1 python benchmarks/people.py

CPU *process* time of one thread is measured, not wall time: it says what one free core would do.
"""

import argparse
import json
import platform
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from pocold.data import synthetic
from pocold.people.rendering import render, shading

# Where the time goes: a label per function; the time of nested ones is taken out of the outer ones.
STAGES = {
    "build and dress a person": (render, "dress"),
    "pose, skin, frame": (render._Stage, "set"),
    "labels: body z-buffer": (render._Stage, "body_fragments"),
    "labels: parts, U, V": (render, "densepose_of"),
    "keypoints": (render._Stage, "keypoints"),
    "z-buffers of picture and shadow": (render, "rasterize"),
    "fragments and materials": (render._Painted, "of"),
    "shadow map": (shading.ShadowMap, "of"),
    "shadows, occlusion, light": (render, "illuminate"),
    "all other painting": (render, "_paint"),
    "camera effects": (render, "expose"),
    "everything of a sample (rest: encoding)": (synthetic, "encode_view"),
}


class Stopwatch:
    """Exclusive CPU time per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def wrap(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **keywords: Any) -> Any:
            self._inner.append(0.0)
            start = time.process_time()
            try:
                return function(*arguments, **keywords)
            finally:
                spent = time.process_time() - start
                self.seconds[label] += spent - self._inner.pop()
                self._inner[-1] += spent

        return timed

    def install(self) -> None:
        for label, (owner, name) in STAGES.items():
            original = getattr(owner, name)
            timed = self.wrap(label, original)
            is_classmethod = isinstance(owner, type) and hasattr(original, "__self__")
            setattr(owner, name, staticmethod(timed) if is_classmethod else timed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--identities", type=int, default=10)
    parser.add_argument("--per-identity", type=int, default=6)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=176)
    parser.add_argument("--supersample", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = synthetic.SyntheticConfig(
        1, arguments.identities, arguments.per_identity, (arguments.height, arguments.width), False,
        arguments.supersample,
    )  # fmt: skip
    synthetic.encode_view(config, 10_000, 0)  # load the body, warm up
    views = [(i, v) for i in range(config.identities) for v in range(config.per_identity)]

    start = time.process_time()
    size = sum(sum(map(len, synthetic.encode_view(config, i, v).values())) for i, v in views)
    seconds = time.process_time() - start

    watch = Stopwatch()
    watch.install()
    synthetic._person.cache_clear()
    for i, v in views:
        synthetic.encode_view(config, i, v)
    stages = {label: round(watch.seconds[label] / len(views) * 1000, 1) for label in STAGES}
    result = {
        "pictures": len(views), "size": config.size, "supersample": config.supersample,
        "pictures per CPU second": round(len(views) / seconds, 2),
        "ms per picture": round(seconds / len(views) * 1000, 1),
        "bytes per sample": size // len(views),
        "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "ms per picture by stage": dict(sorted(stages.items(), key=lambda item: -item[1])),
        "torch": torch.__version__, "machine": platform.processor() or platform.machine(),
    }  # fmt: skip
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
