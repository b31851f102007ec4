"""Whether a map can be that of one body: what is refused, what is warned of, and at which doors."""

import io
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pocold.cli import main
from pocold.densepose.formats.reading import load_pose, read_pose
from pocold.densepose.maps import DensePose, ImplausibleMapError
from pocold.densepose.plausibility import (
    FOREIGN,
    MASK,
    MASK_LIKE,
    NOBODY,
    RIMS,
    SEVERAL,
    Plausibility,
    PlausibilityWarning,
    check_body,
    judge_body,
    people_apart,
)
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import parse_pose

SIZE = (256, 176)
# Classes of two parsing sets for the body parts: head (its upper half is hair), torso, right and left limbs.
LIP = {
    "face": 13,
    "hair": 2,
    "torso": 5,
    "arms": (15, 14),
    "upper legs": (9, 9),
    "lower legs": (17, 16),
    "feet": (19, 18),
}
ATR = {
    "face": 11,
    "hair": 2,
    "torso": 4,
    "arms": (15, 14),
    "upper legs": (6, 6),
    "lower legs": (13, 12),
    "feet": (10, 9),
}


@pytest.fixture(scope="module")
def bodies():
    """Maps of drawn people: from all sides, seated, and cut by the picture."""
    drawn = {}
    for name in ("stand", "wave:30", "sit:35", "crossed:back", "hips:side:knee", "stand:0:upper", "hips:20:portrait"):
        named = parse_pose(name)
        drawn[name] = draw_densepose(named.pose, named.view, named.crop, SIZE)
    return drawn


@pytest.fixture(scope="module")
def standing(bodies):
    return bodies["stand"]


def two(left, right, apart):
    """Two maps in one: so many columns between the bodies, which overlap if there are fewer than none."""
    cut = []
    for labels in (left.labels, right.labels):
        columns = np.flatnonzero(labels.any(0))
        cut.append(labels[:, columns[0] : columns[-1] + 1])
    width = cut[0].shape[1]
    labels = np.zeros((SIZE[0], width + apart + cut[1].shape[1] + 20), np.uint8)
    labels[:, 10 : 10 + width] = cut[0]
    there = labels[:, 10 + width + apart :][:, : cut[1].shape[1]]
    there[cut[1] > 0] = cut[1][cut[1] > 0]
    return labels


def parsing(labels, classes):
    """The map as another set of classes has it."""
    parsed = np.zeros_like(labels)
    rows = np.indices(labels.shape)[0]
    head = np.isin(labels, (23, 24))
    middle = rows[head].mean()
    parsed[head & (rows < middle)], parsed[head & (rows >= middle)] = classes["hair"], classes["face"]
    parsed[np.isin(labels, (1, 2))] = classes["torso"]
    limbs = {
        "arms": ((3, 16, 18, 20, 22), (4, 15, 17, 19, 21)),
        "upper legs": ((7, 9), (8, 10)),
        "lower legs": ((11, 13), (12, 14)),
        "feet": ((6,), (5,)),
    }
    for name, sides in limbs.items():
        for side, number in zip(sides, classes[name], strict=True):
            parsed[np.isin(labels, side)] = number
    return parsed


def resized(labels, factor, how):
    height, width = labels.shape
    return np.asarray(Image.fromarray(labels).resize((int(width * factor), int(height * factor)), how))


