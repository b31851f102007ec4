"""pocold transfer --estimate: the parts that no clock decides."""

import json
from dataclasses import replace

import pytest
from drawing_helpers import fails, pocold

from pocold import PoseTransferPipeline
from pocold.apps.drawing.options import DrawOptions
from pocold.apps.estimate import Estimate, _spread, as_json, as_text, branches_by_step

COST = Estimate(
    pictures=3,
    size=(256, 176),
    evaluations=51,
    ready=4.0,
    encoding=0.5,
    drawing=90.0,
    writing=0.25,
    cpu_seconds=120.0,
    peak_bytes=1_200_000_000,
)


def test_nothing_is_drawn_and_the_parts_add_up(here, capsys):
    before = sorted(here.rglob("*"))
    pocold("transfer a.png --pose walk:side b.iuv.png --num-images 2 --like none --estimate --json", steps=5)
    told = json.loads(capsys.readouterr().out)
    assert (told["pictures"], told["size"], told["evaluations"], told["threads"]) == (4, [128, 88], 5, 1)
    assert told["seconds"] == pytest.approx(sum(told["seconds by part"].values()), abs=0.01)
    assert all(seconds > 0 for seconds in told["seconds by part"].values())
    assert told["cpu seconds"] > 0
    assert told["peak bytes"] > 10**7
    assert sorted(here.rglob("*")) == before


def test_an_output_is_checked_but_not_written(here, capsys):
    pocold("transfer a.png --pose walk:side -o out.png --sheet sheet.png --like none --estimate")
    said = capsys.readouterr().out
    assert said.startswith("1 picture of 128x88: about ")
    assert said.splitlines()[0].endswith("(cpu, float32, 1 thread); nothing was drawn")
    assert not (here / "out.png").exists()
    assert not (here / "sheet.png").exists()
    message = fails(capsys, "transfer a.png --pose walk:side -o b.png --estimate")
    assert "b.png" in message


@pytest.mark.parametrize("flags", ["--paste-back", "--batch-size 3 --num-images 2", "--scheduler pndm"])
def test_whatever_can_be_drawn_can_be_estimated(here, capsys, flags):
    pocold(f"transfer a.png --pose walk:side hips --size 128x88 --like none --estimate {flags}", steps=4)
    assert "walk" not in capsys.readouterr().out
    assert not list(here.glob("*hips*"))


def test_a_batch_that_is_broken_off_costs_what_all_its_evaluations_do(here, capsys, monkeypatch):
    """Broken off at once or never, the same evaluations are counted."""
    from pocold.apps import estimate

    evaluations = []
    forward = estimate.draw_all

    def counted(pipeline, tasks, options, size, mode, progress):
        def watch(done):
            evaluations.append(done)
            progress(done)

        return forward(pipeline, tasks, options, size, mode, watch)

    monkeypatch.setattr(estimate, "draw_all", counted)
    monkeypatch.setattr(estimate, "_LONG", 0.0)
    pocold("transfer a.png --pose walk:side --like none --estimate --json", steps=40)
    assert json.loads(capsys.readouterr().out)["evaluations"] == 40
    assert len(evaluations) == estimate._LEAST


def test_mistakes_are_those_of_drawing(here, capsys):
    assert "unknown pose 'wolk'" in fails(capsys, "transfer a.png --pose wolk --estimate")
    assert "expected at least one pose" in fails(capsys, "transfer a.png --estimate")
    assert "must be multiples of 8" in fails(capsys, "transfer a.png --pose walk --size 130x88 --estimate")


def test_branches_that_fall_away_are_not_counted(here):
    pipeline = PoseTransferPipeline.from_pretrained("toy")
    equal = DrawOptions(steps=10, pose_scale=5.0, appearance_scale=5.0)
    assert branches_by_step(pipeline, equal) == [2] * 10
    # scales 4 and 6 are both at the floor of 3 once t is below 500: there the branch with the pose alone cancels
    unequal = replace(equal, pose_scale=4.0, appearance_scale=6.0)
    assert branches_by_step(pipeline, unequal) == [3] * 5 + [2] * 5
    assert branches_by_step(pipeline, replace(unequal, guidance_floor=None)) == [3] * 10
    pipeline.set_scheduler("pndm")
    assert branches_by_step(pipeline, replace(equal, guidance="conditional")) == [1] * 11


def test_the_poses_that_are_begun_are_from_all_over_the_plan():
    assert _spread(1, 4) == [0]
    assert _spread(3, 4) == [0, 2, 1]
    assert _spread(100, 4) == [0, 99, 66, 33]


def test_what_is_told():
    assert as_text(COST, "cpu", "float32").splitlines() == [
        "3 pictures of 256x176: about 94.8 s and 1,200 MB of memory (cpu, float32, 1 thread); nothing was drawn",
        "  starting, loading, poses         4.0 s",
        "  encoding                         0.5 s",
        "  drawing, 51 evaluations         90.0 s",
        "  writing                          0.2 s",
    ]
    assert "of GPU memory (cuda, bfloat16)" in as_text(COST, "cuda", "bfloat16")
    assert " MB" not in as_text(replace(COST, peak_bytes=None), "cpu", "float32")
    assert as_json(COST)["seconds"] == 94.75
