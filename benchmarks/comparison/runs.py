"""Trains every method and every variant of the claims with every seed, at equal budget; goes on where it stopped.

A budget is a number of steps (``--steps``: as many pairs for all) or of minutes (``--minutes``: as much time for all by
the clock, so run nothing beside it). Runs lie in ``OUT/BUDGET/NAME-SEED``, with their checkpoints; one that is done is
left as it is. ``table`` makes the numbers of them.
"""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.comparison.variants import SHAPES, VARIANTS, Settings, with_steps
from pocold.training.checkpoints import Checkpoints, read_progress
from pocold.training.config_files import CONFIG_FILE, check_same_run

NAME = "train"
_ENDLESS = 10_000_000  # steps of a run that ends by its minutes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what is left to do")


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """What training and tables must be told alike."""
    parser.add_argument("data", type=Path)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--steps", type=int)
    budget.add_argument("--minutes", type=float)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--size", choices=list(SHAPES), default="narrow", help="of the networks")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--sampling-steps", type=int, default=20)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")


def settings_of(arguments: argparse.Namespace) -> Settings:
    """What all runs share.

    Raises:
        ValueError: for a budget that is none.
    """
    if (arguments.steps if arguments.minutes is None else arguments.minutes) <= 0:
        raise ValueError("a budget must be above 0: --steps or --minutes")
    return Settings(**{f.name: getattr(arguments, f.name) for f in fields(Settings)})


def budget_name(arguments: argparse.Namespace) -> str:
    """Of the folder of its runs."""
    if arguments.minutes is not None:
        return f"{arguments.minutes:g}-minutes"
    return f"{arguments.steps}-steps"


def run_folder(arguments: argparse.Namespace, name: str, seed: int) -> Path:
    """Of a run."""
    return arguments.out / budget_name(arguments) / f"{name}-{seed}"


def spent(folder: Path) -> tuple[int, float]:
    """Steps and minutes that a run has had so far."""
    latest = Checkpoints(folder / "checkpoints", 1).latest()
    progress = read_progress(latest) if latest is not None else None
    return (0, 0.0) if progress is None else (progress.step, progress.seconds / 60)


def is_done(arguments: argparse.Namespace, name: str, seed: int) -> bool:
    """Whether a run has used up its budget, and written its result.

    Raises:
        ValueError: if that run was of other settings, naming them.
    """
    folder = run_folder(arguments, name, seed)
    steps, minutes = spent(folder)
    enough = minutes >= arguments.minutes if arguments.minutes is not None else steps >= arguments.steps
    if not enough or not (folder / VARIANTS[name].folder).is_dir():
        return False
    check_same_run(config_of(arguments, settings_of(arguments), name, seed), folder / CONFIG_FILE)
    return True


def config_of(arguments: argparse.Namespace, settings: Settings, name: str, seed: int) -> Any:
    """The config of what is left of a run."""
    folder = run_folder(arguments, name, seed)
    steps = arguments.steps or _ENDLESS
    config = VARIANTS[name].config(settings, seed, folder, steps)
    left = None if arguments.minutes is None else max(arguments.minutes - spent(folder)[1], 1e-6)
    return with_steps(config, steps, left)


def run(arguments: argparse.Namespace) -> None:
    """Train what is not done yet, seed by seed, so that a table can be made of what there is at any time."""
    settings = settings_of(arguments)
    for seed in arguments.seeds:
        for name in arguments.only:
            folder = run_folder(arguments, name, seed)
            if is_done(arguments, name, seed):
                print(f"{folder}: done", flush=True)
            elif arguments.dry_run:
                print(f"{folder}: {spent(folder)[0]} steps so far", flush=True)
            else:
                print(f"{folder}: {VARIANTS[name].what}", flush=True)
                VARIANTS[name].train(config_of(arguments, settings, name, seed))
                if not is_done(arguments, name, seed):  # it was told to stop
                    return
