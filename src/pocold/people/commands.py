"""The body of ``pocold pose``. Heavy imports stay inside, so that ``--help`` needs no torch."""

from pathlib import Path
from typing import Annotated

import tyro


def pose(
    name: Annotated[str | None, tyro.conf.Positional] = None,
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    like: Path | None = None,
    size: str = "256x176",
    sheet: Path | None = None,
) -> None:
    """Write the DensePose map of a named pose: NAME[:VIEW[:CROP]], such as walk:side, hips:back or wave:30:upper.

    Args:
        name: The pose. An unknown name lists all.
        output: PNG file to write: red = part 0..24, green = 255 U, blue = 255 V.
        like: Another DensePose map: the pose is drawn with the height, position and build of the person seen there.
        size: HEIGHTxWIDTH; with --like the other map's size is taken.
        sheet: Instead, draw the whole library of poses into this PNG file.
    """
    from pocold.densepose import DensePose
    from pocold.people.camera import parse_size
    from pocold.people.poses import parse_pose

    if sheet is not None:
        from pocold.people.sheets import write_pose_sheet

        write_pose_sheet(sheet)
        return
    if name is None:
        raise ValueError("expected the name of a pose, such as walk:side, or --sheet FILE to see them all")
    named = parse_pose(name)
    if output is None:
        raise ValueError("expected a file to write, such as -o pose.png")
    if like is not None:
        from pocold.people.fitting import fit_pose

        fit_pose(named, DensePose.read(like)).write(output)
        return
    from pocold.people.posing import draw_densepose

    draw_densepose(named.pose, named.view, named.crop, parse_size(size)).write(output)
