"""What ComfyUI itself offers to nodes: progress, interruption, its device, its folder of inputs.

Its modules are looked up, never imported: within ComfyUI they are loaded already, elsewhere there is nothing to ask.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

_PARTS = 100  # of a picture, for the bar


def progress(total: int) -> Callable[[float], None]:
    """A bar on the running node.

    Args:
        total: pictures.

    Returns:
        What is told the number of pictures done so far. It raises ComfyUI's own exception once the user has asked to
        stop.
    """
    utils, management = sys.modules.get("comfy.utils"), sys.modules.get("comfy.model_management")
    bar = None if utils is None else utils.ProgressBar(total * _PARTS)

    def tell(done: float) -> None:
        if management is not None:
            management.throw_exception_if_processing_interrupted()
        if bar is not None:
            bar.update_absolute(round(done * _PARTS))

    tell(0)
    return tell


def device() -> str:
    """The device that ComfyUI computes on; ``auto`` elsewhere."""
    management = sys.modules.get("comfy.model_management")
    return "auto" if management is None else str(management.get_torch_device())


def find_path(text: str) -> Path:
    """A path as typed, with or without quotes; a relative one lies in ComfyUI's folder of inputs.

    Raises:
        ValueError: for no text, or if nothing is there.
    """
    typed = text.strip().strip("\"'")
    if not typed:
        raise ValueError("path: expected a file or a folder, got nothing")
    folders = sys.modules.get("folder_paths")
    path = Path(folders.get_input_directory() if folders is not None else "") / Path(typed).expanduser()
    if not path.exists():
        raise ValueError(f"path: no such file or folder: {path}")
    return path


def state(path: Path) -> str:
    """A text that changes when the file, or what lies in the folder, is written anew; ``missing`` if there is none."""
    if not path.exists():
        return "missing"
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    seen = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(seen).encode()).hexdigest()
