"""What the page calls: sessions, what is found, and drawing, with a toy model and without a browser."""

import shutil
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from drawing_helpers import fails, pixels, pocold
from paging import opened, toy_model
from PIL import Image

from pocold.apps.drawing.options import DrawOptions
from pocold.apps.drawing.results import describe
from pocold.apps.ui import drawing, looking, notices
from pocold.apps.ui.command import UiOptions
from pocold.apps.ui.drawing import How, State
from pocold.apps.ui.example import pose_pictures
from pocold.apps.ui.server import announcement
from pocold.imaging.animations import read_notes
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import POSES
from pocold.people.sheets import pose_tiles, shaded_pose
from pocold.photographs import read_photo

pytestmark = pytest.mark.apps
SIZE = (128, 88)
HOW = How(DrawOptions(steps=2))


@pytest.fixture(scope="module")
def model(drawn_folder):
    return toy_model(drawn_folder)


@pytest.fixture
def sessions(tmp_path):
    return opened(tmp_path / "root")[0]


@pytest.fixture
def session(sessions):
    return sessions.get("page")


def ended(session, model, body):
    """The last state of a drawing."""
    states = list(drawing.draw(session, model, body))
    assert [state.ended for state in states] == [False] * (len(states) - 1) + [True]
    return states[-1]


# -- drawing -----------------------------------------------------------------------------------------------------------


def test_the_first_click_draws_what_the_command_draws(session, model, drawn_folder, tmp_path, monkeypatch):
    states = list(drawing.draw(session, model, drawing.transfer(session, HOW)))
    done = [state.done for state in states if state.total]
    assert done == sorted(done)
    last = states[-1]
    assert (last.ended, last.stopped, last.error, last.told) == (True, False, None, [])
    assert [file.name for file in last.files] == ["walk-35.png"]
    assert last.again == ["pocold transfer person.png --pose walk:35 -o walk-35.png --steps 2 --seed 0"]
    assert describe(last.files[0])["again"] == last.again[0]
    assert describe(last.files[0])["synthetic"] is True

    shutil.copytree(session.photos[0].parent, tmp_path / "again")
    monkeypatch.chdir(tmp_path / "again")
    pocold(last.again[0].removeprefix("pocold "), model=drawn_folder / "sized")
    np.testing.assert_array_equal(pixels(tmp_path / "again" / "walk-35.png"), pixels(last.files[0]))


def test_stopping_keeps_what_was_drawn(session, model):
    states, how = [], How(DrawOptions(steps=4, num_images=400))
    for state in drawing.draw(session, model, drawing.transfer(session, how)):
        states.append(state)
        if state.done >= 1:
            session.stop.set()
    assert states[-1].stopped
    assert states[-1].error is None
    assert 0 < len(states[-1].files) < 400
    assert all(describe(file)["command"] == "transfer" for file in states[-1].files)
    assert "Stopped" in notices.drawing(states[-1])


def test_a_painted_region_changes_and_nothing_else(session, model):
    strokes = Image.new("RGBA", (44, 64))  # a quarter of the size of the photograph
    strokes.paste((255, 0, 0, 255), (10, 20, 30, 40))
    mask = looking.painted_mask(session, {"layers": [strokes]})
    last = ended(session, model, drawing.edit(session, HOW, [], mask, 0, 0))
    before, after = pixels(session.photos[0]), pixels(last.files[0])
    inside = np.zeros((256, 176), dtype=bool)
    inside[80:160, 40:120] = True
    np.testing.assert_array_equal(after[~inside], before[~inside])
    assert (after[inside] != before[inside]).any()
    assert "--mask mask.png --like other.png" in last.again[0]
    assert looking.painted_mask(session, {"layers": [Image.new("RGBA", (44, 64))]}) is None
    assert looking.painted_mask(session, None) is None


def test_a_garment_a_mixture_and_a_turn(session, model):
    last = ended(session, model, drawing.edit(session, HOW, ["garment:top"], None, 0, 2))
    assert [file.name for file in last.files] == ["person-garment-top.png"]
    last = ended(session, model, drawing.mix(session, HOW, ["legs"], 0.25, True))
    assert [file.name for file in last.files] == ["person-other.png"]
    assert "--parts legs --weight 0.25" in last.again[0]
    how = How(replace(HOW.options, num_images=3))  # an animation is drawn once
    last = ended(session, model, drawing.animate(session, how, "turn", 1.0, 2.0, "gif", False))
    assert [file.name for file in last.files] == ["turn.gif"]
    assert read_notes(last.files[0])["pose"] == "walk:35"


