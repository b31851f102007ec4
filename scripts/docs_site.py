"""Hooks of the documentation's site: pages that lie beside ``docs/`` become part of it, and links find them."""

import logging
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

# Docstrings describe arguments that belong together in one entry ("height, width: ..."). That is the style here, so
# what is said of such an entry is no error; a single name that the signature lacks still is.
JOINT_NAMES = re.compile(r"'\w+(, \w+)+'")
ROLE = re.compile(r":(?:class|func|meth|attr|data|mod):<code>~?([^<]+)</code>")


def on_startup(**_: Any) -> None:
    """Let the log of the docstrings' reader pass without what it says of joint names."""
    logging.getLogger("mkdocs.plugins.griffe").addFilter(lambda record: not JOINT_NAMES.search(record.getMessage()))


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages beside ``docs/``, their links as seen from within it."""
    for origin, name in BESIDE.items():
        text = (ROOT / origin).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_as_in_docs(text, Path(origin).parent)))
    return files


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Links to the pages beside ``docs/`` lead to their copies; those to sources name the file alone.

    Links whose text is a file's name get the page's title in its place.
    """
    for origin, name in BESIDE.items():
        markdown = markdown.replace(f"](../{origin}", f"]({name}")
    markdown = re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", markdown)
    titles = _titles(config.nav)

    def titled(match: re.Match[str]) -> str:
        return f"[{titles[match[1]]}]({match[1]}{match[2]})" if match[1] in titles else match[0]

    return re.sub(r"\[[\w/-]+\.md\]\(([\w-]+\.md)(#[^)]*|)\)", titled, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """References in docstrings (``:class:`pocold.x.Y```) are links to what the page has, and names otherwise."""
    known = re.findall(r'<h\d id="(pocold\.[^"]+)"', html)

    def linked(match: re.Match[str]) -> str:
        found = [name for name in known if f".{name}".endswith(f".{match[1]}")]
        text = f"<code>{match[1]}</code>"
        return f'<a href="#{found[0]}">{text}</a>' if len(found) == 1 else text

    return ROLE.sub(linked, html)


def _titles(nav: Any) -> dict[str, str]:
    """The titles of pages in the navigation by the pages' names."""
    if isinstance(nav, list):
        return {name: title for entry in nav for name, title in _titles(entry).items()}
    title, inside = next(iter(nav.items()))
    return {inside: title} if isinstance(inside, str) else _titles(inside)


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
