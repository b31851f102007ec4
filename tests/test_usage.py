"""Mistakes on the command line: one line each, exit code 2, and in it what was expected, what came, what to do."""

import inspect
import typing
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path

import pytest
import tyro
from tyro.conf import OmitArgPrefixes, Positional

from pocold.cli import COMMANDS, data, main
from pocold.data.commands import check, shards
from pocold.training.commands import latents
from pocold.training.config import TrainConfig
from pocold.usage import Precision, closest, option_names, told_in_one_line

CONFIG = Path(__file__).parent.parent / "configs" / "toy.toml"


def mistake(capsys, *words):
    """The line that a command ends with."""
    with pytest.raises(SystemExit) as stopped:
        main(words)
    said = capsys.readouterr()
    assert (stopped.value.code, said.out) == (2, "")
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("pocold: error: ")
    return said.err.removeprefix("pocold: error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("demo --stpes 3", "pocold demo has no option --stpes; did you mean --steps?"),
        ("demo --stpes=3", "pocold demo has no option --stpes; did you mean --steps?"),
        ("transfer a.png --overwite", "pocold transfer has no option --overwite; did you mean --overwrite?"),
        ("transfer a.png --no-jsn", "pocold transfer has no option --no-jsn; did you mean --no-json?"),
        ("show a.png --quux", "pocold show has no option --quux; it has --json, --no-json"),
        ("transfer a.png --quux", "pocold transfer has no option --quux; pocold transfer --help shows all"),
        ("convert a -o b --vaee c", "pocold convert has no option --vaee; did you mean --vae?"),
        ("data check a --layuot folder", "pocold data check has no option --layuot; did you mean --layout?"),
        ("show a.png b.png", "pocold show: 'b.png' is one argument too many"),
        (
            "edit a.png",
            "pocold edit expects --like PATH (Photograph or appearance code of whose clothes the region gets)",
        ),
        ("mix a.png", "PEOPLE: expected 2 values, got fewer"),
        ("pose walk -o", "--output: expected a value, got none"),
        ("transfer a.png --frame foo", "--frame: expected one of auto, pad, crop, stretch, person, got 'foo'"),
        (
            "transfer a.png --frame crp",
            "--frame: expected one of auto, pad, crop, stretch, person, got 'crp'; did you mean crop?",
        ),
        ("demo --steps many", "--steps: expected a whole number, got 'many'"),
        ("transfer a.png --eta many", "--eta: expected a number, got 'many'"),
        ("trasfer a.png", "pocold has no command 'trasfer'; did you mean transfer?"),
        ("data chek a", "pocold data has no command 'chek'; did you mean check?"),
        ("data", "pocold data expects a command: check, shards, latents"),
    ],
)
def test_the_line_says_what_to_do(capsys, words, expected):
    assert mistake(capsys, *words.split()) == expected


def test_all_that_is_missing_is_told_with_what_it_is(capsys):
    said = mistake(capsys, "evaluate")
    assert said.startswith("pocold evaluate expects MODEL (Pipeline folder), DATA (The data set), --output")
    assert said.endswith("PATH (Folder for report.json, report.md, sheet.png and the pictures)")


def test_without_a_known_command_all_are_named(capsys):
    names = ", ".join(COMMANDS)
    assert mistake(capsys) == f"pocold expects a command: {names}"
    assert mistake(capsys, "quux") == f"pocold has no command 'quux': expected {names}"
    assert mistake(capsys, "--steps", "3") == f"pocold expects a command before --steps: {names}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--run.max-stps", "3"], "pocold train {config} has no option --run.max-stps; did you mean --run.max-steps?"),
        (["--run.max-steps", "many"], "--run.max-steps: expected a whole number, got 'many'"),
        (["--run.max-steps", "-5"], "run.max_steps must be at least 1, got -5"),
        (["extra.toml"], "pocold train {config}: 'extra.toml' is one argument too many"),
    ],
)
def test_the_flags_of_a_config_likewise(capsys, words, expected):
    assert mistake(capsys, "train", str(CONFIG), *words) == expected.format(config=CONFIG)


@dataclass
class Inner:
    max_size: int = 1
    loud: bool = False


@dataclass
class Outer:
    run: Inner = field(default_factory=Inner)