def test_errors_are_those_of_the_command_line(session, model, here, capsys):
    shutil.copy(here / "a.png", here / "lonely.png")
    asked = fails(capsys, "edit lonely.png --like b.png --region top -o out.png", model="sized")
    looking.look(session, model, [session.save(here / "lonely.png")], [])
    last = ended(session, model, drawing.edit(session, HOW, ["top"], None, 0, 2))
    assert f"pocold: error: {last.error}" == asked
    assert last.files == []

    asked = fails(capsys, "edit a.png --like b.png -o out.png", model="sized")
    looking.look(session, model, [session.save(here / "a.png")], [session.save(here / "a.iuv.png")])
    last = ended(session, model, drawing.edit(session, HOW, [], None, 0, 2))
    assert f"pocold: error: {last.error}" == asked

    session.photos = []
    with pytest.raises(ValueError, match="expected a photograph of a person"):
        drawing.transfer(session, HOW)


def test_warnings_are_told_without_folders(session, model, here):
    shutil.copy(here / "a.png", here / "lonely.png")
    looking.look(session, model, [session.save(here / "a.png")], [session.save(here / "a.iuv.png")])
    session.view = 180.0
    last = ended(session, model, drawing.transfer(session, HOW))
    assert len(last.told) == 1
    assert last.told[0].startswith("walk:180: ")
    assert "has to be invented" in last.told[0]
    assert "--source-pose a.iuv.png" in last.again[0]


# -- looking -----------------------------------------------------------------------------------------------------------


def test_what_a_photograph_shows_of_a_pose(session, model):
    session.name, session.view = "relaxed", 0.0
    picture, sentence = looking.target(session, model, HOW)
    assert picture.size == SIZE[::-1]
    assert sentence.startswith("The photograph shows ")
    session.view = 180.0
    turned = looking.target(session, model, HOW)[1]
    assert "To be invented: torso back (" in turned
    shares = [int(text.split("shows ")[1].partition("%")[0]) for text in (sentence, turned) if "%" in text]
    assert shares[-1] < 60
    session.person = None
    assert looking.target(session, model, HOW) == (None, "")


def test_who_is_found(session, model, here):
    assert looking.found_sentence(session.person).endswith("of 24 parts of the body are seen.")
    assert looking.found_picture(session.person).size == (176, 256)
    assert looking.suggested_frame(session.person, model) == "pad"
    Image.open(here / "a.png").resize((200, 200)).save(here / "wide.png")
    looking.look(session, model, [session.save(here / "wide.png")], [])
    assert looking.found_sentence(session.person).startswith("Nobody was found in wide.png.")
    assert looking.regions(session.person.photos[0]) == []
    with pytest.raises(ValueError, match="taking its pose needs the DensePose map"):
        looking.take_pose(session, model, session.save(here / "wide.png"))
    both = [session.save(here / "a.png"), session.save(here / "a-back.png")]
    looking.look(session, model, both, [session.save(here / "a.iuv.png"), session.save(here / "a-back.iuv.png")])
    assert looking.found_picture(session.person).size == (2 * SIZE[1], SIZE[0])
    with pytest.raises(ValueError, match="expected one map for each of 2 photographs, got 1"):
        looking.look(session, model, both, session.maps[:1])
    assert session.person is None


def test_a_person_of_another_shape_is_cut_out(session, model, here):
    for name in ("a.png", "a.iuv.png"):
        Image.open(here / name).resize((176, 200), Image.Resampling.NEAREST).save(here / f"wide-{name}")
    looking.look(session, model, [session.save(here / "wide-a.png")], [session.save(here / "wide-a.iuv.png")])
    assert looking.suggested_frame(session.person, model) == "person"


def test_regions_are_garments_and_parts_that_are_there(session):
    found = dict(looking.regions(session.person.photos[0]))
    assert found["top (body)"] == "parts:top"
    assert "garment:hair" in found.values()
    assert not {"garment:background", "garment:skin", "parts:background"} & set(found.values())


