"""The body of ``pocold animate``: one person, one motion, one file."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pocold.apps.animate.motions import Asked
from pocold.apps.animate.plan import Noise, check_steady, plan_animation
from pocold.apps.drawing.draw import draw_all, measured
from pocold.apps.drawing.front import TERMINAL, FrontEnd
from pocold.apps.drawing.options import STEADY, DrawOptions, FrameName
from pocold.apps.drawing.results import Report, check_replaceable
from pocold.apps.drawing.sources import read_person, with_maps
from pocold.imaging.animations import check_animation_path, read_notes, write_animation


def run_animate(
    files: Sequence[Path],
    output: Path | None,
    asked: Asked,
    with_map: bool,
    noise: Noise,
    maps: Sequence[Path],
    like: str,
    frame: FrameName,
    options: DrawOptions,
    front: FrontEnd = TERMINAL,
    steady: float = STEADY,
) -> None:
    """The body of ``pocold animate``; see there."""
    options.check()
    asked.check()
    check_steady(steady)
    if options.num_images != 1:
        raise ValueError("--num-images: an animation is drawn once; run the command again with another --seed")
    if output is None:
        raise ValueError("expected a file to write, such as -o out.mp4 (or .webm, .gif, .webp, or a folder of frames)")
    check_animation_path(output)
    person = read_person(files, maps)
    read = [*files, *maps, *([asked.poses] if asked.poses is not None else [])]
    check_replaceable([output], read, options.overwrite, is_ours=_is_animation)
    model = front.open(options)
    person = with_maps(person, model.pipeline, front.tell)
    report = Report(model, options, ["animate", *(file.name for file in files)])
    plan = plan_animation(
        report,
        person,
        asked,
        noise=noise,
        steady=steady,
        maps=maps,
        like=like,
        frame=frame,
        with_map=with_map,
        tell=front.tell,
    )
    drawn: list[Image.Image] = []
    with measured(report), front.progress(len(plan.poses)) as progress:
        for picture in draw_all(model.pipeline, plan.tasks(), options, plan.size, plan.mode, progress):
            drawn.append(picture)
            report.drawn += 1
    settings = plan.settings(output.name)
    write_animation(plan.finished(drawn), output, asked.length.fps, settings)
    report.files[str(output)] = settings
    front.take(report)


def _is_animation(path: Path) -> bool:
    try:
        return "command" in read_notes(path)
    except ValueError:
        return False
