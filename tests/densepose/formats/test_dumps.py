"""Dumps of detectron2: who is in them, where they are in the photo, and dumps written for other tools."""

import base64
import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dump_fixtures import CSE, FORMS, detectron2, entry, someone, write, write_street
from pocold.densepose.formats.dumps import Detection, quantised, read_dump, write_dump
from pocold.densepose.maps import DensePose

SIZE = (40, 30)


def uint8(person):
    uv = (person.uv * 255).round().to(torch.uint8)
    return torch.cat([person.labels[None].to(torch.uint8), uv])


def entry_of(person):
    boxes = torch.tensor([person.box])
    return {"file_name": "street.jpg", "scores": torch.tensor([person.score]), "pred_boxes_XYXY": boxes}


def compressed(person):
    buffer = io.BytesIO()
    Image.fromarray(uint8(person).permute(1, 2, 0).contiguous().numpy()).save(buffer, "PNG")
    return tuple(uint8(person).shape), base64.encodebytes(buffer.getvalue()).decode()


@pytest.mark.parametrize("form", FORMS)
def test_a_box_is_pasted_where_it_was(tmp_path, form):
    person = someone(12, 8, top=3, left=5)
    (picture,) = read_dump(write_street(tmp_path / "dump.pkl", person, form=form))
    assert (picture.file_name, picture.name) == ("/data/photos/street.jpg", "street.jpg")
    (found,) = picture.people
    assert found.score == pytest.approx(0.9)
    pose = found.paste(SIZE)
    labels, uv = np.zeros(SIZE), np.zeros((2, *SIZE), np.float32)
    labels[3:15, 5:13] = person.labels
    uv[:, 3:15, 5:13] = person.uv
    assert np.array_equal(pose.labels, labels)
    assert np.array_equal(pose.uv, uv)


