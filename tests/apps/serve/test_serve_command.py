"""``pocold serve`` as a process: how it starts, what it says, how it ends."""

import os
import signal
import subprocess
import sys
import threading

import httpx
import pytest
from drawing_helpers import fails

from serving import form, wait_for


@pytest.fixture
def process(drawn_folder, tmp_path):
    """A server in a process of its own, with an address and what it has said."""
    (tmp_path / "left").mkdir()
    command = [sys.executable, "-m", "pocold", "serve", "--port", "0", "--model", str(drawn_folder / "sized")]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "left"), "POCOLD_TOKEN": "from-the-environment"}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    line = server.stderr.readline()
    assert line.startswith("pocold: serving at http://127.0.0.1:"), line
    server.address = line.split("serving at ")[1].split(";")[0]
    yield server
    if server.poll() is None:
        server.kill()
    server.communicate()


@pytest.mark.slow
def test_what_runs_is_answered_before_the_server_ends(process, drawn_folder, tmp_path):
    token = {"Authorization": "Bearer from-the-environment"}
    asked = form(
        photo=drawn_folder / "a.png", source_pose=drawn_folder / "a.iuv.png", pose="walk", num_images=4, steps=40
    )
    answers = []
    with httpx.Client(base_url=process.address, headers=token, timeout=60) as client:
        assert client.get("/metrics").status_code == 200
        drawing = threading.Thread(target=lambda: answers.append(client.post("/v1/transfer", **asked)))
        drawing.start()
        wait_for(lambda: "pocold_requests_running 1" in client.get("/metrics").text)
        process.send_signal(signal.SIGTERM)
        drawing.join(60)
    assert answers[0].status_code == 200
    assert answers[0].headers["content-type"] == "application/zip"
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGTERM)
    assert errors == ""  # nothing of requests is logged
    assert list((tmp_path / "left").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--port 70000", "--port: expected a number of at most 65535, got 70000"),
        ("--queue 0", "--queue: expected a number of at least 1, got 0"),
        ("--replicas 0", "--replicas: expected a number of at least 1, got 0"),
        ("--token short", "--token: expected at least 8 characters"),
        ("--host 192.0.2.1", "--host 192.0.2.1 --port 8000 cannot be listened at"),
        ("--port 0 --model nowhere", "nowhere"),
    ],
)
def test_flags_that_cannot_be_meant(capsys, here, words, message):
    assert message in fails(capsys, f"serve {words}", model=None)


def test_the_core_needs_no_web_packages():
    code = "import sys, pocold, pocold.cli\ntry: pocold.cli.main(['serve', '--help'])\nexcept SystemExit: pass\n"
    code += (
        "print([name for name in ('fastapi', 'uvicorn', 'gradio', 'pydantic', 'torch', 'ray') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--batch-wait" in printed
    assert printed.strip().endswith("[]")


@pytest.mark.parametrize(
    ("package", "words", "message"),
    [
        ("fastapi", [], 'pocold serve needs the extra "serve": pip install "pocold[serve]"'),
        ("ray", ["--replicas", "2"], '--replicas and --ray need the extra "ray": pip install "pocold[ray]"'),
    ],
)
def test_a_missing_extra_is_named(package, words, message):
    code = f"import sys; sys.modules[{package!r}] = None; from pocold.cli import main; main(['serve', *{words!r}])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"pocold: error: {message}")
