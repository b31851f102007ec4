"""Writing files so that a reader never sees half of one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block ends well, remove it otherwise.

    The temporary name ends like ``path`` does, because writers choose the format by it.

    Raises:
        ValueError: if the folder of ``path`` does not exist, or ``path`` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"expected a file name to write to, got the folder {path}")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: the folder {path.parent} does not exist; create it first")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; the result should be as readable as any other file this user writes.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())  # else a crash after the rename can leave an empty file under the final name
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; put it in place of ``path`` if the block ends well.

    A folder that stood there before is replaced only then, as a whole.

    Raises:
        ValueError: if the folder above ``path`` does not exist, or ``path`` is a file.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"expected a folder to write to, got the file {path}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"cannot write {path}: the folder {path.absolute().parent} does not exist; create it first")
    temporary = Path(tempfile.mkdtemp(dir=path.absolute().parent, prefix=f".{path.name}."))
    try:
        content, previous = temporary / "new", temporary / "previous"
        content.mkdir()  # not the private folder itself: this one gets the user's usual permissions
        yield content
        if path.exists():
            path.rename(previous)
        content.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
