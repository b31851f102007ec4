"""``pocold serve --replicas 2``: what a client of Ray Serve gets, and what is left when it ends."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from pocold.apps.ray_serve import REPLICA, shares
from pocold.apps.serve.command import ServeOptions
from serving import form, picture, post, served, wait_for

TOKEN = "a-long-secret"


@pytest.fixture(scope="module")
def process(drawn_folder):
    """Two replicas on a Ray of their own, with a client; Ray's files, and its sockets, lie in ``folder``."""
    pytest.importorskip("ray")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # pytest's are too long for a socket
        words = [sys.executable, "-m", "pocold", "serve", "--port", "0", "--replicas", "2", "--queue", "8"]
        words += ["--model", "sized", "--max-mb", "2"]
        environment = {**os.environ, "RAY_TMPDIR": folder, "POCOLD_TOKEN": TOKEN}
        server = subprocess.Popen(
            words, cwd=drawn_folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        server.folder = folder
        try:
            line = server.stderr.readline()
            assert line.startswith("pocold: serving at http://127.0.0.1:"), line + server.stderr.read()
            address = line.split("serving at ")[1].split(";")[0]
            token = {"Authorization": f"Bearer {TOKEN}"}
            with httpx.Client(base_url=address, headers=token, timeout=120) as server.client:
                yield server
        finally:
            if server.poll() is None:
                server.terminate()
            server.communicate(timeout=120)


@pytest.fixture
def client(process):
    return process.client


@pytest.fixture(scope="module")
def alone(drawn_folder):
    """A client of one process with the same model."""
    with served(drawn_folder / "sized", token=TOKEN) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


def of_each(client, path):
    """The answers of the two replicas, whichever comes first."""
    answers = {}
    for _ in range(200):
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        answers[answer.headers[REPLICA]] = answer
        if len(answers) == 2:
            break
    return list(answers.values())


@pytest.mark.apps
def test_both_replicas_answer(client):
    answers = of_each(client, "/healthz")
    assert len(answers) == 2
    assert [answer.json() for answer in answers] == [{"status": "ok"}] * 2


@pytest.mark.apps
def test_a_picture_of_each_replica_is_that_of_one_process(client, alone, person):
    asked = {**person, "pose": "walk:side", "seed": 3, "steps": 2}
    expected, replicas = picture(post(alone, "/v1/transfer", **asked)), set()
    for _ in range(40):
        answer = post(client, "/v1/transfer", **asked)
        assert np.abs(picture(answer) - expected).max() <= 1
        replicas.add(answer.headers[REPLICA])
        if len(replicas) == 2:
            break
    assert len(replicas) == 2
    other = picture(post(alone, "/v1/transfer", **{**asked, "seed": 4}))
    assert np.abs(other - expected).max() > 1  # else any picture would pass


@pytest.mark.apps
def test_what_is_refused_is_told_as_by_one_process(client, alone, person):
    wrong = [
        {"url": "/v1/transfer", **form(**person, pose="wlak")},
        {"url": "/v1/pose", "data": {"pose": "walk"}, "headers": {"Authorization": "Bearer another"}},
        {"url": "/v1/nothing", "data": {"pose": "walk"}},
        {"url": "/v1/pose", "content": b"x", "headers": {"content-type": "text/plain"}},
    ]
    for asked, status in zip(wrong, (422, 401, 404, 415), strict=True):
        answer, expected = client.post(**asked), alone.post(**asked)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == expected.json()
    large = client.post("/v1/pose", files={"photo": b"x" * 3_000_000})
    assert (large.status_code, large.json()["detail"]) == (413, "the request is larger than 2 MB")


@pytest.mark.apps
def test_a_code_is_a_file_that_every_replica_takes(client, alone, person):
    refused = post(client, "/v1/encode", **person)
    assert refused.status_code == 422
    assert "keeps no appearance codes; ask for format=safetensors" in refused.json()["detail"]
    unknown = post(client, "/v1/transfer", code="q83vEjRWeJA", pose="walk", steps=1)
    assert unknown.status_code == 404
    assert "keeps no appearance codes; send the file" in unknown.json()["detail"]
    file = post(client, "/v1/encode", **person, format="safetensors").content
    expected = picture(post(alone, "/v1/transfer", **person, pose="walk:side", steps=2))
    for _ in range(4):
        sent = {"data": {"pose": "walk:side", "steps": "2"}, "files": {"code": ("c.safetensors", file)}}
        assert np.abs(picture(client.post("/v1/transfer", **sent)) - expected).max() <= 1


@pytest.mark.apps
def test_more_than_the_replicas_take_is_refused_at_once(client, person):
    asked = {**person, "pose": "walk", "steps": 100}
    with ThreadPoolExecutor(24) as clients:
        answers = list(clients.map(lambda _: post(client, "/v1/transfer", **asked), range(24)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 8  # each takes 8
    assert "8 requests are being worked on, more do not fit" in refused[0].json()["detail"]
    assert 1 <= int(refused[0].headers["retry-after"]) <= 60
    assert {answer.status_code for answer in answers} == {200, 429}


@pytest.mark.apps
def test_a_client_that_leaves_stops_its_work(client, person):
    def running():
        return sum(
            f"pocold_requests_running {n}" in answer.text for n in (1, 2) for answer in of_each(client, "/metrics")
        )

    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/transfer", **form(**person, pose="walk", num_images=16, steps=250), timeout=1.5)
    wait_for(lambda: running() == 0, 15)  # 4000 steps would take longer


@pytest.mark.apps
def test_what_runs_is_answered_before_the_replicas_end_and_nothing_stays(process, person):
    """The last test of this server."""
    answers = []
    asked = form(**person, pose="walk", num_images=8, steps=100)
    drawing = threading.Thread(target=lambda: answers.append(process.client.post("/v1/transfer", **asked)))
    drawing.start()
    wait_for(lambda: any("pocold_requests_running 1" in a.text for a in of_each(process.client, "/metrics")))
    logs = [log for log in Path(process.folder).rglob("serve/*.log") if "session_latest" not in str(log)]
    proc = Path("/proc/self/environ").exists()
    assert not proc or len(_processes(process.folder)) >= 5
    process.send_signal(signal.SIGTERM)
    drawing.join(120)
    assert answers[0].status_code == 200, answers[0].text
    assert answers[0].headers["content-type"] == "application/zip"
    said, errors = process.communicate(timeout=120)
    assert (process.returncode, said, errors) == (0, "", "")
    assert len(logs) >= 4
    assert [log for log in logs if "/v1/" in log.read_text()] == []  # nothing of requests is logged
    wait_for(lambda: not proc or not _processes(process.folder))


def _processes(folder):
    """Those of a Ray whose files lie in a folder."""
    mine = f"RAY_TMPDIR={folder}\0".encode()
    return [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if mine in _content(path)]


def _content(path):
    try:
        return path.read_bytes()
    except OSError:  # it has ended, or is not ours
        return b""


@pytest.mark.apps
def test_a_model_that_is_not_there(tmp_path):
    pytest.importorskip("ray")
    words = [sys.executable, "-m", "pocold", "serve", "--port", "0", "--ray", "local", "--replicas", "1"]
    words += ["--model", "nowhere"]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert (ended.returncode, ended.stdout) == (2, "")
    where = tmp_path.resolve() / "nowhere"
    assert ended.stderr == f"pocold: error: no such model folder: {where}\n"


def test_as_many_replicas_as_fit():
    cluster = {"CPU": 8.0, "GPU": 2.0, "memory": 1e9}
    assert shares(ServeOptions(), cluster) == (2, 1)
    assert shares(ServeOptions(device="cpu"), cluster) == (8, 0)
    assert shares(ServeOptions(replicas=3), {"CPU": 8.0}) == (3, 0)
    with pytest.raises(ValueError, match="--replicas: expected at most 2, as the cluster has GPUs, got 3"):
        shares(ServeOptions(replicas=3), cluster)
    with pytest.raises(ValueError, match="--replicas: expected at most 8, as the cluster has cores, got 9"):
        shares(ServeOptions(replicas=9, device="cpu"), cluster)
