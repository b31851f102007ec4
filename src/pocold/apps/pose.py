"""The body of ``pocold pose``: maps of named poses, of files and of photographs.

Heavy imports stay inside, so that ``--help`` needs no torch.
"""

import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from pocold.usage import OUTPUT

if TYPE_CHECKING:
    from PIL import Image

    from pocold.densepose.maps import DensePose

_Layout = Literal["auto", "iuv", "ivu", "vui", "uvi", "labels", "parula", "viridis"]


def pose(
    name: Annotated[str | None, tyro.conf.Positional] = None,
    output: Annotated[Path | None, OUTPUT] = None,
    like: Path | None = None,
    size: str | None = None,
    sheet: Path | None = None,
    photo: Path | None = None,
    show: Path | None = None,
    person: int | None = None,
    picture: str | None = None,
    fps: float | None = None,
    read_as: _Layout = "auto",
    write_as: _Layout = "auto",
    estimator: Path | None = None,
    pose_model: Path | None = None,
    install: bool = False,
    device: str = "auto",
    overwrite: bool = False,
) -> None:
    """Write a DensePose map: of a named pose, NAME[:VIEW[:CROP]], such as walk:side, hips:back or wave:30:upper; of a
    file in any format, a detectron2 dump included; of keypoints; of the person in a photograph; or all of a video.

    Args:
        name: The pose, or the file to convert: .png .jpg .webp .npy .npz .pkl .pth, or keypoints: .json (OpenPose,
            COCO, MediaPipe), .csv (name:keypoints_y:keypoints_x). An unknown pose lists all. A picture that is no map
            is taken for a photograph. Or a clip: a video of a person or of a visualiser's colours, or a folder of maps,
            keypoints or pictures, one for each frame.
        output: File to write: .png (red = part 0..24, green = 255 U, blue = 255 V), .npz, .npy, or .pkl (a dump). For a
            dump or list also a folder, which is made if need be: then all its pictures go to STEM.iuv.png. For a clip
            always a folder.
        like: Another DensePose map, or keypoints: a named pose is drawn with the height, position and build of the
            person seen there.
        size: HEIGHTxWIDTH of the map; 256x176 for a named pose. With --like the other map's size is taken. Of a dump,
            the size of the photo, if that is lost; of keypoints, the size of their picture, if the file does not say.
        sheet: Instead, draw the whole library of poses into this PNG file.
        photo: What the map belongs to: the photo that a dump was made from (or the folder of them all), that keypoints
            were found in, that colours were drawn over, or that --show draws over.
        show: Draw the map in colours into this PNG file, over the photo if there is one; those of a clip into an
            animation (.mp4, .webm, .gif, .webp).
        person: Which person of a dump's or keypoints' picture, or of a map of people who do not touch, the largest
            first; or of a photograph, from left to right (with BlazePose).
        picture: Which picture of a dump or list, by its file name.
        fps: Frames per second of a clip: a video's own, and 25 for a folder, if not given.
        read_as: What the channels of the file hold; auto looks. Colours of a visualiser over a photo must be told.
        write_as: What the channels of a written .png hold.
        estimator: Folder of the network that finds maps in photographs; if not given BlazePose where it is installed,
            else the bundled one. With it the file is a photograph, whatever it looks like.
        pose_model: Folder of BlazePose's files, for photographs; those of --install, or of the environment's
            POCOLD_POSE_MODEL, if not given; none goes without.
        install: Instead, get BlazePose, by which people in photographs are found far better: asks npm once for a
            package of 41 MB (Apache-2.0), and keeps two of its files in the cache folder. Needs the extra pose.
        device: Where the network looks, such as cpu or cuda; auto takes a GPU where there is one. BlazePose is quick
            enough on the CPU.
        overwrite: Replace an existing file even if it is an input, or is nothing that this command writes.
    """
    if install:
        _install()
        return
    if sheet is not None:
        from pocold.apps.drawing.results import check_replaceable
        from pocold.imaging.metadata import is_generated
        from pocold.people.sheets import write_pose_sheet

        check_replaceable([sheet], [], overwrite, is_generated)
        write_pose_sheet(sheet)
        return
    if name is None:
        raise ValueError("expected the name of a pose, such as walk:side, or --sheet FILE to see them all")
    is_file = names_a_file(name)
    file_options = {"--person": person is not None, "--picture": picture is not None, "--read-as": read_as != "auto"}
    one_map_options: dict[str, object] = {
        "--size": size,
        "--picture": picture,
        "--show": show,
        "--write-as": write_as != "auto",
    }
    if _is_clip(name, output):
        _refuse({"--like": like, "--photo": photo} | one_map_options | {"--show": None}, "is not for a whole clip")
        _write_clip(Path(name), output, show, read_as, fps, person, estimator, pose_model, device, overwrite)
        return
    _refuse({"--fps": fps}, f"is for videos and folders; {name} is none")
    if is_file and output is not None and (output.is_dir() or not output.suffix):
        from pocold.apps.pose_folder import write_people

        others = {"--read-as": read_as != "auto", "--like": like, "--estimator": estimator, "--pose-model": pose_model}
        _refuse(one_map_options | others, "is not for a whole dump")
        write_people(Path(name), output, photo, person)
        return
    from pocold.densepose.formats.reading import read_pose
    from pocold.densepose.formats.writing import check_writable, write_pose
    from pocold.densepose.keypoints import is_keypoints
    from pocold.imaging.images import load_image
    from pocold.people.body.camera import parse_size
    from pocold.people.body.keypoint_maps import read_keypoint_pose

    photograph = None if photo is None else load_image(photo, "--photo")
    if is_file:
        _refuse({"--like": like}, f"fits a named pose to a person; {name} is a file")
        map_options = file_options | {"--size": size, "--photo": photo}
        if is_keypoints(name):
            given = {"--read-as": read_as != "auto", "--estimator": estimator, "--pose-model": pose_model}
            _refuse(given, f"is for maps and photographs; {name} holds keypoints")
            asked = None if photograph is None else (photograph.height, photograph.width)
            asked = asked if size is None else parse_size(size)
            drawn = read_keypoint_pose(name, person=person, picture=picture, size=asked)
        elif estimator is not None:
            _refuse(map_options, f"is for files that hold a map; with --estimator {name} is a photograph")
            drawn, photograph = _estimate(Path(name), estimator, device)
        elif pose_model is not None:
            _refuse(map_options | {"--person": None}, f"is for files that hold a map; with --pose-model {name} is none")
            drawn, photograph = _found(Path(name), person, device, pose_model)
        elif any((map_options | {"--person": None}).values()):
            asked = None if size is None else parse_size(size)
            drawn = read_pose(name, read_as, person=person, picture=picture, photo=photograph, size=asked)
        else:
            drawn, photograph = _map_or_photograph(Path(name), person, device)
    else:
        _refuse(
            file_options | {"--estimator": estimator, "--pose-model": pose_model},
            f"is for files; {name} is a named pose",
        )
        drawn = _draw(name, size, like)
    if output is None and show is None:
        raise ValueError("expected a file to write, such as -o pose.png")
    if output is not None:
        check_writable(output, write_as)
    _check_outputs(output, show, [Path(name), like, photo, estimator], overwrite)
    if photograph is not None and photograph.size[::-1] != drawn.size:
        (height, width), (wide, high) = drawn.size, photograph.size
        raise ValueError(
            f"--photo: expected one of the map's size {height}x{width} (height x width), got {high}x{wide}"
        )
    if show is not None:
        _show(drawn, photograph, show)
    if output is not None:
        write_pose(drawn, output, write_as, photo="" if photo is None else str(photo))


