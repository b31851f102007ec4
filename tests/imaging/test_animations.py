"""Animations: written and read again, with what they say of themselves."""

import builtins
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image, ImageSequence

from pocold.imaging.animations import ENDINGS, read_frames, read_notes, write_animation

av = pytest.importorskip("av")
COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40)]


def frames(size=(48, 64)):
    return [Image.new("RGB", size, colour) for colour in COLOURS]


def mean(picture):
    return np.asarray(picture.convert("RGB"), float).mean((0, 1))


def shown(path):
    if path.suffix in (".mp4", ".webm"):
        with av.open(str(path)) as container:
            return [frame.to_image() for frame in container.decode(video=0)]
    if path.is_dir():
        return [Image.open(file) for file in sorted(path.iterdir())]
    with Image.open(path) as picture:
        return [frame.convert("RGB") for frame in ImageSequence.Iterator(picture)]


@pytest.mark.parametrize("ending", [*ENDINGS, ""])
def test_what_is_written_is_shown(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    write_animation(frames(), path, 8, {"seed": 7, "text": "ä" * 400})
    pictures = shown(path)
    assert len(pictures) == len(COLOURS)
    for picture, colour in zip(pictures, COLOURS, strict=True):
        assert picture.size == (48, 64)
        np.testing.assert_allclose(mean(picture), colour, atol=6)
    notes = read_notes(path)
    assert notes["synthetic"] is True
    assert (notes["seed"], notes["text"]) == (7, "ä" * 400)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # nothing is left beside it


@pytest.mark.parametrize(("ending", "codec"), [(".mp4", "h264"), (".webm", "vp9")])
def test_videos_play_everywhere(tmp_path, ending, codec):
    write_animation(frames((47, 63)), tmp_path / f"out{ending}", 12.5, {})
    with av.open(str(tmp_path / f"out{ending}")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) in (
            (codec, "yuv420p"),
            (f"lib{codec}", "yuv420p"),
        )
        assert (stream.width, stream.height) == (48, 64)  # odd sides: the last column and row are repeated
        assert stream.average_rate == Fraction(25, 2)
        last = np.asarray(next(container.decode(video=0)).to_image(), float)
        np.testing.assert_allclose(last[-1, -1], COLOURS[0], atol=6)


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_pictures_play_for_ever_at_their_pace(tmp_path, ending):
    write_animation(frames(), tmp_path / f"out{ending}", 12, {})
    with Image.open(tmp_path / f"out{ending}") as picture:
        assert picture.info["loop"] == 0
        total = 0
        for frame in ImageSequence.Iterator(picture):
            frame.load()
            total += frame.info["duration"]
    assert abs(total - 4000 / 12) < 20  # GIF counts in hundredths


def test_what_cannot_be_written(tmp_path, monkeypatch):
    for name, message in (
        ("out.png", "animations are written as .mp4, .webm, .gif, .webp, or as frames into a folder, got out.png"),
        ("no/out.gif", "does not exist; create it first"),
    ):
        with pytest.raises(ValueError, match=message):
            write_animation(frames(), tmp_path / name, 8, {})
    with pytest.raises(ValueError, match="needs at least one frame"):
        write_animation([], tmp_path / "out.gif", 8, {})
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"need PyAV: pip install 'pocold\[video\]'"):
        write_animation(frames(), tmp_path / "out.mp4", 8, {})
    write_animation(frames(), tmp_path / "out.gif", 8, {})  # needs none
    assert builtins.len(list(tmp_path.iterdir())) == 1


def test_files_that_say_nothing(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.gif", comment=b"of somebody else")
    (tmp_path / "b.mp4").write_bytes(b"no video")
    for name in ("a.gif", "b.mp4"):
        with pytest.raises(ValueError, match="carries no pocold metadata"):
            read_notes(tmp_path / name)
    with pytest.raises(ValueError, match=r"no such file: .*missing\.webp"):
        read_notes(tmp_path / "missing.webp")


def variable(path, times, rotation=0):
    """A video whose frames are shown at ``times``, in tenths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for time, colour in zip(times, COLOURS, strict=True):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), colour))
            frame.pts, frame.time_base = time, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_frames_are_read_at_even_times(tmp_path):
    variable(tmp_path / "in.mp4", (0, 1, 5, 6))
    seen = [
        mean(frame).argmax() if mean(frame)[:2].min() < 100 else 3 for frame in read_frames(tmp_path / "in.mp4", 10)
    ]
    assert seen == [0, 1, 1, 1, 1, 2, 3]  # what is shown stays until the next comes
    assert len(list(read_frames(tmp_path / "in.mp4", 5))) == 4
    assert len(list(read_frames(tmp_path / "in.mp4", 10, limit=3))) == 3


def test_frames_are_turned_upright(tmp_path, monkeypatch):
    variable(tmp_path / "in.mp4", (0, 1, 2, 3))
    content = bytearray((tmp_path / "in.mp4").read_bytes())
    # the matrix of the track's header: a, b, u, c, d, v, ... in 16.16, identity as written; a quarter turn as phones do
    identity = b"".join(n.to_bytes(4, "big") for n in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    place = content.find(identity, content.find(b"tkhd"))
    quarter = b"".join(
        (n % (1 << 32)).to_bytes(4, "big") for n in (0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    )
    content[place : place + len(identity)] = quarter
    (tmp_path / "turned.mp4").write_bytes(content)
    assert next(iter(read_frames(tmp_path / "in.mp4", 10))).size == (64, 48)
    assert next(iter(read_frames(tmp_path / "turned.mp4", 10))).size == (48, 64)


def test_what_is_no_video(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video at all")
    with pytest.raises(ValueError, match=r"a\.mp4 cannot be read as a video"):
        list(read_frames(tmp_path / "a.mp4", 10))
