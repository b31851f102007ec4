"""Configs as TOML files and as flags, and what a resumed run may change of its config."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from pocold.imaging.files import atomic_write

CONFIG_FILE = "config.toml"  # in the folder of a run


def read_config(cls: type[Any], path: Path) -> Any:
    """A config from a TOML file; fields that it does not name have their defaults.

    Raises:
        ValueError: for a file that cannot be read, unknown sections or keys, or values of the wrong type.
    """
    return from_mapping(cls, read_toml(path), str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file says; ValueError for a file that cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no such config: {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path} cannot be read as TOML: {error}") from None


def from_mapping(cls: type[Any], content: Mapping[str, Any], origin: str, section: str = "") -> Any:
    """A config from nested mappings, as :func:`read_config`."""
    hints = get_type_hints(cls)
    unknown = sorted(content.keys() - hints.keys())
    if unknown:
        where = f"[{section}]" if section else "the top level"
        raise ValueError(f"{origin}: unknown keys in {where}: {', '.join(unknown)}; known are {', '.join(hints)}")
    values: dict[str, Any] = {}
    for name, value in content.items():
        path = f"{section}.{name}" if section else name
        if is_dataclass(hints[name]):
            if not isinstance(value, Mapping):
                raise ValueError(f"{origin}: expected a table [{path}], got {value!r}")
            values[name] = from_mapping(hints[name], value, origin, path)
        else:
            values[name] = _converted(hints[name], value, origin, path)
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None


def _converted(hint: Any, value: Any, origin: str, path: str) -> Any:
    """``value`` as the type that the field has; TOML knows no tuples, and writes 1.0 as 1."""
    options = get_args(hint)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    if getattr(hint, "__origin__", None) is tuple and isinstance(value, list):
        kinds = options[:1] * len(value) if options[1:] == (...,) else options
        if len(kinds) == len(value):
            return tuple(_converted(kind, v, origin, path) for kind, v in zip(kinds, value, strict=True))
    elif getattr(hint, "__origin__", None) is Literal:
        if value in options:
            return value
    elif options and not isinstance(value, list):  # X | Y
        for option in options:
            try:
                return _converted(option, value, origin, path)
            except ValueError:
                pass
    raise ValueError(f"{origin}: {path} must be {_named(hint)}, got {value!r}")


def _named(hint: Any) -> str:
    if getattr(hint, "__origin__", None) is Literal:
        return "one of " + ", ".join(repr(option) for option in get_args(hint))
    if get_args(hint) and getattr(hint, "__origin__", None) is not tuple:
        return " or ".join(_named(option) for option in get_args(hint) if option is not type(None))
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(hint, str(hint))


def to_toml(config: Any, comment: str = "") -> str:
    """A config as TOML that :func:`read_config` reads back; fields that are None are left out."""
    lines = [f"# {line}" for line in comment.splitlines()]
    for section in fields(config):
        lines += ["", f"[{section.name}]"] if lines else [f"[{section.name}]"]
        for name, value in asdict(getattr(config, section.name)).items():
            if value is not None:
                lines.append(f"{name} = {_toml_value(value)}")
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)


# What may differ when a run goes on: nothing that decides which numbers come out of a step.
_MAY_CHANGE = {
    "run": {
        "output", "max_steps", "max_minutes", "device", "fsdp", "gradient_checkpointing", "compile", "checkpoint_every",
        "keep_checkpoints", "log_every", "max_bad_steps", "export_precision",
    },
    "data": {"path", "latents", "workers", "validation_split"},
    "model": {"vae", "init"},
    "distillation": {"teacher"},  # its weights are held to be the same
    "pairs": {"folder", "pipeline", "at_once", "photographs"},  # the pairs themselves say what they were made of
    "validation": {"every", "pairs", "preview_pairs", "steps", "pose_guidance_scale", "appearance_guidance_scale"},
    "sampling": {"scheduler", "steps", "pose_guidance_scale", "appearance_guidance_scale"},
}  # fmt: skip


def check_same_run(config: Any, saved: Path) -> None:
    """Whether a run in this folder may go on with ``config``.

    Raises:
        ValueError: naming the settings that differ from those it was begun with.
    """
    before = read_config(type(config), saved)
    different = [
        f"{section.name}.{name} = {getattr(getattr(config, section.name), name)!r} instead of {value!r}"
        for section in fields(config)
        for name, value in vars(getattr(before, section.name)).items()
        if name not in _MAY_CHANGE.get(section.name, ()) and getattr(getattr(config, section.name), name) != value
    ]
    if different:
        raise ValueError(
            f"{saved.parent} holds a run with other settings: {'; '.join(different)}; "
            "choose another run.output, or give the settings in its config.toml to continue it"
        )


def save_config(config: Any, path: Path, comment: str) -> None:
    """Write the resolved config."""
    with atomic_write(path) as temporary:
        temporary.write_text(to_toml(config, comment), encoding="utf-8")


def parse_flags(cls: type[Any], default: Any, flags: Sequence[str], prog: str) -> Any:
    """Flags such as ``--run.max-steps 10`` over ``default``; prints help and exits, if asked.

    Raises:
        ValueError: for a flag that there is not, or a value that a field cannot have.
    """
    import tyro

    from pocold.usage import option_names, told_in_one_line

    with told_in_one_line(prog, lambda: list(option_names(cls))):
        return tyro.cli(cls, default=default, args=flags, prog=prog)