@pytest.mark.parametrize("kind", ["plain", "quantised", "compressed"])
def test_every_kind_of_chart_result_is_understood(tmp_path, kind):
    person = someone()
    with detectron2() as classes:
        content = entry([person], kind="DensePoseChartResult")
        if kind == "quantised":
            content["pred_densepose"] = [classes["DensePoseChartResultQuantized"](uint8(person))]
        elif kind == "compressed":
            content["pred_densepose"] = [classes["DensePoseChartResultCompressed"](*compressed(person))]
        path = write([content], tmp_path / "dump.pkl")
    pose = read_dump(path)[0].people[0].pose
    assert np.array_equal(pose.labels, person.labels)
    assert np.abs(pose.uv - person.uv.numpy()).max() <= (0 if kind == "plain" else 0.5 / 255 + 1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("boxes", ["of the entry", "of the result"])
def test_dumps_of_before_august_2020(tmp_path, form, boxes):
    people = [someone(), someone(16, 10, top=9, left=14, seed=1)]
    with detectron2() as classes:
        content = entry(people)
        xywh = content["pred_boxes_XYXY"].clone()
        xywh[:, 2:] -= xywh[:, :2]
        content["pred_densepose"] = classes["DensePoseResult"](xywh, [compressed(person) for person in people])
        if boxes == "of the result":
            del content["pred_boxes_XYXY"]
        path = write([content], tmp_path / "dump.pkl", form)
    large, small = read_dump(path)[0].people
    assert [(it.top, it.left) for it in (large, small)] == [(9, 14), (3, 5)]
    assert np.array_equal(large.pose.labels, people[1].labels)
    assert np.abs(small.pose.uv - people[0].uv.numpy()).max() <= 0.5 / 255 + 1e-6


def test_broken_dumps_of_before_august_2020_are_refused(tmp_path):
    with detectron2() as classes:
        content = entry([someone()])
        content["pred_densepose"] = classes["DensePoseResult"](torch.zeros(1, 4), [compressed(someone())[1]])
        path = write([content], tmp_path / "dump.pkl")
    with pytest.raises(
        ValueError, match=r"DensePoseResult should hold a list of .shape, PNG in base 64., one per person"
    ):
        read_dump(path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("within", ["vendored.", "projects.DensePose."])
def test_classes_of_a_copied_package(tmp_path, form, within):
    person = someone()
    with detectron2(within) as classes:
        content = {**entry_of(person), "pred_densepose": [classes["DensePoseChartResult"](person.labels, person.uv)]}
        path = write([content], tmp_path / "dump.pkl", form)
    assert np.array_equal(read_dump(path)[0].people[0].pose.labels, person.labels)


def test_the_largest_body_comes_first(tmp_path):
    small, large = someone(8, 8, score=0.99), someone(20, 16, score=0.5, seed=1)
    hollow = someone(30, 20, score=0.7, seed=2)
    hollow.labels[1:] = 0  # a large box, but little body
    (picture,) = read_dump(write_street(tmp_path / "dump.pkl", small, large, hollow))
    assert [round(person.score, 2) for person in picture.people] == [0.5, 0.99, 0.7]


def test_a_single_picture_need_not_be_in_a_list(tmp_path):
    with detectron2():
        path = write(entry([someone()]), tmp_path / "dump.pkl")
    assert len(read_dump(path)) == 1


@pytest.mark.parametrize("keys", [("file_name",), ("file_name", "scores", "pred_boxes_XYXY", "pred_densepose")])
def test_a_picture_of_nobody(tmp_path, keys):
    with detectron2():
        content = entry([])
        path = write([{key: content[key] for key in keys}], tmp_path / "dump.pkl")
    assert read_dump(path)[0].people == ()


@pytest.mark.parametrize("name", ["C:\\photos\\street.jpg", "street.jpg", "a/b/street.jpg"])
def test_names_of_any_system(tmp_path, name):
    assert read_dump(write_street(tmp_path / "dump.pkl", someone(), file_name=name))[0].name == "street.jpg"


def test_networks_that_overshoot_are_clipped(tmp_path):
    person = someone()
    person.uv[0, 0, 0], person.uv[1, 0, 0] = 1.2, -0.1
    uv = read_dump(write_street(tmp_path / "dump.pkl", person))[0].people[0].pose.uv
    assert uv[:, 0, 0].tolist() == [1, 0]


def test_half_precision_is_read(tmp_path):
    person = someone()
    person.uv = person.uv.bfloat16()
    pose = read_dump(write_street(tmp_path / "dump.pkl", person))[0].people[0].pose
    assert np.array_equal(pose.uv, person.uv.float())


@pytest.mark.parametrize(("top", "left"), [(-2, 0), (0, -1), (29, 0), (30, 22)])
def test_boxes_at_the_border_are_cut(top, left):
    person = someone(12, 8)
    pose = Detection(DensePose(person.labels.numpy(), person.uv.numpy()), top, left, 1.0).paste(SIZE)
    for row, column in np.ndindex(*SIZE):
        y, x = row - top, column - left
        inside = 0 <= y < 12 and 0 <= x < 8
        assert pose.labels[row, column] == (person.labels[y, x] if inside else 0)
        assert pose.uv[0, row, column] == (person.uv[0, y, x] if inside else 0)


@pytest.mark.parametrize(("top", "left"), [(-3, 0), (0, -3), (31, 0), (0, 25)])
def test_another_photo_is_refused(top, left):
    pose = DensePose(someone(12, 8).labels.numpy())
    with pytest.raises(ValueError, match=r"does not lie in a photo of 40x30 \(height x width\); is it the photo"):
        Detection(pose, top, left, 1.0).paste(SIZE)


def broken(change):
    """A street whose entry is changed."""
    content = entry([someone()])
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.update(file_name=3), "its file_name is a int, no text"),
        (lambda e: e.pop("pred_densepose"), "it has detections, but no pred_densepose"),
        (lambda e: e.update(pred_densepose=5), "its pred_densepose is a int: only results of DensePose charts"),
        (lambda e: e.update(pred_densepose=[5]), "expected a DensePose result, got a int"),
        (lambda e: e.update(scores="high"), "its scores should be numbers, got a str"),
        (lambda e: e.update(pred_boxes_XYXY=torch.zeros(2, 4)), r"one box and score for each of 1 people, got \(2"),
        (lambda e: e.update(pred_boxes_XYXY=torch.full((1, 4), torch.nan)), "is not a box"),
        (lambda e: e.update(pred_boxes_XYXY=torch.tensor([[0.0, 0, 40, 40]])), "does not fill its box of 40.0 x 40.0"),
        (lambda e: e["pred_densepose"][0].labels.fill_(30), r"must lie in 0\.\.24"),
        (lambda e: e["pred_densepose"][0].uv.fill_(torch.nan), "its uv hold NaN or infinity"),
        (lambda e: setattr(e["pred_densepose"][0], "uv", torch.zeros(2, 3, 3)), r"uv must have shape"),
        (lambda e: setattr(e["pred_densepose"][0], "labels", None), "its labels should be numbers, got a NoneType"),
        (lambda e: vars(e["pred_densepose"][0]).pop("uv"), "it holds densepose.structures.chart_result"),
    ],
)  # fmt: skip
def test_broken_entries_are_refused(tmp_path, change, message):
    with detectron2():
        path = write([entry([someone()]), broken(change)], tmp_path / "dump.pkl", "pickle 4")
    with pytest.raises(ValueError, match=rf"dump\.pkl: picture 2 of 2: .*{message}"):
        read_dump(path)


