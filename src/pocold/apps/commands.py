"""``pocold transfer``, ``encode``, ``edit``, ``mix``, ``animate``, ``bulk``, ``show``. Heavy imports stay inside."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional

from pocold.apps.drawing.options import STEADY, DrawOptions, FrameName, ModelOptions
from pocold.usage import OUTPUT

Output = Annotated[Path | None, OUTPUT]


def transfer(
    person: Positional[tuple[Path, ...]],
    how: OmitArgPrefixes[DrawOptions],
    pose: tuple[str, ...] = (),
    output: Output = None,
    sheet: Path | None = None,
    source_pose: tuple[Path, ...] = (),
    like: str = "source",
    frame: FrameName = "auto",
    paste_back: bool = False,
    estimate: bool = False,
) -> None:
    """Draw a person in other poses.

    Args:
        person: A photograph, or several of one person, or an appearance code that pocold encode wrote (.safetensors).
        pose: Poses: names such as walk:side (pocold pose --sheet poses.png draws them all), or files of DensePose or
            keypoints.
        output: PNG file to write; of several pictures each gets the name of its pose, in this folder or behind this
            name. An existing file is replaced if a drawing command wrote it.
        sheet: Also draw photograph, poses and pictures into this PNG file.
        source_pose: DensePose map of each photograph; STEM.iuv.png beside it if not given. Models with a surface hint
            need it, with U and V.
        like: Whose build and place named poses get: the person's own ("source", the default, if the photograph's map
            is known), the average body's ("none"), or those of a DensePose file. Poses with a crop, such as
            wave:30:upper, are drawn as they say.
        frame: How photographs and poses of another size are brought to the model's: fitted in (pad), cropped,
            stretched, or (photographs) cut out around the person. auto cuts out where a map had to be found, else pads.
        paste_back: Cut the person out of the photograph, and put what is drawn back into the whole of it. Poses are
            placed in the photograph: named ones, fitted, or files of its size.
        estimate: Draw nothing; print how long it would take and how much memory, measured on this machine by beginning
            the first picture. -o can be left out.
    """
    if estimate:
        from pocold.apps.estimate import run_estimate

        return run_estimate(person, pose, output, sheet, source_pose, like, frame, paste_back, how)

    from pocold.apps.transfer import run_transfer

    return run_transfer(person, pose, output, sheet, source_pose, like, frame, paste_back, how)


def encode(
    person: Positional[tuple[Path, ...]],
    how: OmitArgPrefixes[ModelOptions],
    output: Output = None,
    source_pose: tuple[Path, ...] = (),
    parts: tuple[str, ...] = (),
    frame: FrameName = "auto",
) -> None:
    """Compute the appearance code of a person, for any number of poses with pocold transfer.

    Of a model with a surface hint the code holds the photograph itself, and its map.

    Args:
        person: A photograph, or several of one person.
        output: File to write, ending in .safetensors.
        source_pose: DensePose map of each photograph; STEM.iuv.png beside it if not given.
        parts: Only these parts of the body, such as top or legs.
        frame: How photographs of another size are brought to the model's.
    """
    from pocold.apps.transfer import run_encode

    run_encode(person, output, source_pose, parts, frame, how)


def edit(
    person: Positional[Path],
    like: Path,
    how: OmitArgPrefixes[DrawOptions],
    output: Output = None,
    region: tuple[str, ...] = (),
    mask: Path | None = None,
    source_pose: Path | None = None,
    like_pose: Path | None = None,
    garments: Path | None = None,
    grow: int = 0,
    feather: int = 2,
) -> None:
    """Draw one region of a photograph in another person's appearance. All other pixels stay as they are, to the bit.

    A photograph of another size than the model's is cut out around the person, and what is drawn is put back.

    Args:
        person: The photograph. Its DensePose map is needed.
        like: Photograph or appearance code of whose clothes the region gets. Of a photograph with a map only what
            covers the same parts of the body is taken, of others the whole appearance.
        output: PNG file to write. An existing file is replaced if a drawing command wrote it.
        region: What may change: garments (top, trousers, skirt, dress, shoes, outerwear, socks, hair) where there is a
            garment map, or parts of the body (top, legs, feet, lower_arms, ...); garment:top and parts:top say which.
        mask: Instead, a picture that is white where pixels may change, black elsewhere.
        source_pose: DensePose map of the photograph; STEM.iuv.png beside it if not given.
        like_pose: DensePose map of the other one, likewise.
        garments: Garment map of the photograph; STEM.garments.png beside it if not given.
        grow: Pixels by which the region is widened, such as for clothes that stand off the body.
        feather: Pixels inside the region over which it blends into the photograph.
    """
    from pocold.apps.edit import run_edit

    run_edit(person, like, output, region, mask, (source_pose, like_pose), garments, grow, feather, how)


def mix(
    people: Positional[tuple[Path, Path]],
    how: OmitArgPrefixes[DrawOptions],
    output: Output = None,
    pose: tuple[str, ...] = (),
    parts: tuple[str, ...] = (),
    weight: float | None = None,
    grid: str | None = None,
    source_pose: tuple[Path, ...] = (),
    like: str = "source",
    frame: FrameName = "auto",
) -> None:
    """Draw a mixture of two people: the first with parts of the second, or anything between the two.

    Args:
        people: Two photographs, or appearance codes.
        output: PNG file to write, see pocold transfer; or a .safetensors file for the mixed code alone, which pocold
            transfer draws.
        pose: Poses, see pocold transfer; the first person's own if not given.
        parts: What to take of the second person, such as top, or legs feet. Both photographs need DensePose maps.
        weight: Share of the second person, 0 to 1: in these parts (1 if not given), or everywhere (0.5).
        grid: ROWSxCOLUMNS, such as 3x5: a sheet whose rows go from the first person to the second, and its columns from
            one named pose to another (--pose walk:front walk:side).
        source_pose: DensePose maps of the two photographs; STEM.iuv.png beside each if not given.
        like: Whose build and place named poses get, see pocold transfer; source is the first person.
        frame: How photographs and poses of another size are brought to the model's, see pocold transfer.
    """
    from pocold.apps.mix import run_mix

    run_mix(people, output, pose, parts, weight, grid, source_pose, like, frame, how)


def animate(
    person: Positional[tuple[Path, ...]],
    how: OmitArgPrefixes[DrawOptions],
    output: Output = None,
    turn: bool = False,
    walk: bool = False,
    between: tuple[str, ...] = (),
    poses: Path | None = None,
    pose: str = "relaxed",
    view: str = "quarter",
    fps: float = 12.0,
    frames: int | None = None,
    seconds: float | None = None,
    loop: bool = True,
    with_map: bool = False,
    noise: Literal["shared", "surface", "fresh"] = "shared",
    steady: float = STEADY,
    source_pose: tuple[Path, ...] = (),
    like: str = "source",
    frame: FrameName = "auto",
) -> None:
    """Draw a person who moves: turns, walks, goes from pose to pose, or follows maps, keypoints or a video.

    The person is encoded once, and all frames begin with the same noise. Every frame takes as long as a picture of
    pocold transfer.

    Args:
        person: A photograph, or several of one person, or an appearance code (.safetensors).
        output: File to write: .mp4 (H.264), .webm (VP9), .gif or .webp, or a folder for frames as PNG. An existing one
            is replaced if this command wrote it. Videos need pip install 'pocold[video]'.
        turn: One full turn on the spot, in the pose of --pose; 3 seconds if not told otherwise.
        walk: A walk on the spot, seen from --view; two steps take 1.2 seconds, and are drawn once.
        between: Named poses to go through, such as stand:front wave:30 hips:back; a second from each to the next.
        poses: A folder of DensePose maps, keypoint files or pictures of somebody, one for each frame; or a video of
            somebody, or of maps in a visualiser's colours.
        pose: Named pose of --turn; its view is where the turn begins.
        view: View of --walk: degrees, or front, quarter, side, back, ...
        fps: Frames per second.
        frames: Number of frames.
        seconds: Instead, how long it takes.
        loop: Let --between end where it began, so that it can be played again and again.
        with_map: Show the maps beside the pictures.
        noise: Where each frame begins: shared is one noise for all, surface one that moves with the body, fresh another
            one for each frame (which flickers).
        steady: How much of the frame before a point of the body keeps, from 0 (drawn anew in each frame) to below 1;
            points that a photograph shows keep half as much.
        source_pose: DensePose map of each photograph; STEM.iuv.png beside it if not given.
        like: Whose build and place the body has, see pocold transfer.
        frame: How photographs and maps of another size are brought to the model's, see pocold transfer.
    """
    from pocold.apps.animate.command import run_animate
    from pocold.apps.animate.motions import Asked, Length

    asked = Asked(turn, walk, between, poses, pose, view, Length(fps, frames, seconds), loop)
    run_animate(person, output, asked, with_map, noise, source_pose, like, frame, how, steady=steady)


def bulk(
    jobs: Positional[Path],
    how: OmitArgPrefixes[DrawOptions],
    output: Output = None,
    pose: tuple[str, ...] = (),
    format: Literal["files", "webdataset"] = "files",
    shards: int = 1000,
    workers: int | None = None,
    threads: int = 1,
    ray: str | None = None,
    like: str = "source",
    frame: FrameName = "auto",
) -> None:
    """Draw as many pictures as a file has rows; see docs/bulk.md. Killed, the same command goes on where it was.

    A row that cannot be drawn stops nothing: it is told in errors.jsonl, and the exit code is 1.

    Args:
        jobs: A file .csv, .jsonl or .parquet with columns photo and pose, and if need be seed, source_pose and output;
            paths begin at its folder. Or a folder of photographs, each drawn in all poses of --pose.
        output: Folder for the pictures, manifest.jsonl and errors.jsonl: a new or an empty one, or that of an earlier
            run. --overwrite removes what that run left.
        pose: Poses of a folder's photographs, see pocold transfer.
        format: Pictures as files, or with their rows as WebDataset shards (tar).
        shards: Rows of a shard.
        workers: Processes that draw; 1 if not given, and with --ray one for each GPU or core of the cluster.
        threads: Of each process. Pictures drawn with another number can differ in their last bits.
        ray: Draw on a Ray cluster: its address, or local for one in this machine.
        like: Whose build and place named poses get, see pocold transfer.
        frame: How photographs and poses of another size are brought to the model's, see pocold transfer.
    """
    from pocold.apps.bulk.run import run_bulk

    run_bulk(jobs, output, pose, format, shards, workers, ray, threads, like, frame, how)


def show(picture: Positional[Path], json: bool = False) -> None:
    """Print what a drawn picture or animation says of itself: model, seed, settings, how to draw it again.

    Args:
        picture: PNG file, animation, or folder of frames.
        json: As JSON.
    """
    from json import dumps

    from pocold.apps.drawing.results import as_lines, describe

    settings = describe(picture)
    print(dumps(settings, indent=2) if json else "\n".join(as_lines(settings)))