def _refuse(options: Mapping[str, object], reason: str) -> None:
    """Raise a ValueError if any of these options was given."""
    for option, given in options.items():
        if given:
            raise ValueError(f"{option} {reason}")


def _draw(name: str, size: str | None, like: Path | None) -> "DensePose":
    """The map of a named pose."""
    from pocold.people.body.camera import parse_size
    from pocold.people.poses import parse_pose

    named = parse_pose(name)
    if like is not None:
        from pocold.densepose.coverage import warn_if_missing
        from pocold.people.body.fitting import fit_pose
        from pocold.people.body.keypoint_maps import load_any_pose

        reference = load_any_pose(like)
        fitted = fit_pose(named, reference)
        warn_if_missing(reference, fitted)
        return fitted
    from pocold.people.body.posing import draw_densepose

    return draw_densepose(named.pose, named.view, named.crop, parse_size(size or "256x176"))


def _is_picture(path: Path) -> bool:
    """Whether a file can be opened as a picture at all."""
    from pocold.imaging.images import load_image

    try:
        load_image(path)
    except ValueError:
        return False
    return True


def _map_or_photograph(path: Path, person: int | None, device: str) -> "tuple[DensePose, Image.Image | None]":
    """The map that a file holds, or else shows; and the picture, if it is a photograph."""
    from pocold.densepose.formats.reading import read_pose
    from pocold.densepose.formats.stick_figures import is_stick_figure
    from pocold.densepose.maps import ImplausibleMapError
    from pocold.imaging.images import load_image

    try:
        return read_pose(path, person=person), None
    except ImplausibleMapError:
        raise
    except ValueError as error:
        if not _is_picture(path) or is_stick_figure(load_image(path)):
            raise
        found = _found(path, person, device, no_map=str(error))
        print(f"pocold: warning: taken for a photograph, its map estimated; if it is a map: {error}", file=sys.stderr)
        return found


