"""Reading and writing files: a reader never sees half of one, a broken one never ends in a traceback."""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 64_000_000  # an 8000 x 8000 photograph; more is a mistake or an attack

# What Pillow raises for files that are broken or no pictures (the warning, where warnings are made errors).
PICTURE_ERRORS = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block ends well, remove it otherwise.

    The temporary name ends like ``path`` does, because writers choose the format by it. A link stays a link: what it
    points to is written. What is no regular file (a pipe, a device such as ``/dev/stdout``) is never replaced: the
    finished content is copied into it.

    Raises:
        ValueError: if the folder of ``path`` does not exist, or ``path`` is a folder.
    """
    path = _through_links(path)
    if path.is_dir():
        raise ValueError(f"expected a file name to write to, got the folder {path}")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: the folder {path.parent} does not exist; create it first")
    if path.exists() and not path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder, f"content{path.suffix}")
            yield temporary
            with temporary.open("rb") as content, path.open("wb") as device:
                shutil.copyfileobj(content, device)
        return
    temporary = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(6)}{path.suffix}")
    try:
        # created like any other file of this user, unlike those of mkstemp, which nobody else may read
        temporary.open("xb").close()
        yield temporary
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())  # else a crash after the rename can leave an empty file under the final name
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; put it in place of ``path`` if the block ends well.

    A folder that stood there before is replaced only then, as a whole. A link to a folder stays a link.

    Raises:
        ValueError: if the folder above ``path`` does not exist, or ``path`` is a file.
    """
    path = _through_links(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"expected a folder to write to, got the file {path}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"cannot write {path}: the folder {path.absolute().parent} does not exist; create it first")
    temporary = Path(tempfile.mkdtemp(dir=path.absolute().parent, prefix=f".{path.name}."))
    try:
        content, previous = temporary / "new", temporary / "previous"
        content.mkdir()  # not the private folder itself: this one gets the user's usual permissions
        yield content
        _usual_permissions(content)
        if path.exists():
            path.rename(previous)
        try:
            content.rename(path)
        except BaseException:
            if previous.exists():  # put back what stood there, or the clean-up would take it along
                previous.rename(path)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _through_links(path: str | os.PathLike[str]) -> Path:
    """What a link points to, whether it exists or not; any other path as it is.

    Raises:
        ValueError: for links in a circle.
    """
    path = Path(path)
    if not path.is_symlink():
        return path
    try:
        return path.resolve(strict=path.exists())
    except (OSError, RuntimeError) as error:
        raise ValueError(f"cannot write {path}: it is a link that leads nowhere: {error}") from None


def _usual_permissions(folder: Path) -> None:
    """Give files that only their owner may read, as safetensors writes them, the permissions of the user's other files.

    A package or a shared folder of weights that others cannot read is of no use to them.
    """
    probe = folder / f".{secrets.token_hex(6)}"
    probe.touch()
    usual = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode | usual)


def check_replaceable(
    paths: Iterable[Path], sources: Iterable[Path], overwrite: bool, is_ours: Callable[[Path], bool]
) -> None:
    """Refuse to replace what would be missed: an input, or a file that the command did not write.

    What is no regular file, such as a pipe or a device, is never replaced but written into, and so passes.

    Args:
        paths: what will be written.
        sources: what is read.
        overwrite: whether all may be replaced.
        is_ours: tells the files that may be replaced anyway.

    Raises:
        ValueError: naming the file, unless ``overwrite``.
    """
    read = list(sources)
    for path in paths:
        if overwrite or not path.exists() or not (path.is_file() or path.is_dir()):
            continue
        if any(source.exists() and path.samefile(source) for source in read):
            raise ValueError(f"{path} is an input of this command; write elsewhere, or replace it with --overwrite")
        if not is_ours(path):
            raise ValueError(
                f"{path} exists and was not written by this command; write elsewhere, or replace it with --overwrite"
            )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; ValueError if it is missing, broken, or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no such file: {path}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def origin(path: Path) -> dict[str, str]:
    """A file's name, without its folder, and the SHA-256 of its content."""
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
