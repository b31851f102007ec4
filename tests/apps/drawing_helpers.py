"""People, maps and toy models on disk, and the commands run on them."""

import shutil

import numpy as np
import pytest
from PIL import Image

from estimators import constant_estimator
from pocold import PoseTransferPipeline
from pocold.cli import main
from pocold.models import densepose_estimator
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person

SIZE = (128, 88)
BUNDLED_ESTIMATOR = densepose_estimator.BUNDLED


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory):
    """``a.png``, ``b.png`` with their maps, ``a-back.png``, and the models ``toy``, ``hint``, and ``sized``.

    An estimator that finds nobody lies in ``blind``.
    """
    folder = tmp_path_factory.mktemp("drawing")
    PoseTransferPipeline.from_preset("toy").save_pretrained(folder / "toy")
    PoseTransferPipeline.from_preset("toy", surface_hint=True).save_pretrained(folder / "hint")
    sized = PoseTransferPipeline.from_preset("toy", seed=1, sample_size=(16, 11), surface_hint=True)
    sized.save_pretrained(folder / "sized")
    constant_estimator(0).save_pretrained(folder / "blind" / "densepose_estimator")
    for name, number in (("a", 1), ("b", 11)):
        person = random_person(1, number)
        shots = [Shot(parse_pose("relaxed").pose, view) for view in (0.0, 180.0)]
        for ending, picture in zip(("", "-back"), person.draw(shots, SIZE), strict=True):
            Image.fromarray(picture.image).save(folder / f"{name}{ending}.png")
            picture.densepose.write(folder / f"{name}{ending}.iuv.png")
            Image.fromarray(picture.garments).save(folder / f"{name}{ending}.garments.png")
    return folder


@pytest.fixture
def here(drawn_folder, tmp_path, monkeypatch):
    """A fresh copy of that folder, and the process in it; the bundled estimator finds nobody."""
    folder = tmp_path / "here"
    shutil.copytree(drawn_folder, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(densepose_estimator, "BUNDLED", folder / "blind")
    return folder


def pocold(command, *, model="toy", steps=2):
    """Run one command line, with a toy model."""
    words = command.split()
    if model is not None:
        words += ["--model", str(model)]
    if words[0] in ("transfer", "edit", "mix", "bulk") and "--steps" not in words:
        words += ["--steps", str(steps)]
    main(words)


def fails(capsys, command, **options):
    """The message that a command line ends with; nothing but one line on stderr, and exit code 2."""
    capsys.readouterr()  # what came before does not count
    with pytest.raises(SystemExit) as stopped:
        pocold(command, **options)
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if not line.startswith("pocold: warning:")]
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("pocold: error: ")
    return lines[0]


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
