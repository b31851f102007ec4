"""The page's handlers, called as Gradio calls them."""

from types import SimpleNamespace

import pytest
from paging import opened, toy_model
from PIL import Image

from pocold.apps.drawing.options import DrawOptions

pytest.importorskip("gradio", reason="the page needs the extra ui")
pytestmark = pytest.mark.apps
SIZE = (128, 88)
SETTINGS = (0, 2, 1, "pad", False)  # seed, steps, pictures, frame, paste back
PAGE = SimpleNamespace(session_hash="page")


@pytest.fixture(scope="module")
def model(drawn_folder):
    return toy_model(drawn_folder)


@pytest.fixture
def sessions(tmp_path):
    return opened(tmp_path / "root")[0]


@pytest.fixture
def handlers(model, sessions):
    from pocold.apps.ui.handlers import Handlers

    return Handlers(model, sessions, DrawOptions())


def test_a_person_is_looked_at_and_remembered(handlers, sessions, here):
    found, said, painted, regions, frame = handlers.person(
        str(here / "a.png"), [str(here / "a-back.png")], [str(here / "a.iuv.png"), str(here / "a-back.iuv.png")], PAGE
    )
    assert found.size == (2 * SIZE[1], SIZE[0])
    assert "parts of the body are seen" in said
    assert painted["background"].size == SIZE[::-1]
    assert ("top (body)", "parts:top") in regions["choices"]
    assert frame == "pad"
    assert [path.name for path in sessions.get("page").photos] == ["a.png", "a-back.png"]


def test_what_is_no_picture_is_said_where_it_was_dropped(handlers, sessions, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found, said, *_ = handlers.person(str(tmp_path / "broken.png"), None, None, PAGE)
    assert found is None
    assert 'role="alert"' in said
    assert "broken.png" in said
    assert str(tmp_path) not in said
    assert sessions.get("page").photos == []
    (status, *_, stop) = next(handlers.transfer(*SETTINGS, PAGE))
    assert "expected a photograph of a person" in status
    assert stop["visible"] is False


def test_poses_by_name_by_turn_and_by_file(handlers, sessions, here):
    picture, said = handlers.named("pad", False, SimpleNamespace(index=0), PAGE)
    assert picture.size == SIZE[::-1]
    assert sessions.get("page").pose == "stand:35"
    handlers.turned(90, "pad", False, PAGE)
    assert sessions.get("page").pose == "stand:90"
    assert handlers.pose_file(str(here / "b.iuv.png"), "pad", False, PAGE)[0] is not None
    assert sessions.get("page").pose.endswith("b.iuv.png")
    picture, said = handlers.pose_photo(str(here / "b.png"), "pad", False, PAGE)
    assert picture is None
    assert "taking its pose needs the DensePose map" in said
    handlers.pose_file(None, "pad", False, PAGE)
    assert sessions.get("page").pose == "stand:90"


def test_each_tab_draws(handlers):
    for states, name in (
        (handlers.transfer(*SETTINGS, PAGE), "walk-35.png"),
        (handlers.edit(*SETTINGS, {"layers": []}, ["garment:top"], 0, 2, PAGE), "person-garment-top.png"),
        (handlers.mix(*SETTINGS, [], 0.5, False, PAGE), "walk-35.png"),
        (handlers.animate(*SETTINGS, "turn", 1.0, 2.0, "webp", True, PAGE), "turn.webp"),
    ):
        *_, (status, pictures, files, again, stop) = states
        assert "Drawn in" in status
        assert files["value"] == pictures["value"]
        assert pictures["value"][0].endswith(f"/{name}")
        assert again["value"].startswith("pocold ")
        assert stop["visible"] is False


def test_a_page_that_the_server_forgot_is_told_to_load_again(handlers):
    stranger = SimpleNamespace(session_hash="stranger")
    assert "load the page again" in next(handlers.transfer(*SETTINGS, stranger))[0]
    assert "load the page again" in handlers.person(None, None, None, stranger)[1]
    assert "load the page again" in handlers.target("pad", False, stranger)[1]
    assert "load the page again" in handlers.second("edit")(None, stranger)


def test_second_photographs_and_maps_are_kept_and_taken_away(handlers, sessions, here):
    assert handlers.second("edit")(str(here / "b.png"), PAGE) == ""
    assert handlers.extra("like_pose")(str(here / "b.iuv.png"), PAGE) == ""
    session = sessions.get("page")
    assert session.second["edit"].name == "b.png"
    assert session.extras["like_pose"].name == "b.iuv.png"
    handlers.second("edit")(None, PAGE)
    assert "edit" not in session.second
    status = next(handlers.edit(*SETTINGS, None, ["garment:top"], 0, 2, PAGE))[0]
    assert "expected a photograph whose clothes the region gets" in status
    handlers.person(str(here / "a.png"), None, [str(here / "a.iuv.png")], PAGE)
    said, regions = handlers.garments(str(here / "a.garments.png"), PAGE)
    assert said == ""
    assert "garment:top" in dict(regions["choices"]).values()
    Image.new("L", (5, 5)).save(here / "small.png")
    assert "a map has the size of its photograph" in handlers.garments(str(here / "small.png"), PAGE)[0]


def test_a_page_that_is_loaded_again_begins_anew(handlers, sessions, here):
    handlers.second("edit")(str(here / "b.png"), PAGE)
    handlers.closed(PAGE)
    assert sessions.get("page").second["edit"].name == "b.png"  # it may come back
    handlers.opened(PAGE)
    assert sessions.get("page").second["edit"].name == "other.png"