def jpeg(labels, quality=95):
    file = io.BytesIO()
    Image.fromarray(labels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def quiet(labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return check_body(DensePose(labels)).doubts


# -- what a body looks like ----------------------------------------------------------------------------------------


def test_drawn_bodies_pass(bodies):
    for name, pose in bodies.items():
        assert judge_body(pose) == Plausibility(None, (), *measures(pose)), name


def measures(pose):
    found = judge_body(pose)
    assert found.damage < 0.15
    assert found.natural > 0.55
    return found.damage, found.natural


def test_parts_of_a_picture_of_a_body_pass(bodies):
    """Half bodies and close-ups; a hole in the middle; nearest-neighbour sizes."""
    for pose in bodies.values():
        labels = pose.labels
        for part in (
            labels[:128],
            labels[128:],
            labels[64:160, 40:140],
            resized(labels, 0.5, Image.Resampling.NEAREST),
        ):
            assert quiet(part) == ()
        holed = labels.copy()
        holed[110:150, 70:100] = 0
        assert quiet(holed) == ()


def test_small_maps_are_only_asked_for_a_body():
    noise = np.random.default_rng(0).integers(0, 25, (60, 90))
    assert quiet(noise) == ()
    with pytest.raises(ImplausibleMapError, match="shows nobody"):
        check_body(DensePose(np.zeros((8, 8))))


# -- what does not -------------------------------------------------------------------------------------------------


def test_nobody_is_refused_unless_allowed():
    nobody = DensePose(np.zeros(SIZE))
    with pytest.raises(ImplausibleMapError, match=f"^mine: {re.escape(NOBODY)}$"):
        check_body(nobody, "mine")
    assert check_body(nobody, "mine", empty=True).doubts == ()


def test_outlines_of_people_are_refused(bodies):
    for name in ("stand", "wave:30", "sit:35"):
        mask = (bodies[name].labels > 0).astype(np.int64)
        assert judge_body(DensePose(mask)).refusal == MASK, name
    numbered = two(bodies["stand"], bodies["wave:30"], 5)
    middle = np.flatnonzero(~numbered.any(0))
    middle = middle[(middle > 20) & (middle < numbered.shape[1] - 20)][0]
    people = (numbered > 0) * np.where(np.arange(numbered.shape[1]) < middle, 1, 2)
    assert judge_body(DensePose(people)).refusal == MASK


def test_a_torso_alone_is_doubted_not_refused(standing):
    """Nothing but a back can be a close-up, and with U and V it is no mask."""
    block = np.zeros(SIZE, np.uint8)
    block[60:200, 40:140] = 1
    assert judge_body(DensePose(block)) == Plausibility(None, (MASK_LIKE,))
    outline = (standing.labels > 0).astype(np.uint8)
    assert judge_body(DensePose(outline, np.zeros((2, *SIZE)))).doubts == (MASK_LIKE,)


@pytest.mark.parametrize("quality", [98, 90, 75])
def test_ringing_is_found_in_what_was_a_jpeg(bodies, quality):
    for name, pose in bodies.items():
        values = np.asarray(Image.open(io.BytesIO(jpeg(pose.labels, quality)))).clip(0, 24)
        assert judge_body(DensePose(values)).doubts == (RIMS,), name


@pytest.mark.parametrize("factor", [0.5, 0.77, 1.3, 2])
@pytest.mark.parametrize("how", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_rims_are_found_in_what_was_resized_smoothly(standing, factor, how):
    assert judge_body(DensePose(resized(standing.labels, factor, how).clip(0, 24))).doubts == (RIMS,)


@pytest.mark.parametrize("classes", [LIP, ATR], ids=["LIP", "ATR"])
def test_parsings_of_other_sets_are_doubted(bodies, classes):
    for name in ("stand", "wave:30", "crossed:back"):
        assert judge_body(DensePose(parsing(bodies[name].labels, classes))).doubts == (FOREIGN,), name


@pytest.mark.parametrize("apart", [6, 0, -15])
def test_two_people_are_doubted(bodies, apart):
    assert judge_body(DensePose(two(bodies["stand"], bodies["crossed:back"], apart))).doubts == (SEVERAL,)


def test_people_apart_are_told_from_pieces_of_one(bodies, standing):
    both = two(bodies["stand"], bodies["crossed:back"], 6)
    people = people_apart(both)
    assert [int(person.sum()) for person in people] == sorted((int(p.sum()) for p in people), reverse=True)
    assert len(people) == 2
    assert np.array_equal(people[0] | people[1], both > 0)
    assert not (people[0] & people[1]).any()
    severed = standing.labels.copy()
    severed[120:126] = 0  # a rail before the body
    assert len(people_apart(severed)) == 1


# -- how it is told ------------------------------------------------------------------------------------------------


def test_a_warning_names_the_line_outside_and_comes_once(standing):
    pose = DensePose(resized(standing.labels, 0.5, Image.Resampling.BILINEAR))
    with pytest.warns(PlausibilityWarning, match=r"^mine: rims of foreign parts .* nearest neighbour$") as told:
        asked = check_body(pose, "mine")
    assert [Path(warning.filename).name for warning in told] == ["test_plausibility.py"]
    assert asked.doubts == (RIMS,)
    assert asked.hflip().doubts == (RIMS,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_body(asked, "mine") is asked


def test_doubts_are_told_to_who_sees_no_warnings():
    from pocold.apps.drawing.sources import tell_doubts

    told = []
    tell_doubts([("a.png", DensePose(np.ones((4, 4)), doubts=(RIMS, SEVERAL))), ("b.png", None)], told.append)
    assert told == [f"a.png: {RIMS}", f"a.png: {SEVERAL}"]


# -- the doors -----------------------------------------------------------------------------------------------------


def test_bools_are_refused_as_arrays_and_tensors(standing):
    mask = standing.labels > 0
    for given in (mask, torch.from_numpy(mask)):
        with pytest.raises(ImplausibleMapError, match=r"pose: expected DensePose labels, .* got a mask of bools"):
            load_pose(given)


def test_a_jpeg_is_refused_whatever_it_holds(tmp_path, bodies, standing):
    (tmp_path / "whole.jpg").write_bytes(jpeg(standing.labels))  # ringing reaches beyond 24 at the head
    (tmp_path / "legs.jpg").write_bytes(jpeg(standing.labels[150:]))
    assert np.asarray(Image.open(tmp_path / "whole.jpg")).max() > 24
    for name in ("whole.jpg", "legs.jpg"):
        for layout in ("auto", "labels"):
            with pytest.raises(ImplausibleMapError, match=rf"{name}: a map saved as JPEG: .* save the map as PNG"):
                read_pose(tmp_path / name, layout)
        with pytest.raises(ImplausibleMapError, match="a map saved as JPEG"):
            DensePose.read(tmp_path / name)


def test_files_are_asked(tmp_path, standing):
    Image.fromarray((standing.labels > 0).astype(np.uint8)).save(tmp_path / "mask.png")
    np.save(tmp_path / "mask.npy", (standing.labels > 0).astype(np.int64))
    np.savez(tmp_path / "bools.npz", labels=standing.labels > 0)
    for name, refusal in (("mask.png", MASK), ("mask.npy", MASK), ("bools.npz", "got a mask of bools")):
        with pytest.raises(ValueError, match=f"{name}.*{re.escape(refusal)}"):
            read_pose(tmp_path / name)
    Image.fromarray(parsing(standing.labels, LIP)).save(tmp_path / "lip.png")
    with pytest.warns(PlausibilityWarning, match=r"lip\.png: its parts adjoin as in no body"):
        assert read_pose(tmp_path / "lip.png").doubts == (FOREIGN,)


def test_of_people_in_a_file_the_largest_is_taken_or_the_one_asked_for(tmp_path, bodies):
    both = two(bodies["stand"], bodies["crossed:back"], 6)
    Image.fromarray(both).save(tmp_path / "two.png")
    first, second = people_apart(both)
    with pytest.warns(PlausibilityWarning, match=r"two\.png shows 2 people; the largest is taken .*--person 2"):
        assert np.array_equal(read_pose(tmp_path / "two.png").labels, both * first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read_pose(tmp_path / "two.png", person=2).labels, both * second)
    with pytest.raises(ValueError, match=r"two\.png shows 2 people, there is no person 3"):
        read_pose(tmp_path / "two.png", person=3)


def test_the_pipeline_asks_sources_and_targets(standing):
    from pocold import _pipeline_inputs as inputs

    mask = DensePose((standing.labels > 0).astype(np.uint8))
    with pytest.raises(ImplausibleMapError, match=f"pose 1: {re.escape(MASK)}"):
        inputs.load_poses([standing, mask])
    picture = Image.new("RGB", SIZE[::-1])
    with pytest.raises(ImplausibleMapError, match=f"source_pose: {re.escape(MASK)}"):
        list(
            inputs.load_photographs(
                picture, mask, lambda own: own, "pad", labels_for="parts", uv_for=None, estimator=None
            )
        )
    with pytest.warns(PlausibilityWarning, match="pose: it seems to show several people"):
        inputs.load_poses(two(standing, standing, 0))


def test_data_sets_ask(standing):
    from pocold.data.pictures import RawPicture

    photo = io.BytesIO()
    Image.new("RGB", SIZE[::-1]).save(photo, "PNG")

    def picture(labels):
        file = io.BytesIO()
        Image.fromarray(labels).save(file, "PNG")
        return RawPicture("anna/1", "anna", photo.getvalue(), file.getvalue())

    refused = RawPicture("anna/1", "anna", photo.getvalue(), jpeg(standing.labels))
    with pytest.raises(ValueError, match="anna/1: its DensePose map cannot be used: a map saved as JPEG"):
        refused.decode()
    with pytest.raises(ValueError, match="anna/1: its DensePose map cannot be used: the map is the outline"):
        picture((standing.labels > 0).astype(np.uint8)).decode()
    assert picture(np.zeros(SIZE, np.uint8)).decode().doubts == ()
    with pytest.warns(PlausibilityWarning, match=r"a map of the data set \(pocold data check lists all of them\): its"):
        assert picture(parsing(standing.labels, ATR)).decode().doubts == (FOREIGN,)


def test_the_command_ends_with_one_line(tmp_path, capsys):
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "none.png")
    with pytest.raises(SystemExit) as stopped:
        main(["pose", str(tmp_path / "none.png"), "-o", str(tmp_path / "out.png")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"pocold: error: {tmp_path / 'none.png'}: {NOBODY}\n"
    assert not (tmp_path / "out.png").exists()
