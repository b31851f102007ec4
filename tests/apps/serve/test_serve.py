"""``pocold serve`` as a client meets it: what it answers, what it refuses, and what it leaves behind."""

import base64
import io
import json
import socket
import tempfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from drawing_helpers import pixels, pocold
from PIL import Image

from pocold import DensePose
from pocold.apps.serve.requests import AnimateBody, EditBody, EncodeBody, PoseBody, TransferBody, request_bodies
from pocold.imaging.animations import read_notes
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import parse_pose
from serving import form, picture, post, served, wait_for


@pytest.fixture(scope="module")
def client(drawn_folder, tmp_path_factory):
    """Of a server that leaves its temporary files, if any, in a folder that the last test looks into."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("left"))
    with served(drawn_folder / "sized", batch=4) as client:
        yield client
    tempfile.tempdir = before


def refused(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    return problem["detail"]


def test_a_picture_is_that_of_the_command_line(client, person, here, drawn_folder):
    pocold("transfer a.png --pose walk:side --seed 3 -o out.png", model="sized")
    answer = post(client, "/v1/transfer", **person, pose="walk:side", seed=3, steps=2)
    np.testing.assert_array_equal(picture(answer), pixels("out.png"))
    about = json.loads(Image.open(io.BytesIO(answer.content)).text["pocold"])
    assert about["synthetic"] is True
    assert about["source"][0]["file"] == "a.png"
    assert about["again"].startswith("pocold transfer a.png --source-pose a.iuv.png --pose walk:side")
    assert str(drawn_folder.parent) not in json.dumps(about).replace(str(drawn_folder), "")


def test_several_pictures_are_a_zip_or_json(client, person, drawn_folder):
    asked = {**person, "pose": ["walk:side", drawn_folder / "b.iuv.png"], "steps": 2, "num_images": 2}
    answer = post(client, "/v1/transfer", **asked)
    assert answer.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.namelist() == ["walk-side-1.png", "walk-side-2.png", "b-1.png", "b-2.png"]
    listed = post(client, "/v1/transfer", **asked, format="json").json()
    for name, drawn in zip(archive.namelist(), listed["pictures"], strict=True):
        assert drawn["name"] == name
        assert drawn["settings"]["seed"] == int(name[-5]) - 1
        own, other = (Image.open(io.BytesIO(c)) for c in (archive.read(name), base64.b64decode(drawn["data"])))
        assert np.abs(np.asarray(own, int) - np.asarray(other, int)).max() <= 1


def test_json_is_the_same_as_a_form(client, person):
    files = {name: base64.b64encode(path.read_bytes()).decode() for name, path in person.items()}
    asked = {"photo": {"name": "a.png", "data": files["photo"]}, "source_pose": files["source_pose"]}
    answer = client.post("/v1/transfer", json={**asked, "pose": ["walk:side"], "steps": 2})
    same = post(client, "/v1/transfer", **person, pose="walk:side", steps=2)
    np.testing.assert_array_equal(picture(answer), picture(same))


def test_a_code_draws_what_its_photograph_does_until_it_is_forgotten(client, person):
    code = post(client, "/v1/encode", **person).json()["code"]
    answer = post(client, "/v1/transfer", code=code, pose="walk:side", steps=2)
    of_photo = post(client, "/v1/transfer", **person, pose="walk:side", steps=2)
    np.testing.assert_array_equal(picture(answer), picture(of_photo))
    file = post(client, "/v1/encode", **person, format="safetensors").content
    sent = client.post(
        "/v1/transfer", data={"pose": "walk:side", "steps": "2"}, files={"code": ("c.safetensors", file)}
    )
    np.testing.assert_array_equal(picture(sent), picture(of_photo))
    assert client.delete(f"/v1/codes/{code}").status_code == 204
    detail = refused(post(client, "/v1/transfer", code=code, pose="walk:side"), 404)
    assert "encode the photograph again" in detail


def test_the_code_used_longest_ago_goes_first(drawn_folder):
    from pocold.apps.serve.problems import ProblemError
    from pocold.apps.serve.work import Codes

    codes = Codes(2)
    first, second = codes.keep(b"1"), codes.keep(b"2")
    codes.get(first)
    third = codes.keep(b"3")
    assert (codes.get(first), codes.get(third)) == (b"1", b"3")
    with pytest.raises(ProblemError, match="no code of this id"):
        codes.get(second)


def test_a_server_that_keeps_no_codes_says_so(drawn_folder, person):
    with served(drawn_folder / "sized", codes=0) as client:
        detail = refused(post(client, "/v1/encode", **person), 422)
        assert detail == (
            "this server keeps no appearance codes; ask for format=safetensors, and send that file as code"
        )
        for answer in (
            post(client, "/v1/transfer", code="x", pose="walk", steps=1),
            client.delete("/v1/codes/x"),
        ):
            assert "keeps no appearance codes; send the file" in refused(answer, 404)
        assert post(client, "/v1/encode", **person, format="safetensors").status_code == 200


def test_an_edit_is_that_of_the_command_line(client, drawn_folder, here):
    pocold("edit a.png --like b.png --region parts:top -o out.png", model="sized")
    answer = post(
        client, "/v1/edit", photo=drawn_folder / "a.png", source_pose=drawn_folder / "a.iuv.png",
        like=drawn_folder / "b.png", like_pose=drawn_folder / "b.iuv.png", region="parts:top", steps=2,
    )  # fmt: skip
    np.testing.assert_array_equal(picture(answer), pixels("out.png"))


def test_an_animation_is_that_of_the_command_line(client, person, here):
    pocold("animate a.png --turn --frames 3 --fps 5 --seed 3 --steps 2 -o frames", model="sized")
    asked = {**person, "turn": "true", "frames": 3, "fps": 5, "seed": 3, "steps": 2}
    answer = post(client, "/v1/animate", **asked, format="zip")
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == [f"frame-000{i}.png" for i in (1, 2, 3)]
        for name in archive.namelist():
            drawn = np.asarray(Image.open(archive.open(name)).convert("RGB")).astype(int)
            assert np.abs(drawn - pixels(here / "frames" / name)).max() <= 1
    moving = post(client, "/v1/animate", **asked)
    assert moving.headers["content-type"] == "image/webp"
    (here / "moving.webp").write_bytes(moving.content)
    assert read_notes(here / "moving.webp")["again"].startswith("pocold animate a.png --turn --pose relaxed --fps 5")
    assert Image.open(here / "moving.webp").n_frames == 3


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({}, "expected one motion: --turn, --walk, --between POSE POSE ... or --poses PATH, got none"),
        ({"turn": "true", "walk": "true"}, "got --turn and --walk"),
        ({"turn": "true", "frames": 121}, "expected at most 120 frames in one animation, got 121"),
        ({"walk": "true", "fps": 120}, "expected at most 120 frames in one animation, got 144"),
        ({"between": ["stand", "walk"], "seconds": 60}, "expected at most 120 frames in one animation, got 720"),
        ({"between": ["stand", "wlak"]}, "unknown pose 'wlak'"),
        ({"turn": "true", "poses": "walk"}, "poses: expected a file (curl: -F poses=@FILE), got text"),
        ({"turn": "true", "format": "avi"}, "format: should be 'webp', 'gif', 'mp4', 'webm' or 'zip'"),
    ],
)
def test_what_cannot_be_animated(client, person, fields, detail):
    assert detail in refused(post(client, "/v1/animate", **person, **fields), 422)


def test_an_animation_of_maps_follows_their_order(client, person, here):
    for name in ("walk:side", "stand"):
        pocold(f"pose {name} --size 128x88 -o {name[:4]}.png", model=None)
    poses = [here / "walk.png", here / "stan.png"]
    answer = post(client, "/v1/animate", **person, poses=poses, with_map="true", steps=1, format="zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        frames = [np.asarray(Image.open(archive.open(name)).convert("RGB")) for name in archive.namelist()]
    for frame, path in zip(frames, poses, strict=True):
        assert frame.shape == (128, 176, 3)
        assert (frame[:, :88].any(axis=2) == (DensePose.read(path).labels > 0)).mean() > 0.99


def test_maps_of_poses_and_of_photographs(client, drawn_folder, tmp_path):
    answer = post(client, "/v1/pose", pose="walk:side", size="128x88")
    (tmp_path / "map.png").write_bytes(answer.content)
    named = parse_pose("walk:side")
    expected = draw_densepose(named.pose, named.view, named.crop, (128, 88))
    np.testing.assert_array_equal(DensePose.read(tmp_path / "map.png").labels, expected.labels)
    found = post(client, "/v1/pose", photo=drawn_folder / "a.png")  # by the bundled estimator
    (tmp_path / "found.png").write_bytes(found.content)
    labels = DensePose.read(tmp_path / "found.png").labels
    truth = DensePose.read(drawn_folder / "a.iuv.png").labels
    assert ((labels > 0) == (truth > 0)).mean() > 0.9
    shown = picture(post(client, "/v1/pose", photo=drawn_folder / "a.png", show="true"))
    assert shown.shape == (128, 88, 3)


def test_warnings_come_with_the_answer(client, drawn_folder):
    answer = post(client, "/v1/transfer", photo=drawn_folder / "a.png", pose="walk:back", steps=1)
    warnings = json.loads(answer.headers["x-pocold-warnings"])
    assert warnings[0].startswith("a.png: no DensePose map was given, so it was estimated")
    assert warnings[1].startswith("walk:back: ")
    assert "has to be invented" in warnings[1]


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"pose": "wlak"}, "unknown pose 'wlak'; did you mean walk"),
        ({"pose": "/etc/passwd"}, "unknown pose '/etc/passwd'"),
        ({"pose": "a.iuv.png"}, "unknown pose 'a.iuv.png'"),
        ({}, "expected at least one pose"),
        ({"pose": "walk", "like": "/etc/passwd"}, "like: expected source, none or a file, got '/etc/passwd'"),
        ({"pose": "walk", "seed": -1}, "--seed: expected a number of at least 0, got -1"),
        ({"pose": "walk", "seed": "x"}, "seed: should be a valid integer"),
        ({"pose": "walk", "seed": [1, 2]}, "seed: expected one, got 2"),
        ({"pose": "walk", "steps": 9999}, "steps: expected at most 250, got 9999"),
        ({"pose": "walk", "size": "4096x4096"}, "pictures of 4096x4096 (height x width) are too large"),
        ({"pose": "walk", "num_images": 99}, "expected at most 16 pictures in one request, got 99"),
        ({"pose": ["walk", "run"], "format": "png"}, "a png is one picture, got 2; ask for zip or json"),
        ({"pose": "walk", "colour": "red"}, "unknown field colour; there are seed, steps"),
        ({"pose": "walk", "code": "x"}, "expected photographs of one person as photo, or a code, one of the two"),
    ],
)
def test_what_cannot_be_drawn_is_told_as_the_command_line_tells_it(client, person, fields, detail):
    assert detail in refused(post(client, "/v1/transfer", **person, **fields), 422)


def test_files_that_cannot_be_used(client, drawn_folder, tmp_path):
    def sent(content, name="x.png", field="photo"):
        files = {"photo": ("a.png", (drawn_folder / "a.png").read_bytes())} | {field: (name, content)}
        return client.post("/v1/transfer", data={"pose": "walk", "steps": "1"}, files=files)

    assert "x.png: the file is empty" in refused(sent(b""), 422)
    detail = refused(sent(b"no picture", "../../x y?.png"), 422)
    assert detail.startswith("x y_.png: x y_.png cannot be read as a picture")
    assert "/" not in detail
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n%%EOF\n"
    assert "expected a JPEG, PNG or WebP, got EPS" in refused(sent(postscript, "x.eps"), 422)
    import pickle

    assert "dumps are not read over HTTP" in refused(sent(pickle.dumps([{}]), "x.pkl", "pose"), 422)
    large = io.BytesIO()
    Image.new("1", (6000, 5000)).save(large, "PNG")
    assert len(large.getvalue()) < 100_000  # few bytes, many pixels
    assert "6000x5000 is more than 24 megapixels" in refused(sent(large.getvalue()), 413)
    text = client.post("/v1/transfer", data={"photo": "a.png", "pose": "walk"})
    assert "photo: expected a file (curl: -F photo=@FILE), got text" in refused(text, 422)


def test_requests_that_cannot_be_read(client):
    assert "/v1/transfer does not take GET" in refused(client.get("/v1/transfer"), 405)
    assert "there is nothing at /v2" in refused(client.get("/v2"), 404)
    assert "got text/plain" in refused(
        client.post("/v1/pose", content=b"x", headers={"content-type": "text/plain"}), 415
    )
    broken = client.post("/v1/pose", content=b'{"pose"', headers={"content-type": "application/json"})
    assert "the body is no JSON" in refused(broken, 422)
    boundless = client.post("/v1/pose", content=b"--x", headers={"content-type": "multipart/form-data"})
    assert "the form cannot be read" in refused(boundless, 400)


def test_health_metrics_and_description(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["status"] == "ready"
    post(client, "/v1/pose", pose="walk")
    text = client.get("/metrics").text
    assert 'pocold_requests_total{path="/v1/pose",status="200"}' in text
    assert "pocold_request_seconds_bucket" in text
    described = client.get("/openapi.json").json()
    assert {"/v1/transfer", "/v1/encode", "/v1/edit", "/v1/animate", "/v1/pose"} <= described["paths"].keys()
    body = described["paths"]["/v1/transfer"]["post"]["requestBody"]["content"]
    photo = body["multipart/form-data"]["schema"]["properties"]["photo"]
    assert photo["items"] == {"type": "string", "format": "binary"}
    assert described["components"]["schemas"]["File"]["required"] == ["data"]


@pytest.mark.parametrize("kind", [TransferBody, EncodeBody, EditBody, AnimateBody, PoseBody])
def test_the_examples_of_the_description_can_be_sent(client, kind, drawn_folder):
    _, bodies = request_bodies()
    sent = dict(bodies[kind]["content"]["application/json"]["example"])
    kind.model_validate(sent)
    for _name, values in sent.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, dict):  # a whole photograph in the place of the first bytes of one
                value["data"] = base64.b64encode((drawn_folder / "a.png").read_bytes()).decode()
    path = kind.__name__.removesuffix("Body").lower()
    drawing = {"steps": 1} if kind in (TransferBody, EditBody, AnimateBody) else {}
    answer = client.post(f"/v1/{path}", json={**sent, **drawing})
    assert answer.status_code == 200, answer.text


def test_no_file_outlives_its_request(client, person):
    post(client, "/v1/transfer", **person, pose="walk", steps=1)
    post(client, "/v1/transfer", **person, pose="wlak")
    wait_for(lambda: client.service.running == 0)
    from pathlib import Path

    assert list(Path(tempfile.gettempdir()).iterdir()) == []


@pytest.fixture(scope="module")
def patient(drawn_folder):
    """Of a server that waits a second for pictures to be drawn together: a busy machine prepares them slowly."""
    with served(drawn_folder / "sized", batch_wait=1000) as client:
        yield client


def test_a_picture_is_the_same_alone_and_in_any_batch(patient, drawn_folder):
    client, people = patient, [("a", "walk:side"), ("b", "run"), ("a-back", "wave"), ("b-back", "jump")]
    asked = [
        {"photo": drawn_folder / f"{who}.png", "source_pose": drawn_folder / f"{who}.iuv.png", "pose": pose,
         "seed": seed, "steps": 2}
        for seed, (who, pose) in enumerate([*people, people[0]])
    ]  # fmt: skip
    alone = [picture(post(client, "/v1/transfer", **fields)) for fields in asked]
    batches, drawn = (client.service.metrics.value(f"pocold_{name}_total") for name in ("batches", "pictures"))
    with ThreadPoolExecutor(5) as clients:
        together = list(clients.map(lambda fields: picture(post(client, "/v1/transfer", **fields)), asked))
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
    assert np.abs(alone[0].astype(int) - alone[4].astype(int)).max() > 1  # else any mixture would pass
    batches = client.service.metrics.value("pocold_batches_total") - batches
    assert client.service.metrics.value("pocold_pictures_total") - drawn == 5
    assert batches < 5


def test_a_client_that_leaves_stops_its_work(client, person):
    stopped = client.service.metrics.value("pocold_stopped_total", reason="client left")
    pictures = client.service.metrics.value("pocold_pictures_total")
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/transfer", **form(**person, pose="walk", num_images=16, steps=250), timeout=0.7)
    wait_for(lambda: client.service.metrics.value("pocold_stopped_total", reason="client left") == stopped + 1)
    wait_for(lambda: client.service.running == 0, 10)  # 4000 steps would take longer
    assert len(client.service.drawer) == 0
    assert client.service.metrics.value("pocold_pictures_total") - pictures < 16


@pytest.mark.slow
def test_requests_that_wait_hold_no_thread(drawn_folder, person):
    def own_threads():
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("pocold-")]

    before = len(own_threads())
    with served(drawn_folder / "sized", batch=1) as client, ThreadPoolExecutor(12) as others:
        asked = {**person, "pose": "walk", "steps": 30}
        answers = [others.submit(post, client, "/v1/transfer", **asked) for _ in range(12)]
        wait_for(lambda: client.service.running == 12)
        most = 0
        while any(not answer.done() for answer in answers):
            most = max(most, len(own_threads()) - before)
            time.sleep(0.01)
        assert [answer.result().status_code for answer in answers] == [200] * 12
    assert 0 < most <= 4  # two prepare, one draws, one answers


def test_memory_is_given_back_when_there_is_nothing_to_do(drawn_folder, person, monkeypatch):
    from pocold.apps.serve import app

    monkeypatch.setattr(app, "_IDLE", 0.05)
    # The first request takes far longer than its time, so that the second has ended long before it is stopped.
    with served(drawn_folder / "sized", seconds=4) as client, ThreadPoolExecutor(1) as other:

        def given_back():  # a counter of this server: those of other tests rest too
            return client.service.metrics.value("pocold_memory_released_total")

        slow = other.submit(post, client, "/v1/transfer", **person, pose="walk", num_images=16, steps=250)
        wait_for(lambda: client.service.running == 1)
        assert client.post("/v1/pose", data={"pose": "walk"}).status_code == 200
        time.sleep(0.5)
        assert given_back() == 0  # one of two has ended, the other has not
        assert not slow.done()
        assert slow.result().status_code == 503
        wait_for(lambda: given_back() == 1)


def test_a_batch_with_one_that_cannot_be_drawn_draws_the_others(client, person):
    from threading import Event

    from pocold.apps.drawing.draw import Task
    from pocold.apps.drawing.options import DrawOptions
    from pocold.apps.drawing.sources import encode_person, read_person
    from pocold.apps.serve.batching import Job

    pipeline = client.service.work._model.pipeline
    code = encode_person(pipeline, read_person([person["photo"]]))
    broken = code.to()
    broken.values[0].fill_(float("nan"))
    code = encode_person(pipeline, read_person([person["photo"]]))
    pose = DensePose.read(person["source_pose"])
    jobs = [Job(Task(c, pose, 0), DrawOptions(steps=1), (128, 88), "pad", Event()) for c in (code, broken, code)]
    client.service.drawer.submit(jobs)
    assert jobs[0].result.result(30).size == (88, 128)
    with pytest.raises(ValueError, match="NaN or infinity"):
        jobs[1].result.result(30)
    assert jobs[2].result.result(30).size == (88, 128)


def test_limits(drawn_folder, person):
    with served(
        drawn_folder / "sized", token="a-long-secret", queue=1, max_mb=0.2, seconds=1.5, upload_seconds=1
    ) as client:
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        for wrong in ({}, {"Authorization": "Bearer another"}, {"Authorization": "a-long-secret"}):
            answer = client.post("/v1/pose", data={"pose": "walk"}, headers=wrong)
            assert "Authorization: Bearer TOKEN" in refused(answer, 401)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            refused(client.get("/metrics", headers=wrong), 401)
        client.headers["Authorization"] = "Bearer a-long-secret"
        assert client.post("/v1/pose", data={"pose": "walk"}).status_code == 200
        large = client.post("/v1/pose", files={"photo": b"x" * 300_000})
        assert "larger than 0.2 MB" in refused(large, 413)
        chunks = client.post(
            "/v1/pose", content=(b"x" * 50_000 for _ in range(6)), headers={"content-type": "application/json"}
        )
        assert "larger than 0.2 MB" in refused(chunks, 413)
        slow = {**person, "pose": "walk", "num_images": 16, "steps": 250}
        with ThreadPoolExecutor(1) as other:
            waiting = other.submit(post, client, "/v1/transfer", **slow)
            wait_for(lambda: client.service.running == 1)
            full = post(client, "/v1/transfer", **slow)
            assert "1 requests are being worked on, more do not fit" in refused(full, 429)
            assert 1 <= int(full.headers["retry-after"]) <= 60
            assert client.get("/readyz").status_code == 503
            late = waiting.result()
        assert "longer than 1.5 seconds" in refused(late, 503)
        assert int(late.headers["retry-after"]) >= 1
        wait_for(lambda: client.service.running == 0, 10)
        assert client.service.metrics.value("pocold_stopped_total", reason="time") == 1


@pytest.mark.parametrize("length", [b"Content-Length: 300000", b"Transfer-Encoding: chunked"])
def test_who_still_sends_too_much_hears_why(drawn_folder, length):
    part = b"x" * 150_000
    if b"chunked" in length:
        part = b"%x\r\n%b\r\n" % (len(part), part)
    with (
        served(drawn_folder / "sized", max_mb=0.1) as client,
        socket.create_connection((client.base_url.host, client.base_url.port)) as sender,
    ):
        sender.settimeout(20)
        sender.sendall(
            b"POST /v1/pose HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + length + b"\r\n\r\n" + part
        )
        time.sleep(0.3)  # a server that has closed by now breaks the connection at the next bytes
        sender.sendall(part)
        time.sleep(0.3)
        if b"chunked" in length:
            sender.sendall(b"0\r\n\r\n")
        assert sender.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_request_that_does_not_arrive(drawn_folder):
    with served(drawn_folder / "sized", upload_seconds=0.3) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port)) as slow:
            slow.sendall(
                b"POST /v1/pose HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
            )
            slow.settimeout(20)
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        wait_for(lambda: client.service.running == 0)
