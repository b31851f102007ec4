"""What all commands have in common: flags that mean the same everywhere, and mistakes that are told in one line.

- ``-o``, ``--output``: what is written, a file or a folder. ``--out`` is the older name of some, and still understood.
- ``--overwrite``: replace an existing file even if it is an input, or was not written by the command.
- ``--json``: print a report for programs instead of one for people.
- ``--device``: where networks compute; ``auto`` takes a GPU where there is one.
- ``--precision``: of the networks; ``auto`` is fp32 on a CPU, and what the folder has on a GPU.
- ``--seed``: of all that is drawn at random.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from tyro.conf import Positional, arg

OUTPUT = arg(aliases=["-o"])  # Annotated[Path, OUTPUT]
OUTPUT_ONCE_OUT = arg(aliases=["-o", "--out"])
Precision = Literal["auto", "fp32", "bf16", "fp16"]
EngineName = Literal["auto", "torch", "openvino", "compile"]
_POSITIONAL = get_args(Positional[int])[1]
_FEW = 12  # options that fit into the line
_KINDS = {"INT": "a whole number", "FLOAT": "a number"}
Names = Callable[[], Sequence[str]]


@contextmanager
def told_in_one_line(prog: str, options: Names, commands: Sequence[str] = ()) -> Iterator[None]:
    """A block in which tyro raises a ValueError with one sentence, where it else draws a box and exits.

    Args:
        prog: what is called, such as ``pocold transfer``.
        options: gives the options that it has; asked only after a mistake.
        commands: of it, one of which has to be named.
    """
    try:
        # private, and newer than the oldest tyro that is allowed: without it there is the box, as before
        from tyro._errors import on_parse_error
    except ImportError:
        yield
        return

    def tell(event: Any) -> None:
        try:
            sentence = _sentence(event, prog, options, commands)
        except AttributeError:  # another tyro, whose events have other fields
            return
        if sentence is not None:
            raise ValueError(sentence)

    with on_parse_error(tell):
        yield


def option_names(takes: Callable[..., Any], prefix: str = "") -> Iterator[str]:
    """The options of a command or a config: ``--steps``, ``--run.max-steps``; and ``--no-json``, of what is a switch.

    Args:
        takes: a function, whose dataclasses give their options without a prefix; or a dataclass of dataclasses.
        prefix: of all of them.
    """
    hints = get_type_hints(takes, include_extras=True)
    names = (
        [field.name for field in fields(takes)] if is_dataclass(takes) else list(inspect.signature(takes).parameters)
    )
    for name in names:
        plain, *notes = get_args(hints[name]) if get_origin(hints[name]) is Annotated else (hints[name],)
        flag = name.replace("_", "-")
        if is_dataclass(plain):
            assert isinstance(plain, type)
            yield from option_names(plain, f"{prefix}{flag}." if is_dataclass(takes) else prefix)
        elif _POSITIONAL not in notes:
            yield f"--{prefix}{flag}"
            if plain is bool:
                yield f"--{prefix}no-{flag}"


def closest(word: str, known: Sequence[str]) -> str:
    """``"; did you mean WORD?"`` of the known word that looks most like it; empty if none does."""
    found = get_close_matches(word, known, 1, 0.6)
    return f"; did you mean {found[0]}?" if found else ""


def _sentence(event: Any, prog: str, options: Names, commands: Sequence[str]) -> str | None:
    """What a mistake that tyro found should say; None for a kind that is not known here."""
    match type(event).__name__:
        case "MissingSubcommand":
            return f"{prog} expects a command: {', '.join(commands)}"
        case "UnrecognizedArgs":
            return _unknown(event.tokens, prog, options, commands)
        case "MissingArgs":
            if any(token.startswith("-") for token in event.unrecognized_tokens):  # most likely that was meant
                return _unknown(event.unrecognized_tokens, prog, options, commands)
            return f"{prog} expects {', '.join(_described(one.arg) for one in event.missing_arguments)}"
        case "BadValue":
            count = event.argument.lowered.nargs
            several = isinstance(count, int) and count > 1
            return f"{_name(event.argument)}: expected " + (
                f"{count} values, got fewer" if several else "a value, got none"
            )
        case "InvalidChoice":
            choices, value = event.choices, event.value
            return (
                f"{_name(event.argument)}: expected one of {', '.join(choices)}, got {value!r}{closest(value, choices)}"
            )
        case "InstantiationFailure":
            return _refused(event.argument, event.message)
    return None


def _unknown(tokens: Sequence[str], prog: str, options: Names, commands: Sequence[str]) -> str:
    """Of words that nothing takes: the command, or the first option among them, or else the first word."""
    flag = next((token.partition("=")[0] for token in tokens if token.startswith("-") and len(token) > 1), None)
    if commands:
        if flag == tokens[0]:
            return f"{prog} expects a command before {flag}: {', '.join(commands)}"
        expected = closest(tokens[0], commands) or f": expected {', '.join(commands)}"
        return f"{prog} has no command {tokens[0]!r}{expected}"
    if flag is None:
        return f"{prog}: {tokens[0]!r} is one argument too many"
    known = options()
    few = f"; it has {', '.join(known)}" if len(known) <= _FEW else f"; {prog} --help shows all"
    return f"{prog} has no option {flag}{closest(flag, known) or few}"


def _described(argument: Any) -> str:
    """``--like PATH (Photograph of whose clothes the region gets)``: an argument and the first sentence about it."""
    called = _name(argument) if argument.is_positional() else f"{_name(argument)} {argument.lowered.metavar}"
    about = re.split(r"(?<=[.:;])\s", " ".join(str(argument.field.helptext or "").split()))[0].rstrip(".:;")
    return f"{called} ({about})" if about else called


def _refused(argument: Any, message: str) -> str:
    """Of a value that cannot be read as what it should be; or of all values, what was made of them said why."""
    said = " ".join(message.split())
    if argument is None:
        return said
    came = re.search(r"\['([^']*)'\]|: '([^']*)'$", said)
    kind = str(argument.lowered.metavar).replace("{None}|", "")
    return f"{_name(argument)}: expected {_KINDS.get(kind, kind)}, " + (
        said if came is None else f"got {came[1] or came[2] or ''!r}"
    )


def _name(argument: Any) -> str:
    """``--output`` of an option, else ``PEOPLE``."""
    if argument.is_positional():
        return argument.field.intern_name.upper()
    return next(name for name in reversed(argument.lowered.name_or_flags) if name.startswith("--"))
