"""Hooks of the documentation's site: pages that lie beside ``docs/`` become part of it, and links find them."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
BESIDE = {
    "MODEL_CARD.md": "model-card.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/results.md": "benchmarks.md",
}


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages beside ``docs/``, their links as seen from within it."""
    for origin, name in BESIDE.items():
        text = (ROOT / origin).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_as_in_docs(text, Path(origin).parent)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to the pages beside ``docs/`` lead to their copies; those to sources name the file alone."""
    for origin, name in BESIDE.items():
        markdown = markdown.replace(f"](../{origin}", f"]({name}")
    return re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", markdown)


def _as_in_docs(text: str, folder: Path) -> str:
    """The text of a page in ``folder`` (relative to the root) with its links as if it lay in ``docs/``."""

    def moved(match: re.Match[str]) -> str:
        target = match[2]
        if "://" in target or target.startswith("#"):
            return match[0]
        path = (ROOT / folder / target).resolve().relative_to(ROOT).as_posix()
        inside = path.removeprefix("docs/")
        return f"{match[1]}({inside if inside != path else f'../{path}'})"

    return re.sub(r"(\[[^\]]*\])\(([^)\s]+)\)", moved, text)