def command(name: Positional[str], how: OmitArgPrefixes[Inner], dry_run: bool = False) -> None:
    """Does nothing."""


def test_the_names_of_options():
    assert list(option_names(command)) == ["--max-size", "--loud", "--no-loud", "--dry-run", "--no-dry-run"]
    assert list(option_names(Outer)) == ["--run.max-size", "--run.loud", "--run.no-loud"]


@pytest.mark.parametrize(
    "takes", [*(takes for takes in COMMANDS.values() if takes is not data), check, shards, latents, TrainConfig]
)
def test_the_options_that_are_suggested_exist(takes, capsys):
    with pytest.raises(SystemExit):
        tyro.cli(takes, args=["--help"], prog="pocold")
    words = set(capsys.readouterr().out.replace(",", " ").split())
    assert set(option_names(takes)) <= words


LANGUAGE = {  # flag -> type, default
    "overwrite": (bool, False),
    "json": (bool, False),
    "device": (str, "auto"),
    "seed": (int, 0),
}
DRAWING = {"output", "overwrite", "json", "device", "precision", "seed"}
SPOKEN = {
    "demo": {"output", "overwrite", "device", "seed"},
    **dict.fromkeys(("transfer", "edit", "mix", "animate", "bulk"), DRAWING),
    "encode": DRAWING - {"seed"},
    "show": {"json"},
    "pose": {"output", "overwrite", "device"},
    "ui": {"device", "precision"},
    "serve": {"device", "precision"},
    "synth": {"output", "seed"},
    "evaluate": {"output", "json", "device", "precision", "seed"},
    "compare": {"output", "json", "overwrite"},
    "convert": {"output", "precision"},
    "export-estimator": {"output", "overwrite"},
    "data check": {"json", "overwrite"},
    "data shards": {"output"},
    "data latents": {"output", "device"},
}


def flags_of(takes):
    """Name, and type, notes and default, of all arguments of a command."""
    hints = typing.get_type_hints(takes, include_extras=True)
    for name, parameter in inspect.signature(takes).parameters.items():
        annotated = typing.get_origin(hints[name]) is typing.Annotated
        kind, *notes = typing.get_args(hints[name]) if annotated else (hints[name],)
        if is_dataclass(kind):
            yield from flags_of(kind)
        else:
            yield name, (kind, notes, parameter.default)


@pytest.mark.parametrize("name", SPOKEN)
def test_one_language_of_flags(name):
    below = {"data check": check, "data shards": shards, "data latents": latents}
    flags = dict(flags_of(below.get(name) or COMMANDS[name]))
    assert flags.keys() & {"output", "out", *LANGUAGE, "precision"} == SPOKEN[name]
    for flag in SPOKEN[name] & LANGUAGE.keys():
        kind, _, default = flags[flag]
        assert (kind, default) == LANGUAGE[flag]
    if "precision" in flags and name != "convert":  # there it is what is written
        assert (flags["precision"][0], flags["precision"][2]) == (Precision, "auto")
    if "output" in flags:
        assert any("-o" in (getattr(note, "aliases", None) or ()) for note in flags["output"][1])


def test_no_command_is_left_out():
    # the last have configs
    unspoken = {
        "data",
        "train",
        "distill",
        "train-autoencoder",
        "train-estimator",
        "train-refiner",
    }
    assert {name for name in SPOKEN if not name.startswith("data ")} == COMMANDS.keys() - unspoken


@pytest.mark.parametrize("spelling", ["-o", "--out", "--output"])
def test_older_spellings_are_understood(spelling, capsys):
    assert mistake(capsys, "compare", "nowhere", spelling, "table.md") == "no such file: nowhere"


def test_a_word_like_no_other_brings_no_suggestion():
    assert closest("--stpes", ["--steps", "--seed"]) == "; did you mean --steps?"
    assert closest("--quux", ["--steps", "--seed"]) == ""


def test_without_the_hook_the_box_is_drawn_as_ever(monkeypatch, capsys):
    import tyro._errors

    monkeypatch.delattr(tyro._errors, "on_parse_error")
    with pytest.raises(SystemExit), told_in_one_line("pocold", list):
        tyro.cli(command, args=["a", "--quux"])
    assert "--quux" in capsys.readouterr().err
