"""The body's chart: maps whose U and V stand in each other's place are told, others are not."""

import warnings

import numpy as np
import pytest
from PIL import Image

from pocold.densepose.chart import looks_exchanged, places, surface_chart
from pocold.densepose.maps import DensePose, ExchangedWarning
from pocold.people.rendering.render import random_person


def drawn(size, identities=6):
    for identity in range(identities):
        person, rng = random_person(9, identity), np.random.default_rng(identity)
        yield person.draw([person.random_shot(rng)], size)[0].densepose


@pytest.mark.parametrize("size", [(256, 176), (128, 64)])
def test_exchanged_maps_are_told(size):
    for pose in drawn(size):
        assert not looks_exchanged(pose.labels, pose.uv)
        assert looks_exchanged(pose.labels, pose.uv[::-1])
        cropped = slice(0, size[0] // 2)
        assert not looks_exchanged(pose.labels[cropped], pose.uv[:, cropped])


@pytest.mark.parametrize("labels", [np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8)])
def test_maps_that_tell_nothing_are_no_suspects(labels):
    assert not looks_exchanged(labels, np.zeros((2, 4, 4), np.float32))


def test_places_are_those_of_the_chart():
    uv = np.array([[0, 255, 130], [0, 255, 7]], np.uint8)
    found = places(np.array([1, 24, 5]), uv)
    assert np.array_equal(found, surface_chart()[[1, 24, 5], [0, 63, 32], [0, 63, 1]])


@pytest.mark.parametrize(("first", "last"), [("iuv", "ivu"), ("vui", "uvi")])
def test_files_are_warned_of_and_read_as_said(tmp_path, first, last):
    pose = next(drawn((128, 88)))
    planes = {"i": pose.labels, **dict(zip("uv", np.round(pose.uv * 255).astype(np.uint8), strict=True))}
    path = tmp_path / "map.png"
    Image.fromarray(np.stack([planes[name] for name in last], -1)).save(path)
    with pytest.warns(ExchangedWarning, match=f"read as {first} fits the body better as {last}.*--read-as {last}"):
        assert np.abs(DensePose.read(path).uv[::-1] - pose.uv).max() < 0.003
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.abs(DensePose.read(path, last).uv - pose.uv).max() < 0.003
        pose.write(path)  # says itself what it holds
        DensePose.read(path)
