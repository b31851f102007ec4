"""Moving pictures: written with what they say of themselves, frames read from a video. Knows nothing of bodies."""

import importlib
import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageSequence

from pocold.imaging.files import PICTURE_ERRORS, atomic_folder, atomic_write
from pocold.imaging.metadata import read_png_metadata, write_png

VIDEOS = {".mp4": ("mp4", "libx264"), ".webm": ("webm", "libvpx-vp9")}
PICTURES = (".gif", ".webp")
ENDINGS = (*VIDEOS, *PICTURES)
_USUAL_DURATION = 100  # milliseconds of a GIF's picture that does not say it, as browsers have it
_QUALITY = {"libx264": {"crf": "16", "preset": "slow"}, "libvpx-vp9": {"crf": "24", "b": "0", "row-mt": "1"}}


def check_animation_path(path: Path, flag: str = "--output") -> None:
    """Raise a ValueError, about ``flag``, unless an animation can be written there: a file by its ending, or a folder
    of frames."""
    if path.suffix.lower() not in ENDINGS and (path.suffix or path.is_file()):
        raise ValueError(
            f"{flag}: animations are written as {', '.join(ENDINGS)}, or as frames into a folder, got {path.name}"
        )
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{flag}: the folder {path.parent} does not exist; create it first")
    if path.suffix.lower() in VIDEOS:
        _av()


def write_animation(frames: Sequence[Image.Image], path: Path, fps: float, notes: Mapping[str, Any]) -> None:
    """Write frames, atomically, marked as synthetic. GIF and WebP play for ever.

    Args:
        frames: RGB, of one size. Videos (yuv420p) need even sides: a last column or row is repeated where one is odd.
        path: ``.mp4`` (H.264), ``.webm`` (VP9), ``.gif``, ``.webp``, or a folder for ``frame-0001.png``, ...
        fps: frames per second.
        notes: JSON-serialisable settings, kept in the file (in every frame of a folder); ``synthetic`` is added.

    Raises:
        ValueError: for another ending, no frames, or a video without PyAV.
    """
    if not frames:
        raise ValueError("an animation needs at least one frame, got none")
    kind = path.suffix.lower()
    if not kind:
        with atomic_folder(path) as folder:
            for number, frame in enumerate(frames, 1):
                write_png(frame, folder / f"frame-{number:04d}.png", {**notes, "frame_number": number})
        return
    check_animation_path(path)
    text = json.dumps({**notes, "synthetic": True}, sort_keys=True)
    with atomic_write(path) as temporary:
        if kind in VIDEOS:
            _write_video(frames, temporary, *VIDEOS[kind], fps, text)
        else:
            temporary.write_bytes(_picture_bytes(frames, kind, fps, text))


def _picture_bytes(frames: Sequence[Image.Image], kind: str, fps: float, text: str) -> bytes:
    how: dict[str, Any] = {"comment": text.encode()}
    if kind == ".webp":
        exif = Image.Exif()
        exif[ExifTags.Base.ImageDescription] = text
        how = {"exif": exif, "quality": 88, "method": 4}
    content = io.BytesIO()
    # whole milliseconds, such that the rounding does not add up
    times = [round(1000 * i / fps) for i in range(len(frames) + 1)]
    durations = [end - begin for begin, end in itertools.pairwise(times)]
    frames[0].save(
        content, format=kind[1:].upper(), save_all=True, append_images=frames[1:], duration=durations, loop=0, **how
    )
    return content.getvalue()


def _write_video(frames: Sequence[Image.Image], path: Path, container: str, codec: str, fps: float, text: str) -> None:
    av = _av()
    width, height = (side + side % 2 for side in frames[0].size)
    with av.open(str(path), "w", format=container) as output:
        output.metadata["comment"] = text
        stream = output.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=_QUALITY[codec])
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_image(_even(frame, (width, height)))))
        output.mux(stream.encode(None))