def test_every_pose_has_its_picture():
    pictures = {name: picture for picture, name in pose_pictures()}
    assert list(pictures) == list(POSES)
    for name in ("stand", "kick"):  # else: scripts/ui_pictures.py
        drawn = shaded_pose(draw_densepose(POSES[name], 25.0, "full", (192, 132)))
        off = np.abs(np.asarray(drawn, dtype=float) - np.asarray(pictures[name], dtype=float))
        assert off.mean() < 4
    with pytest.raises(ValueError, match="expected a sheet of 51 poses, 1320x1248, got 1320x1040"):
        pose_tiles(Image.new("RGB", (1320, 1040)), 51)


def test_the_example_says_that_it_is_synthetic(session):
    for path in (session.photos[0], session.second["edit"]):
        assert describe(path)["synthetic"] is True
        assert {"garment:top", "parts:top"} <= set(dict(looking.regions(read_photo(path))).values())


# -- sessions ----------------------------------------------------------------------------------------------------------


def test_files_are_gone_with_their_page(sessions, session, here):
    kept = session.save(here / "a.png")
    other = sessions.open("other")
    assert other.folder != session.folder
    assert kept.read_bytes() == (here / "a.png").read_bytes()
    sessions.close("page")
    assert session.stop.is_set()
    assert not session.folder.exists()
    assert other.folder.is_dir()
    assert len(sessions) == 1
    with pytest.raises(ValueError, match="load the page again"):
        sessions.get("page")
    sessions.close("page")  # twice is no harm


def test_a_page_that_comes_back_in_time_keeps_its_files(tmp_path, here):
    sessions, session = opened(tmp_path / "left", grace=0.5)
    sessions.leave("page")
    assert session.stop.is_set()
    assert sessions.get("page") is session
    time.sleep(1)
    assert session.folder.is_dir()
    sessions.leave("page")
    sessions.leave("page")
    until = time.monotonic() + 30
    while len(sessions) and time.monotonic() < until:
        time.sleep(0.05)
    assert not session.folder.exists()
    sessions.leave("page")  # of one that is gone is no harm


def test_a_page_that_is_closed_ends_its_drawing(sessions, session, model):
    how = How(DrawOptions(steps=4, num_images=400))
    for state in drawing.draw(session, model, drawing.transfer(session, how)):
        if state.done > 0:
            sessions.close("page")
        last = state
    assert last.ended
    assert last.files == []
    assert not session.folder.exists()


def test_what_is_too_large_or_no_picture(session, tmp_path):
    from pocold.apps.serve.problems import ProblemError

    Image.new("RGB", (2000, 1000)).save(tmp_path / "large.png")
    with pytest.raises(ProblemError, match=r"large\.png: 2000x1000 is more than 1 megapixels"):
        session.save(tmp_path / "large.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ProblemError, match=r"empty\.png: the file is empty"):
        session.save(tmp_path / "empty.png")


def test_sentences_name_no_folders(session):
    said = session.plain(f"{session.folder}/3/my photo.png: no; {session.photos[0]} too")
    assert said == "my photo.png: no; person.png too"


# -- what is said ------------------------------------------------------------------------------------------------------


def test_names_of_files_are_no_html():
    assert "<b>" not in notices.error("<b>.png") + notices.note("<b>") + notices.warnings(["<b>"])
    assert "<b>" not in notices.drawing(State(ended=True, error="<b>", told=["<b>"]))


def test_time_left_is_told():
    assert State(done=0.5, total=2, seconds=10).seconds_left == pytest.approx(30)
    assert "Drawing picture 1 of 2, about 30 s left" in notices.drawing(State(done=0.5, total=2, seconds=10))
    assert "picture 2 of 2" in notices.drawing(State(done=2, total=2, seconds=10))
    assert State(total=2, seconds=1).seconds_left is None
    assert "Reading the photograph" in notices.drawing(State())


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--port 70000", "--port: expected a number from 0 to 65535, got 70000"),
        ("--max-mb 0", "--max-mb: expected a number of at least 0.001, got 0"),
        ("--max-megapixels -1", "--max-megapixels: expected a number of at least 0.001, got -1"),
    ],
)
def test_what_the_command_refuses(capsys, options, message):
    assert message in fails(capsys, f"ui {options}", model=None)


def test_without_gradio_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert 'pocold ui needs the extra "ui": pip install "pocold[ui]"' in fails(capsys, "ui", model=None)


def test_another_host_is_warned_of():
    assert UiOptions().host == "127.0.0.1"
    assert announcement("127.0.0.1", 7860) == ["the page is at http://127.0.0.1:7860; Ctrl-C ends it"]
    assert "whoever reaches 0.0.0.0 can use this page" in announcement("0.0.0.0", 7860)[1]
