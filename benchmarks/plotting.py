"""Curves as SVG, without a plotting library."""

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 90, 16, 44
_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44")


def line_plot(
    curves: Mapping[str, Sequence[float]],
    places: Sequence[float],
    ticks: Sequence[str],
    label: str,
    levels: Sequence[float] | None = None,
    decimals: int = 3,
) -> str:
    """An SVG of up to three curves, named at their right ends.

    Args:
        curves: values of each by its name.
        places: where the values stand on the horizontal axis, ascending.
        ticks: what is written at each place.
        label: of the plot.
        levels: of the horizontal lines, which set the range too; lowest, middle and highest value if not given.
        decimals: of the levels.
    """
    values = [value for curve in curves.values() for value in curve]
    low, high = min(values), max(values)
    lines_at = levels or (low, (low + high) / 2, high)
    low, high = min(low, *lines_at), max(high, *lines_at)
    margin = 0.08 * (high - low) or 0.01

    def x(i: int) -> float:
        return _LEFT + (places[i] - places[0]) / (places[-1] - places[0]) * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        share = (value - low + margin) / (high - low + 2 * margin)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for value in lines_at:
        lines.append(f'<path d="M{_LEFT} {y(value):.1f}H{WIDTH - _RIGHT}" stroke="#dddddd"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.{decimals}f}</text>')
    for i, tick in enumerate(ticks):
        lines.append(f'<text x="{x(i):.1f}" y="{HEIGHT - _BOTTOM + 20}" text-anchor="middle">{tick}</text>')
    lines.append(f'<text x="{_LEFT}" y="{HEIGHT - 6}">{label}</text>')
    taken: list[float] = []
    for (name, curve), colour in zip(curves.items(), _COLOURS, strict=False):
        points = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(curve))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines += [
            f'<circle cx="{x(i):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>' for i, value in enumerate(curve)
        ]
        height = y(curve[-1]) + 4
        while any(abs(height - other) < 14 for other in taken):  # names do not lie on each other
            height -= 7
        taken.append(height)
        lines.append(f'<text x="{x(len(places) - 1) + 10:.1f}" y="{height:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])
