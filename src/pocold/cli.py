"""The ``pocold`` command. Heavy imports stay inside the command functions, so that ``--help`` needs no torch."""

import sys
from collections.abc import Callable, Sequence
from typing import Any


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``pocold``; a user's mistake ends in one line on stderr and exit code 2."""
    import tyro

    from pocold.data.commands import synth
    from pocold.people.commands import pose

    commands: dict[str, Callable[..., Any]] = {"synth": synth, "pose": pose}
    try:
        tyro.extras.subcommand_cli_from_dict(commands, prog="pocold", description=__doc__, args=arguments)
    except ValueError as error:
        print(f"pocold: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
