"""The commands as a user runs them: one process, several, killed and run again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pocold.cli import main


@pytest.fixture(scope="module")
def arguments(toy_folder, people, weight_files):
    """An evaluation of the toy model, but for --out."""
    return [
        "evaluate", str(toy_folder), str(people), "--steps", "2", "--batch-size", "2", "--real-limit", "3",
        "--st-lpips-weights", str(weight_files / "st_lpips.pth"), "--device", "cpu",
    ]  # fmt: skip


def metrics_of(folder):
    return json.loads((folder / "report.json").read_text())["metrics"]


@pytest.fixture(scope="module")
def straight(arguments, tmp_path_factory):
    """A run in one process, without interruption."""
    folder = tmp_path_factory.mktemp("straight") / "out"
    main([*arguments, "--out", str(folder)])
    return folder


def test_it_writes_report_table_sheet_and_pictures(straight):
    assert sorted(path.name for path in straight.iterdir()) == ["pictures", "report.json", "report.md", "sheet.png"]
    assert len(list((straight / "pictures").glob("*.png"))) == 12
    report = json.loads((straight / "report.json").read_text())
    assert report["name"] == "toy"
    assert report["seed"] == 0
    assert report["settings"]["steps"] == 2
    assert {"pocold", "torch", "python"} <= report["versions"].keys()
    assert report["metrics"]["st_lpips"]["count"] == 12


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_any_number_of_processes_gives_the_same_numbers_to_the_bit(processes, arguments, straight, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*torchrun, "-m", "pocold.cli", *arguments, "--out", str(tmp_path / "out")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.count("# toy, protocol `ours`") == 1
    assert metrics_of(tmp_path / "out") == metrics_of(straight)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["time"]["processes"] == processes
    assert report["time"]["drawn_now"] == 12


@pytest.mark.slow
def test_a_mistake_in_one_process_ends_them_all(arguments, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    (tmp_path / "out" / "pictures").mkdir(parents=True)
    (tmp_path / "out" / "pictures" / "stray.png").write_bytes(b"")
    command = [*torchrun, "-m", "pocold.cli", *arguments, "--out", str(tmp_path / "out")]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert failed.returncode != 0
    assert "pocold: error: " in failed.stderr
    assert "holds pictures, but no settings.json" in failed.stderr
    assert "Connection closed" not in failed.stderr


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_numbers(arguments, straight, tmp_path):
    command = [sys.executable, "-m", "pocold.cli", *arguments, "--out", str(tmp_path / "out")]
    pictures = tmp_path / "out" / "pictures"
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while started.poll() is None and not list(pictures.glob("*.png")):
        time.sleep(0.002)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    there = len(list(pictures.glob("[!.]*.png")))
    if there == 12:
        pytest.skip("the machine drew all pictures before it could be stopped")
    assert not (tmp_path / "out" / "report.json").exists()
    main(command[3:])
    assert metrics_of(tmp_path / "out") == metrics_of(straight)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert 0 < report["time"]["drawn_now"] <= 12


def test_baselines_need_no_model(arguments, people, tmp_path, capsys):
    options = [*arguments[3:], "--limit", "3"]
    for baseline in ("copy", "warp"):
        command = ["evaluate", "none", str(people), "--baseline", baseline, *options, "--out", str(tmp_path / baseline)]
        main(command)
    capsys.readouterr()
    main(["compare", str(tmp_path / "copy"), str(tmp_path / "warp" / "report.json"), "--out", str(tmp_path / "t.md")])
    printed = capsys.readouterr()
    assert printed.err == ""
    assert (tmp_path / "t.md").read_text() == printed.out
    (tmp_path / "notes.md").write_text("mine\n")
    for place, ends in (("t.md", False), ("notes.md", True)):  # a table is replaced, something else is not
        words = ["compare", str(tmp_path / "copy"), str(tmp_path / "warp"), "-o", str(tmp_path / place)]
        with pytest.raises(SystemExit) if ends else contextlib.nullcontext():
            main(words)
    assert "notes.md exists and was not written by this command" in capsys.readouterr().err
    assert (tmp_path / "notes.md").read_text() == "mine\n"
    main([*words, "--overwrite"])
    assert (tmp_path / "notes.md").read_text().startswith("| | ")
    capsys.readouterr()
    assert metrics_of(tmp_path / "warp")["l1"]["value"] < metrics_of(tmp_path / "copy")["l1"]["value"]
    main(
        [
            "evaluate",
            "none",
            str(people),
            "--baseline",
            "copy",
            *options[:-1],
            "2",
            "-o",
            str(tmp_path / "two"),
            "--json",
        ]
    )
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "two" / "report.json").read_text())
    main(["compare", str(tmp_path / "copy"), str(tmp_path / "two")])
    assert "pocold: warning:" in (told := capsys.readouterr().err)
    main(["compare", str(tmp_path / "copy"), str(tmp_path / "two"), "--json"])
    compared = json.loads(capsys.readouterr().out)
    assert list(compared["reports"]) == [str(tmp_path / "copy"), str(tmp_path / "two")]
    assert compared["reports"][str(tmp_path / "two")]["metrics"] == metrics_of(tmp_path / "two")
    assert [f"pocold: warning: {warning}" for warning in compared["warnings"]] == told.splitlines()


def test_the_autoencoder_is_the_models(arguments, tmp_path):
    main([*arguments, "--limit", "2", "--baseline", "autoencoder", "--out", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "report.json").read_text())["settings"]["painter"] == "autoencoder"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"MODEL": "nowhere"}, "no such model folder: nowhere"),
        ({"DATA": "nowhere"}, "there is no folder nowhere"),
        ({"MODEL": "none"}, "'none' is for --baseline copy, warp, completed"),
        ({"MODEL": "none", "--baseline": "autoencoder"}, "'none' is for --baseline copy, warp, completed"),
        ({"--size": "big"}, "big"),
        ({"--limit": "0"}, "a limit must be at least 1, got 0"),
        ({"--limit": "2", "--steps": "0"}, "--steps: expected a number of at least 1, got 0"),
        ({"--guidance": "best"}, "unknown guidance 'best'"),
        ({"--seed": "-1"}, "--seed: expected a number of at least 0, got -1"),
        ({"--protocol": "cfld"}, "--lpips-weights"),
        ({"--protocol": "ours", "--st-lpips-weights": "gone.pth"}, "no such weight file: gone.pth"),
        ({"--real": "nowhere"}, "there is no folder nowhere; name a folder with --real"),
        ({"--device": "abacus"}, "the device 'abacus' cannot be used"),
        ({"--batch-size": "0"}, "batch_size must be at least 1"),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(changed, message, toy_folder, people, weight_files, tmp_path, capsys):
    options = {"--out": str(tmp_path / "out"), "--st-lpips-weights": str(weight_files / "st_lpips.pth"), **changed}
    model, data = options.pop("MODEL", str(toy_folder)), options.pop("DATA", str(people))
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", model, data, *(word for option in options.items() for word in option)])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("pocold: error: ")
    assert message in error


def test_help_names_every_protocol():
    from pocold.evaluation.commands import ProtocolName
    from pocold.evaluation.protocols import PROTOCOLS

    assert set(ProtocolName.__args__) == set(PROTOCOLS)
