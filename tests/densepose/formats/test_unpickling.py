"""Pickles: what dumps consist of is read, everything else is refused, and nothing is ever executed."""

import collections
import os
import pickle
import sys

import numpy as np
import pytest
import torch

from dump_fixtures import FORMS, detectron2, someone, write, write_street
from pocold.densepose.formats.unpickling import Record, load_pickle


class Calls:
    """Pickled, it calls ``function(*arguments)`` when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def trap(tmp_path):
    """A file that exists once something was executed."""
    return tmp_path / "executed"


def hostile(trap):
    """name -> (content of a dump, what the message names)"""
    shell = Calls(os.system, f"touch {trap}")
    text = f"open({str(trap)!r}, 'w').close()"
    with detectron2() as classes:
        record = classes["DensePoseChartResult"]
    return {
        "os.system": (shell, r"\w+\.system"),
        "eval": (Calls(eval, text), r"[\w.]*eval"),
        "exec": (Calls(exec, text), r"[\w.]*exec"),
        "getattr": (Calls(getattr, "", "upper"), r"[\w.]*getattr"),
        "open": (Calls(open, str(trap), "w"), r"io\.open"),
        "numpy": (Calls(np.load, str(trap)), r"[\w.]*load"),
        "in a list": ([{"file_name": "a", "scores": [shell]}], r"\w+\.system"),
        "in a record": ([{"pred_densepose": [record(torch.zeros(2, 2), shell)]}], r"\w+\.system"),
        "in a storage": (
            Calls(torch.storage._load_from_bytes, as_torch_bytes(shell)),
            r"(\w+\.system|[\w.]+_load_from_bytes)",
        ),
    }


def as_torch_bytes(content):
    import io

    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


HOSTILE = sorted(hostile(None))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_files_are_refused_and_nothing_is_executed(tmp_path, trap, attack, form):
    content, named = hostile(trap)[attack]
    with detectron2() as classes:
        if attack == "in a record":
            content[0]["pred_densepose"][0].__class__ = classes["DensePoseChartResult"]
        path = write(content, tmp_path / "dump.pkl", form)
    with pytest.raises(ValueError, match=rf"dump\.pkl is refused: it names {named}") as caught:
        load_pickle(path)
    assert "\n" not in str(caught.value)
    assert not trap.exists()


def test_the_attacks_would_work_elsewhere(tmp_path, trap):
    """So that the tests above can fail."""
    path = write(hostile(trap)["os.system"][0], tmp_path / "dump.pkl", "pickle 4")
    with path.open("rb") as file:
        pickle.load(file)
    assert trap.exists()


# Opcodes put together by hand: BUILD on things that no pickler would build.
@pytest.mark.parametrize(
    "target",
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"cnumpy\nndarray\n",
        b"cnumpy\ndtype\n",
        b"cdensepose.structures.chart_result\nDensePoseChartResult\n",
        b"ccollections\nOrderedDict\n",
    ],
)
def test_nothing_of_ours_can_be_changed(tmp_path, target):
    """State set on a function or class would stay after the file was refused."""
    path = tmp_path / "dump.pkl"
    path.write_bytes(b"\x80\x02" + target + b"N}X\x0c\x00\x00\x00__defaults__)s\x86b.")
    before = torch._utils._rebuild_tensor_v2.__defaults__
    with pytest.raises(ValueError, match="cannot be read as a dump"):
        load_pickle(path)
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before
    assert Record.fields == {}


def test_a_tensor_cannot_reach_outside_its_storage(tmp_path):
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
    )
    for offset, size, stride in (
        (0, (1000,), (1,)),
        (1, (4,), (1,)),
        (0, (2,), (-1,)),
        (-1, (2,), (1,)),
        (0, (2, 2), (3, 1)),
    ):
        hooks = collections.OrderedDict()
        outside = Calls(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, hooks)
        with pytest.raises(ValueError, match="does not fit its storage of 4 numbers"):
            load_pickle(write(outside, tmp_path / "dump.pkl", "pickle 4"))


def test_a_tensor_of_something_else_is_refused(tmp_path):
    outside = Calls(torch._utils._rebuild_tensor_v2, b"bytes", 0, (1,), (1,), False, collections.OrderedDict())
    with pytest.raises(ValueError, match="must be made of a storage"):
        load_pickle(write(outside, tmp_path / "dump.pkl", "pickle 4"))


@pytest.mark.parametrize("array", [np.array([None, "a"]), np.array(["text"]), np.zeros(2, [("a", int)])], ids=str)
@pytest.mark.parametrize("form", ["pickle 2", "pickle 5", "torch"])
def test_arrays_of_anything_but_numbers_are_refused(tmp_path, array, form):
    with pytest.raises(ValueError, match=r"dump\.pkl"):
        load_pickle(write([array], tmp_path / "dump.pkl", form))


@pytest.mark.parametrize("form", FORMS)
def test_what_dumps_consist_of_is_read_without_detectron2(tmp_path, form):
    person = someone()
    path = write_street(tmp_path / "dump.pkl", person, form=form)
    assert not any(name.startswith(("densepose", "detectron2")) for name in sys.modules)
    (picture,) = load_pickle(path)
    assert picture["file_name"] == "/data/photos/street.jpg"
    assert torch.equal(picture["pred_boxes_XYXY"], torch.tensor([person.box]))
    (result,) = picture["pred_densepose"]
    assert isinstance(result, Record)
    assert result.kind == "densepose.structures.chart_result.DensePoseChartResultWithConfidences"
    assert torch.equal(result.fields["labels"], person.labels)
    assert torch.equal(result.fields["uv"], person.uv)
    assert result.fields["sigma_u"] is None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
        np.arange(4, dtype=">i2"),
        np.array([True, False]),
        np.zeros((0, 4)),
    ],
    ids=["float32", "Fortran", "transposed", "big endian", "bool", "empty"],
)
def test_numpy_arrays_are_read(tmp_path, array, form):
    (read,) = load_pickle(write([array], tmp_path / "dump.pkl", form))
    assert np.array_equal(read.values, array)
    assert read.values.dtype == array.dtype


@pytest.mark.parametrize("form", FORMS)
def test_numpy_numbers_are_read(tmp_path, form):
    assert load_pickle(write([np.float32(0.5)], tmp_path / "dump.pkl", form)) == [0.5]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_truncated_files_are_refused_in_one_line(tmp_path, form, share):
    path = write_street(tmp_path / "dump.pkl", someone(), form=form)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"dump\.pkl cannot be read as a dump, it may be truncated: \S") as caught:
        load_pickle(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no such file: .*dump\.pkl"):
        load_pickle(tmp_path / "dump.pkl")


def test_the_list_of_safe_names_is_restored(tmp_path):
    before = set(map(str, torch.serialization.get_safe_globals()))
    load_pickle(write_street(tmp_path / "dump.pkl", someone()))
    assert set(map(str, torch.serialization.get_safe_globals())) == before
