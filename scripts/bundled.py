"""Makes the bundled model from nothing: people, autoencoder, diffusion, refiner, estimator, evaluation, card.

    python scripts/bundled.py runs/made            # days of one CPU core; make bundled
    python scripts/bundled.py runs/toy --toy       # the same way in a few minutes: a few people, a few steps

Stopped at any point, the same command goes on there: a step that is done is remembered, and each step goes on by
itself. The pipeline is written to FOLDER/pipeline, its numbers and how it was made to FOLDER/pipeline/README.md.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from pocold import PoseTransferPipeline
from pocold.imaging.files import atomic_write
from pocold.models.densepose_estimator import open_estimator
from pocold.models.refiner import load_refiner

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
VAE, UNET = "runs/bundled-autoencoder/vae", "runs/bundled-steps/pipeline"
REFINERS = (
    "first-refiner",
    "second-refiner",
    "third-refiner",
    "fourth-refiner",
    "refiner",
    "distilled-refiner",
    "relit-refiner",
    "resampled-refiner",
)
ESTIMATORS = ("estimator", "photographs-estimator")
DONE = "done.json"
_FEW = ("--without", "fid", "fd_stlpips", "--steps", "1")  # of an evaluation at toy length


@dataclass(frozen=True)
class Step:
    """One command of pocold, run in the folder.

    Attributes:
        name: what it makes.
        words: of the command.
        toy: added to them to be done in seconds.
    """

    name: str
    words: Sequence[str]
    toy: Sequence[str] = ()


def steps(photographs: Sequence[str] = ()) -> Iterator[Step]:
    """All commands, in order; ``photographs`` are folders of pictures without people, for refiner and estimator."""
    for size, folder in (("128x88", "data/people"), ("256x176", "data/people-256")):
        words = ["synth", "--output", folder, "--identities", "1480", "--size", size, "--seed", "1"]
        yield Step(f"people of {size}", words, ["--identities", "20", "--per-identity", "3"])
    yield _training("train-autoencoder", "autoencoder")
    words = ["data", "latents", "data/people", "--vae", VAE, "--output", "data/people-latents", "--hint"]
    yield Step("latents", [*words, "--no-mirrored"])
    yield _training("train", "", "--sampling.steps", "2")
    yield _training("train", "anneal", "--sampling.steps", "2")
    words = ["data", "latents", "data/people-256", "--vae", VAE, "--output", "data/people-256-latents", "--hint"]
    yield Step("completed latents", [*words, "--hint-completed", "--size", "128x88", "--no-mirrored"])
    yield _training("train", "completed", "--sampling.steps", "2")
    yield _training("distill", "guidance")
    yield _training("distill", "steps")
    for stage in REFINERS:
        drawn = [] if stage == REFINERS[0] else ["--pairs.pipeline", UNET]
        behind = ["--pairs.photographs", *photographs] if photographs and stage in REFINERS[1:4] else []
        toy = ["--pairs.count", "8", *(["--pairs.steps", "1"] if drawn else [])]
        yield _training("train-refiner", stage, *toy, words=[*drawn, *behind])
    for stage in ESTIMATORS:
        behind = ["--corruption.photographs", *photographs] if photographs and stage == ESTIMATORS[1] else []
        yield _training("train-estimator", stage, words=behind)


def _training(command: str, stage: str, *toy: str, words: Sequence[str] = ()) -> Step:
    config = CONFIGS / ("-".join(filter(None, ("bundled", stage))) + ".toml")
    short = ["--run.max-steps", "2", "--run.batch-size", "2", "--validation.every", "2", "--validation.pairs", "2"]
    return Step(stage or "diffusion", [command, str(config), *words], [*short, "--run.precision", "fp32", *toy])


def assemble(folder: Path) -> Path:
    """The pipeline of what was trained: diffusion, last refiner, last estimator."""
    target = folder / "pipeline"
    pipeline = PoseTransferPipeline.from_pretrained(folder / UNET)
    pipeline.register_modules(
        refiner=load_refiner(folder / f"runs/bundled-{REFINERS[-1]}/refiner"),
        densepose_estimator=open_estimator(folder / f"runs/bundled-{ESTIMATORS[-1]}/densepose_estimator"),
    )
    pipeline.to(torch.float16).save_pretrained(target)
    return target


def write_card(folder: Path, done: dict[str, float], photographs: Sequence[str]) -> None:
    """What was done, how long it took, and what the evaluation says."""
    rows = [f"| {name} | {seconds / 3600:.2f} |" for name, seconds in done.items()]
    behind = "with parts of photographs behind people" if photographs else "without any photographs"
    text = [
        "# A model made by scripts/bundled.py", "",
        f"Synthetic people alone (`pocold synth`), {behind}.", "", "| step | hours |", "| --- | ---: |", *rows, "",
        (folder / "evaluation" / "report.md").read_text(),
    ]  # fmt: skip
    with atomic_write(folder / "pipeline" / "README.md") as path:
        path.write_text("\n".join(text))


def run_pocold(folder: Path, words: Sequence[str]) -> None:
    """A command of pocold in a folder; its error ends this program, too."""
    print(f"$ pocold {' '.join(words)}", flush=True)
    ended = subprocess.run([sys.executable, "-m", "pocold", *words], cwd=folder, check=False)
    if ended.returncode:
        raise SystemExit(ended.returncode)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything is kept")
    parser.add_argument("--toy", action="store_true", help="a few people, two steps of each training")
    parser.add_argument(
        "--photographs", nargs="+", default=[], help="folders of pictures without people, for backdrops"
    )
    parser.add_argument("--limit", type=int, default=300, help="pairs that are evaluated")
    given = parser.parse_args(arguments)
    folder, photographs = given.folder, [str(Path(path).absolute()) for path in given.photographs]
    folder.mkdir(parents=True, exist_ok=True)
    done_file = folder / DONE
    done: dict[str, float] = json.loads(done_file.read_text()) if done_file.is_file() else {}

    def once(name: str, work: Callable[[], object]) -> None:
        if name in done:
            return
        begin = time.time()
        work()
        done[name] = time.time() - begin
        with atomic_write(done_file) as path:
            path.write_text(json.dumps(done, indent=1))

    for step in steps(photographs):
        words = [*step.words, *(step.toy if given.toy else ())]
        once(step.name, partial(run_pocold, folder, words))
    once("pipeline", partial(assemble, folder))
    limit = "4" if given.toy else str(given.limit)
    words = ["evaluate", "pipeline", "data/people-256", "--protocol", "ours", "--limit", limit]
    once("evaluation", partial(run_pocold, folder, [*words, "--output", "evaluation", *(_FEW if given.toy else ())]))
    write_card(folder, done, photographs)
    print(folder / "pipeline")


if __name__ == "__main__":
    main()
