"""Writing files so that a reader never sees half of one."""

import os
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
