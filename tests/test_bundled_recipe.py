"""``make bundled``: each step finds what it begins with, and what is done is not done again."""

import importlib.util
import json
import tomllib
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "bundled.py"


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("bundled_recipe", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def option(words, name):
    return words[words.index(name) + 1] if name in words else None


def test_each_step_begins_with_what_an_earlier_one_made(recipe):
    made, names = set(), []
    for step in recipe.steps(["wallpapers"]):
        names.append(step.name)
        words = list(step.words)
        needed = {option(words, "--vae"), option(words, "--pairs.pipeline")}
        if words[0].startswith(("train", "distill")):
            config = tomllib.loads(Path(words[1]).read_text())
            needed |= {config["data"]["path"], config["data"].get("latents")}
            for section, keys in {"model": ("vae", "init"), "distillation": ("teacher",)}.items():
                needed |= {config.get(section, {}).get(name) for name in keys}
        elif words[0] == "data":
            needed.add(words[2])
        assert not [path for path in needed - {None} if not any(path.startswith(folder) for folder in made)], step.name
        made.add(option(words, "--output") or config["run"]["output"])
    assert len(set(names)) == len(names)
    assert any(recipe.UNET.startswith(folder) for folder in made)
    assert {f"runs/bundled-{stage}" for stage in (*recipe.REFINERS, *recipe.ESTIMATORS)} <= made


def test_what_distills_on_latents_has_the_autoencoder_that_made_them(recipe):
    """Rounded to half precision it would be another one."""
    for stage in ("completed", "guidance"):
        config = tomllib.loads((SCRIPT.parents[1] / "configs" / f"bundled-{stage}.toml").read_text())
        assert config["data"]["latents"]
        assert "export_precision" not in config["run"]


def test_no_refiner_learns_from_the_committed_weights(recipe):
    for step in recipe.steps():
        if step.words[0] == "train-refiner" and step.name != recipe.REFINERS[0]:
            assert option(list(step.words), "--pairs.pipeline") == recipe.UNET


def test_what_is_done_is_not_done_again(recipe, tmp_path, capfd):
    names = [step.name for step in recipe.steps()]
    (tmp_path / "done.json").write_text(json.dumps(dict.fromkeys([*names, "pipeline", "evaluation"], 7200.0)))
    for folder in ("pipeline", "evaluation"):
        (tmp_path / folder).mkdir()
    (tmp_path / "evaluation" / "report.md").write_text("| l1 | 0.04 |\n")
    recipe.main([str(tmp_path)])
    assert capfd.readouterr().out == f"{tmp_path / 'pipeline'}\n"
    card = (tmp_path / "pipeline" / "README.md").read_text()
    assert "| people of 256x176 | 2.00 |" in card
    assert card.endswith("| l1 | 0.04 |\n")


def test_a_step_that_fails_ends_it_and_is_not_done(recipe, tmp_path, capfd):
    with pytest.raises(SystemExit) as stopped:
        recipe.run_pocold(tmp_path, ["synth", "--output", "data", "--size", "1x1"])
    assert stopped.value.code == 2
    assert "pocold: error:" in capfd.readouterr().err
