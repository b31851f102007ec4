"""The workflows that come with the nodes: checked, run, and compared with the command line."""

import json

import numpy as np
import pytest
from drawing_helpers import pixels, pocold
from graphs import WORKFLOWS, api_of, check_graph, run_workflow, workflow
from PIL import Image

NAMES = ("poses", "edit-and-mix")


def test_there_are_two():
    assert {path.stem for path in WORKFLOWS.glob("*.json")} == set(NAMES)
    assert {path.stem for path in (WORKFLOWS / "api").glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_both_formats_say_the_same_and_are_valid(name):
    graph = workflow(name)
    check_graph(graph)
    drawn = json.loads((WORKFLOWS / f"{name}.json").read_text())
    assert api_of(drawn) == graph
    slots = {node["id"]: node for node in drawn["nodes"]}
    for number, source, out, target, into, kind in drawn["links"]:
        assert number in slots[source]["outputs"][out]["links"]
        assert slots[target]["inputs"][into] | {"link": number, "type": kind} == slots[target]["inputs"][into]
    order = {node["id"]: node["order"] for node in drawn["nodes"]}
    assert all(order[link[1]] < order[link[3]] for link in drawn["links"])


@pytest.fixture
def photos(drawn_folder, tmp_path, monkeypatch):
    """``person.png``, wider than the model's pictures, and ``other.png``, without maps; the process is there."""
    monkeypatch.chdir(tmp_path)
    wide = np.pad(pixels(drawn_folder / "a.png"), ((4, 4), (40, 40), (0, 0)), mode="edge")
    Image.fromarray(wide).save("person.png")
    Image.fromarray(pixels(drawn_folder / "b.png")).save("other.png")
    return tmp_path


def quickened(graph, folder):
    for node in graph.values():
        node["inputs"] |= {"folder": str(folder), "device": "cpu"} if "folder" in node["inputs"] else {}
        node["inputs"] |= {"steps": 2} if "steps" in node["inputs"] else {}
    return graph


def test_poses(photos, drawn_folder):
    written = run_workflow(quickened(workflow("poses"), drawn_folder / "sized"), photos, photos)
    assert [path.name for path in written] == [f"poses_0000{i}_.png" for i in (1, 2, 3)]
    pocold(
        "transfer person.png --frame person --pose walk:side hips:back wave:30 -o drawn", model=drawn_folder / "sized"
    )
    for path, name in zip(written, ("walk-side", "hips-back", "wave-30"), strict=True):
        np.testing.assert_array_equal(pixels(path), pixels(photos / "drawn" / f"{name}.png"))


def test_edit_and_mix(photos, drawn_folder):
    edited, mixed = run_workflow(quickened(workflow("edit-and-mix"), drawn_folder / "sized"), photos, photos)
    pocold("edit person.png --like other.png --region parts:top --grow 2 -o edit.png", model=drawn_folder / "sized")
    np.testing.assert_array_equal(pixels(edited), pixels(photos / "edit.png"))
    assert (pixels(edited) != pixels(photos / "person.png")).any()
    pocold("mix person.png other.png --parts legs feet --frame person -o mix.png", model=drawn_folder / "sized")
    np.testing.assert_array_equal(pixels(mixed), pixels(photos / "mix.png"))
