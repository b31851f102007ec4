"""How the time of a whole picture grows with its pixels, and with the denoising steps: tables, and plots as SVG.

    python -m benchmarks.scaling --plots docs/images

Rows are those of ``benchmarks.end_to_end``: the public pipeline, a process each, CPU seconds of the call. The model has
the published size and random weights. The table tells the time of each thousand pixels, too: if the cost is linear, it
stays the same.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.end_to_end import one_process
from benchmarks.measure import machine
from benchmarks.plotting import line_plot
from pocold.imaging.files import atomic_write
from pocold.people.body.camera import parse_size

SIZES = ("128x88", "256x176", "352x240", "512x352")
FORMS = ("literal", "exact")


def measured(model: str, size: str, steps: int, rounds: int) -> dict[str, float]:
    """CPU seconds of each form: medians over rounds in which the forms take turns."""
    found: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(rounds):
        for form in FORMS:
            found[form].append(one_process(model, size, form, 1, 1, steps, 1)["cpu"])
    return {form: median(values) for form, values in found.items()}


def levels(values: Sequence[float]) -> tuple[float, ...]:
    """Three round heights from nothing to above the highest."""
    top = max(values)
    step = next(size for size in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if 2 * size >= top)
    return 0.0, float(step), 2.0 * step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base", help="bundled, or a preset: base, toy")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="HEIGHTxWIDTH")
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 5, 10, 20], help="at the size of --at")
    parser.add_argument("--at", default="256x176", metavar="HEIGHTxWIDTH")
    parser.add_argument("--few", type=int, default=2, help="steps of the rows of sizes")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="writes time-pixels.svg and time-steps.svg")
    options = parser.parse_args()
    print(f"{machine()}\n")
    print(f"| {options.model}, size, steps | literal, CPU s | exact, CPU s | ratio | exact, ms per 1,000 pixels |")
    print("| --- | ---: | ---: | ---: | ---: |")

    def row(size: str, steps: int) -> dict[str, float]:
        seconds, (height, width) = measured(options.model, size, steps, options.rounds), parse_size(size)
        per_pixels = seconds["exact"] / (height * width) * 1e6
        ratio = seconds["literal"] / seconds["exact"]
        both = " | ".join(f"{value:.1f}" for value in seconds.values())
        print(f"| {size}, {steps} | {both} | {ratio:.2f}x | {per_pixels:.0f} |", flush=True)
        return seconds

    def draw(name: str, rows: list[dict[str, float]], places: list[float], ticks: list[str], label: str) -> None:
        if options.plots is None:
            return
        curves = {form: [one[form] for one in rows] for form in FORMS}
        heights = levels([value for curve in curves.values() for value in curve])
        with atomic_write(options.plots / name) as temporary:
            temporary.write_text(line_plot(curves, places, ticks, label, heights, 0), encoding="utf-8")

    rows = [row(size, options.few) for size in options.sizes]
    pixels = [float(height * width) for height, width in map(parse_size, options.sizes)]
    draw(
        "time-pixels.svg", rows, pixels, options.sizes, f"CPU seconds of a picture, {options.few} steps, by its pixels"
    )
    rows = [row(options.at, steps) for steps in options.steps]
    places, ticks = [float(steps) for steps in options.steps], [str(steps) for steps in options.steps]
    draw("time-steps.svg", rows, places, ticks, f"CPU seconds of a picture of {options.at}, by its denoising steps")


if __name__ == "__main__":
    main()
