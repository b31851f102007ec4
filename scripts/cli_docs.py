"""Writes docs/cli.md from the commands' own help: python scripts/cli_docs.py"""

import os
import subprocess
import sys
from pathlib import Path

SUBCOMMANDS = {"data": ("check", "shards", "latents")}
TARGET = Path(__file__).parent.parent / "docs" / "cli.md"


def command_help(*command: str) -> str:
    """What ``pocold COMMAND --help`` prints, 100 columns wide and without colours."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    printed = subprocess.run(
        [sys.executable, "-m", "pocold.cli", *command, "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return "\n".join(line.rstrip() for line in printed.strip().splitlines())


def cli_docs() -> str:
    from pocold.cli import COMMANDS

    parts = ["# The command line", "Written by `python scripts/cli_docs.py` from the commands' own help."]
    parts += [f"## pocold\n\n```\n{command_help()}\n```"]
    for name in COMMANDS:
        for words in ((name,), *((name, below) for below in SUBCOMMANDS.get(name, ()))):
            parts.append(f"## pocold {' '.join(words)}\n\n```\n{command_help(*words)}\n```")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    TARGET.write_text(cli_docs(), encoding="utf-8")
