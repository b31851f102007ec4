"""What ``pocold pose`` writes into a folder: maps of a clip, or of all pictures of a dump or a list of keypoints."""

from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from pocold.apps.drawing.clips import Clip
from pocold.apps.drawing.results import check_replaceable
from pocold.densepose.formats.reading import is_dump, read_people
from pocold.densepose.keypoints import is_keypoints
from pocold.densepose.maps import DensePose
from pocold.imaging.animations import check_animation_path, read_notes, write_animation
from pocold.models.densepose_estimator import DensePoseEstimator
from pocold.people.body.keypoint_maps import draw_people

_SHOWN = 512  # longest side of what --show writes


def write_clip(
    clip: Clip,
    folder: Path | None,
    show: Path | None,
    *,
    estimator: Callable[[], DensePoseEstimator],
    person: int | None,
    pose_model: Path | None,
    overwrite: bool,
    is_map: Callable[[Path], bool],
) -> None:
    """The maps of a clip as ``STEM.iuv.png``, and a moving picture of them over what they belong to.

    Raises:
        ValueError: if nothing is to be written, nobody is found, or something would be lost.
    """
    if folder is None and show is None:
        raise ValueError(f"{clip.path} has many maps: expected a folder for them, such as -o maps/, or --show look.mp4")
    if folder is not None:
        _check_folder(clip, folder)
    if show is not None:
        check_animation_path(show, "--show")
        check_replaceable([show], [clip.path], overwrite, _is_look)
    pictures = clip.pictures() if clip.kind == "photographs" and show is not None else None
    looks: list[Image.Image] = []
    written, empty, last = 0, 0, None
    for name, pose in zip(clip.names(), clip.maps(estimator, person, pose_model), strict=False):
        if show is not None:
            picture = None if pictures is None else next(pictures)
            last = _look(pose, picture) or last
            looks += [] if last is None else [last]
        if pose is None:
            empty += 1
            continue
        written += 1
        if folder is not None:
            path = folder / f"{name}.iuv.png"
            check_replaceable([path], [], overwrite, is_map)
            folder.mkdir(exist_ok=True)
            pose.write(path)
    if not written:
        raise ValueError(f"{clip.path}: no person was found in any of its {empty} pictures")
    told = f"; nobody was found in {empty} of {written + empty}" if empty else ""
    if show is not None:
        write_animation(looks, show, clip.fps, {"command": "pose", "from": clip.path.name})
        print(f"{show}: {len(looks)} pictures{'' if folder is not None else told}")
    if folder is not None:
        print(f"{folder}: {written} maps{told}")


def _check_folder(clip: Clip, folder: Path) -> None:
    if folder.suffix and not folder.is_dir():
        raise ValueError(f"{clip.path} has many maps: expected a folder for them, such as -o maps/, got {folder.name}")
    if not folder.absolute().parent.is_dir():
        raise ValueError(f"--output: the folder {folder.parent} does not exist; create it first")
    if clip.path.is_dir() and folder.is_dir() and folder.samefile(clip.path):
        raise ValueError(f"--output: {folder} is the folder that is read; write the maps into another one")
    names = list(clip.names()) if clip.files else []
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{clip.path} holds several files called {twice}: leave one of them out")


def _look(pose: DensePose | None, picture: Image.Image | None) -> Image.Image | None:
    """A map over its picture, small enough to be looked at; None if there is neither."""
    if pose is None and picture is None:
        return None
    if pose is None:
        assert picture is not None
        shown = picture
    else:
        shown = pose.to_image() if picture is None else pose.over(picture)
    shown = shown.copy()
    shown.thumbnail((_SHOWN, _SHOWN))
    return shown


def _is_look(path: Path) -> bool:
    try:
        return read_notes(path).get("command") == "pose"
    except ValueError:
        return False


def write_people(file: Path, folder: Path, photos: Path | None, person: int | None) -> None:
    """The maps of all pictures of a dump or a list of keypoints as ``STEM.iuv.png``; those without anybody are counted.

    Raises:
        ValueError: if the file is neither, or cannot be read.
    """
    if not is_keypoints(file) and not is_dump(file):
        raise ValueError(
            f"{folder} is a folder, or has no ending: name the file to write, such as pose.png; only all pictures of a "
            "dump, of a list of keypoints, or of a clip, go into a folder"
        )
    if photos is not None and not photos.is_dir():
        kind = "list" if is_keypoints(file) else "dump"
        raise ValueError(f"--photo: expected the folder of the {kind}'s photos, got {photos}")
    several: list[str] = []
    number = 1 if person is None else person

    def dumped_people() -> Iterator[tuple[str, DensePose | None]]:
        for picture, pose in read_people(file, photos, number):
            if person is None and len(picture.people) > 1:
                several.append(picture.name)
            yield picture.name, pose

    people = draw_people(file, photos, number) if is_keypoints(file) else dumped_people()
    folder.mkdir(exist_ok=True)
    written, empty = 0, []
    for name, pose in people:
        if pose is None:
            empty.append(name)
            continue
        pose.write(folder / f"{Path(name).stem}.iuv.png")
        written += 1
    told = f"; nobody was found in {', '.join(empty)}" if empty else ""
    told += f"; of several people the largest was taken (--person) in {', '.join(several)}" if several else ""
    print(f"{folder}: {written} maps{told}")