def _even(frame: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A frame whose last column and row are repeated to reach an even size."""
    if frame.size == size:
        return frame
    larger = Image.new("RGB", size)
    for across in (size[0] - frame.width, 0):
        for down in (size[1] - frame.height, 0):
            larger.paste(frame, (across, down))
    return larger


def read_notes(path: Path) -> dict[str, Any]:
    """What an animation that :func:`write_animation` wrote says of itself; of a folder, its first frame.

    Raises:
        ValueError: if it cannot be read, or says nothing.
    """
    kind = path.suffix.lower()
    if not path.exists():
        raise ValueError(f"no such file: {path}")
    if path.is_dir() and (path / "frame-0001.png").is_file():
        return read_png_metadata(path / "frame-0001.png")
    try:
        if kind in VIDEOS:
            with _av().open(str(path)) as container:
                tags = {name.lower(): value for name, value in container.metadata.items()}
            text = tags.get("comment", "")
        else:
            with Image.open(path) as picture:
                text = picture.info.get("comment") or picture.getexif().get(ExifTags.Base.ImageDescription, "")
        notes = json.loads(text)
    except (*PICTURE_ERRORS, OSError, ValueError):
        notes = None
    if not isinstance(notes, dict) or "synthetic" not in notes:
        raise ValueError(f"{path} carries no pocold metadata")
    return notes


def read_frames(path: Path, fps: float, limit: int | None = None) -> Iterator[Image.Image]:
    """The pictures of a video at even times, upright: what is shown at 0, 1/fps, 2/fps, ... seconds.

    Args:
        path: any video that FFmpeg reads, of constant or variable frame rate, or a moving GIF or WebP.
        fps: pictures per second.
        limit: of the pictures; None takes all.

    Raises:
        ValueError: if it cannot be read, or holds no pictures.
    """
    given, end = 0, 0.0
    shown: Callable[[], Image.Image] | None = None
    moments = _picture_moments(path) if path.suffix.lower() in PICTURES else _video_moments(path)
    for begin, end, picture in moments:  # noqa: B007, the last end is asked for
        while shown is not None and (limit is None or given < limit) and given / fps < begin - 1e-6:
            given += 1
            yield shown()
        if limit is not None and given >= limit:
            return
        shown = picture
    # the last is shown for its own duration; of a file that does not say it, once
    while shown is not None and (limit is None or given < limit) and (not given or given / fps < end - 1e-6):
        given += 1
        yield shown()
    if not given:
        raise ValueError(f"{path} holds no pictures")


# When a picture begins and ends to be shown, in seconds, and what makes it.
_Moment = tuple[float, float, Callable[[], Image.Image]]


def _video_moments(path: Path) -> Iterator[_Moment]:
    with _opened(path) as container:
        start: float | None = None
        for frame in container.decode(video=0):
            time = float(frame.time or 0.0)
            start = time if start is None else start
            lasts = float((frame.duration or 0) * (frame.time_base or 0))
            yield time - start, time - start + lasts, partial(_upright, frame)


def _picture_moments(path: Path) -> Iterator[_Moment]:
    try:
        with Image.open(path) as opened:
            time = 0.0
            for picture in ImageSequence.Iterator(opened):
                frame = picture.convert("RGB")
                lasts = float(opened.info.get("duration") or _USUAL_DURATION) / 1000
                yield time, time + lasts, frame.copy
                time += lasts
    except PICTURE_ERRORS as error:
        raise ValueError(f"{path} cannot be read as a video: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    av = _av()
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} holds no pictures that move: expected a video")
            yield container
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a video: {error}") from error


def frame_rate(path: Path) -> float:
    """Frames per second of a video, on average where they vary.

    Raises:
        ValueError: if it cannot be read, or holds no pictures that move.
    """
    if path.suffix.lower() in PICTURES:
        moments = [(begin, end) for begin, end, _ in _picture_moments(path)]
        return len(moments) / moments[-1][1]
    with _opened(path) as container:
        rate = container.streams.video[0].average_rate
    if not rate:
        raise ValueError(f"{path} holds no pictures that move: expected a video")
    return float(rate)


def _upright(frame: Any) -> Image.Image:
    """A decoded frame turned as its display matrix says: phones write how they were held."""
    picture: Image.Image = frame.to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture


def _av() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError:
        raise ValueError(
            "videos (.mp4, .webm) need PyAV: pip install 'pocold[video]'; .gif, .webp and folders of frames do not"
        ) from None