@pytest.mark.parametrize("shape_text", [((3, 12, 8), "no base 64!"), ((3, 12, 8), "QUJD"), (None, "QUJD")])
def test_broken_compressed_results_are_refused(tmp_path, shape_text):
    with detectron2() as classes:
        content = entry([someone()])
        content["pred_densepose"] = [classes["DensePoseChartResultCompressed"](*shape_text)]
        path = write([content], tmp_path / "dump.pkl")
    with pytest.raises(ValueError, match="a compressed map"):
        read_dump(path)


def test_a_compressed_result_of_another_size_is_refused(tmp_path):
    with detectron2() as classes:
        content = entry([someone()])
        content["pred_densepose"] = [classes["DensePoseChartResultCompressed"]((3, 9, 9), compressed(someone())[1])]
        path = write([content], tmp_path / "dump.pkl")
    with pytest.raises(ValueError, match=r"a compressed map of \(3, 9, 9\) holds a picture RGB"):
        read_dump(path)


@pytest.mark.parametrize("form", ["pickle 4", "torch"])
def test_embeddings_are_refused_with_advice(tmp_path, form):
    with detectron2():
        content = entry([someone()])
        cls = sys.modules[CSE].DensePoseEmbeddingPredictorOutput
        content["pred_densepose"] = cls(torch.zeros(1, 16, 4, 4), torch.zeros(1, 2, 4, 4))
        path = write([content], tmp_path / "dump.pkl", form)
    with pytest.raises(
        ValueError, match="embeddings of a CSE model, which have no body labels; dump with a chart model"
    ):
        read_dump(path)


@pytest.mark.parametrize("content", [[], 5, "text", None, torch.zeros(3)])
def test_what_is_no_dump_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match=r"dump\.pkl: expected a dump, a list with one entry per picture, got a"):
        read_dump(write(content, tmp_path / "dump.pkl"))


def test_entries_must_be_dicts(tmp_path):
    with pytest.raises(ValueError, match=r"picture 1 of 1: expected an entry with file_name, .* got a int"):
        read_dump(write([3], tmp_path / "dump.pkl"))


# -- writing -----------------------------------------------------------------------------------------------------


def placed(person):
    return Detection(DensePose(person.labels.numpy(), person.uv.numpy()), person.top, person.left, 1.0).paste(SIZE)


def test_a_written_dump_is_read_back(tmp_path):
    pose = placed(someone())
    write_dump(pose, tmp_path / "dump.pkl", "street.jpg")
    (picture,) = read_dump(tmp_path / "dump.pkl")
    assert picture.file_name == "street.jpg"
    again = picture.people[0].paste(SIZE)
    assert np.array_equal(again.labels, pose.labels)
    assert np.array_equal(again.uv, pose.uv * (pose.labels > 0))


def test_other_tools_find_their_own_classes_in_a_written_dump(tmp_path):
    pose = placed(someone())
    write_dump(pose, tmp_path / "dump.pkl", "street.jpg", score=0.75)
    with detectron2() as classes:
        ((content),) = torch.load(tmp_path / "dump.pkl", weights_only=False)
        (result,) = content["pred_densepose"]
        assert type(result) is classes["DensePoseChartResultWithConfidences"]
    assert content["scores"].tolist() == [0.75]
    left, top, right, bottom = (int(side) for side in content["pred_boxes_XYXY"][0])
    assert np.array_equal(result.labels, pose.labels[top:bottom, left:right])
    assert result.labels.dtype == torch.int64
    assert result.uv.dtype == torch.float32
    assert result.sigma_u is None
    outside = pose.labels.copy()
    outside[top:bottom, left:right] = 0
    assert not outside.any()


def test_a_map_without_uv_is_written_with_zeros(tmp_path):
    pose = replace(placed(someone()), uv=None)
    write_dump(pose, tmp_path / "dump.pkl", "street.jpg")
    assert not read_dump(tmp_path / "dump.pkl")[0].people[0].pose.uv.any()


def test_nobody_cannot_be_dumped(tmp_path):
    with pytest.raises(ValueError, match="the map shows nobody: a dump of it would be empty"):
        write_dump(DensePose(np.zeros((4, 4))), tmp_path / "dump.pkl", "a.jpg")
    assert not list(tmp_path.iterdir())


def test_quantised_form():
    pose = DensePose(np.array([[3, 0]]), np.array([[[1.0, 0]], [[0.5, 0]]]))
    assert quantised(pose).tolist() == [[[3, 0]], [[255, 0]], [[128, 0]]]
    assert quantised(DensePose(pose.labels)).tolist() == [[[3, 0]], [[0, 0]], [[0, 0]]]