def _estimate(path: Path, estimator: Path, device: str) -> "tuple[DensePose, Image.Image]":
    """The map that a network finds in a photograph, and the photograph."""
    from pocold.devices import choose_device
    from pocold.imaging.images import load_image
    from pocold.models.densepose_estimator import estimate_densepose, open_estimator

    photo = load_image(path)
    return estimate_densepose(photo, open_estimator(estimator).to(choose_device(device)), str(path)), photo


def _found(
    path: Path, person: int | None, device: str, pose_model: Path | None = None, no_map: str | None = None
) -> "tuple[DensePose, Image.Image]":
    """The map of a person in a photograph, and the photograph; ``no_map`` says why it could not be read as a map."""
    from pocold.devices import choose_device
    from pocold.imaging.images import load_image
    from pocold.models.densepose_estimator import open_estimator
    from pocold.photographs import Photo

    photo, estimator = Photo(path, load_image(path)), open_estimator().to(choose_device(device))
    try:
        return photo.found(estimator, person, pose_model).need_pose("its map"), photo.picture
    except ValueError as error:
        alone = no_map is None or person is not None  # who names a person means a photograph
        raise ValueError(str(error) if alone else f"{no_map}; and as a photograph: {error}") from None


def _install() -> None:
    """Get BlazePose's files, and say where they are."""
    from pocold.models.blazepose_files import install, open_blazepose

    folder = install(lambda message: print(f"pocold: {message}", file=sys.stderr, flush=True))
    open_blazepose(folder)  # says so if the extra is missing
    print(folder)


def names_a_file(name: str) -> bool:
    """Whether a file is meant, not a named pose: poses come first, whatever lies in the folder."""
    from pocold.densepose import keypoints
    from pocold.densepose.formats.reading import ENDINGS

    if _names_a_pose(name):
        return False
    return Path(name).suffix.lower() in ENDINGS | keypoints.ENDINGS or Path(name).is_file()


def _names_a_pose(name: str) -> bool:
    from pocold.people.poses import POSES

    return name.strip().lower().partition(":")[0] in POSES


def _is_clip(name: str, output: Path | None) -> bool:
    """Whether a folder or a video is meant; moving pictures may be photographs, so they are if a folder is written."""
    from pocold.apps.drawing.clips import VIDEOS

    path, many = Path(name), output is not None and (output.is_dir() or not output.suffix)
    if _names_a_pose(name):
        return False
    moving = path.suffix.lower() in VIDEOS - {".gif", ".webp"}
    return path.is_dir() or moving or (many and path.suffix.lower() in VIDEOS)


def _write_clip(
    path: Path,
    output: Path | None,
    show: Path | None,
    read_as: _Layout,
    fps: float | None,
    person: int | None,
    estimator: Path | None,
    pose_model: Path | None,
    device: str,
    overwrite: bool,
) -> None:
    from pocold.apps.drawing.clips import check_fps, open_clip
    from pocold.apps.pose_folder import write_clip
    from pocold.devices import choose_device
    from pocold.models.densepose_estimator import open_estimator

    if fps is not None:
        check_fps(fps)
    if estimator is not None:
        _refuse({"--pose-model": pose_model}, "and --estimator are two ways to find a person; leave one out")
        pose_model = Path("none")
    write_clip(
        open_clip(path, fps, layout=read_as),
        output,
        show,
        estimator=lambda: open_estimator(estimator).to(choose_device(device)),
        person=person,
        pose_model=pose_model,
        overwrite=overwrite,
        is_map=_is_map,
    )


def _is_map(path: Path) -> bool:
    from pocold.densepose.formats.reading import read_pose

    with warnings.catch_warnings(action="ignore"):
        try:
            read_pose(path)
        except ValueError:
            return False
    return True


def _check_outputs(output: Path | None, show: Path | None, inputs: Sequence[Path | None], overwrite: bool) -> None:
    """Raise a ValueError if the map or the picture of it would replace an input, what is no map, or each other."""
    from pocold.apps.drawing.results import check_replaceable, is_drawn

    if output is not None and show is not None and output.absolute() == show.absolute():
        raise ValueError(f"--output and --show would both write {output}; choose another name for one")

    given = [path for path in inputs if path is not None]
    for path, is_ours in ((output, _is_map), (show, is_drawn)):
        if path is not None:
            check_replaceable([path], given, overwrite, is_ours)


def _show(pose: "DensePose", photo: "Image.Image | None", path: Path) -> None:
    from pocold.imaging.metadata import write_png

    if path.suffix.lower() != ".png":
        raise ValueError(f"--show: expected a file name ending in .png, got {path.name}")
    write_png(pose.to_image() if photo is None else pose.over(photo), path, {"command": "pose"})
