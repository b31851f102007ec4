"""200 clients at once, 5 requests each, against one server process: python -m benchmarks.serving

The bundled model at 64x48 with 2 steps, two poses and four seeds; with batching and without. Every picture is compared
with the one that the same request got alone; memory is read before, after all clients have left, and after they came
again: what grows with the second wave would grow for ever.
"""

import argparse
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person

POSES, SEEDS = ("walk:side", "hips:back"), range(4)


def resident(pid: int) -> float:
    """Megabytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def fields(code: str, number: int) -> dict[str, str]:
    """What the ``number``-th request asks for."""
    pose, seed = POSES[number % len(POSES)], SEEDS[number // len(POSES) % len(SEEDS)]
    return {"code": code, "pose": pose, "seed": str(seed), "steps": "2", "size": "64x48"}


def asked(client: httpx.Client, body: dict[str, str]) -> tuple[int, np.ndarray | None, int]:
    """Status, picture, and how often the server said that it was busy."""
    for busy in range(1000):
        answer = client.post("/v1/transfer", json=body)
        if answer.status_code != 429:
            picture = np.asarray(Image.open(io.BytesIO(answer.content)), int) if answer.status_code == 200 else None
            return answer.status_code, picture, busy
        time.sleep(float(answer.headers["Retry-After"]))
    return 429, None, 1000


def address_of(server: subprocess.Popen[bytes], words: Path) -> str:
    """Where a started server says that it listens."""
    while server.poll() is None:
        said = words.read_text()
        if "serving at " in said and said.endswith("\n"):
            return said.split("serving at ")[1].split(";")[0]
        time.sleep(0.1)
    raise SystemExit(f"the server ended before it listened: {words.read_text()}")


def measure(batch: int, count: int, requests: int, folder: Path) -> str:
    """One server with ``batch``, twice ``count`` clients with ``requests`` each: a row of the table."""
    command = [sys.executable, "-m", "pocold", "serve", "--port", "0", "--batch", str(batch), "--queue", "256"]
    words = folder / f"words-{batch}.txt"
    with words.open("wb") as file:  # not a pipe: a full pipe that nobody reads would stop the server
        server = subprocess.Popen(command, stderr=file)
    address = address_of(server, words)
    try:
        with httpx.Client(base_url=address, timeout=600) as client:
            with (folder / "photo.png").open("rb") as photo, (folder / "map.png").open("rb") as pose:
                code = client.post("/v1/encode", files={"photo": photo, "source_pose": pose}).json()["code"]
            alone = []
            for n in range(len(POSES) * len(SEEDS)):
                status, picture, _ = asked(client, fields(code, n))
                if picture is None:
                    raise SystemExit(f"a request alone was answered with {status}: there is nothing to compare with")
                alone.append(picture)
        memory = [resident(server.pid)]

        def person(number: int) -> list[tuple[int, np.ndarray | None, int]]:
            with httpx.Client(base_url=address, timeout=600) as client:
                return [asked(client, fields(code, number + n)) for n in range(requests)]

        answers, seconds = [], 0.0
        for _ in range(2):
            start = time.perf_counter()
            with ThreadPoolExecutor(count) as clients:
                for number, some in enumerate(clients.map(person, range(count))):
                    answers += [(number + n, answer) for n, answer in enumerate(some)]
            seconds += time.perf_counter() - start
            time.sleep(3)
            memory.append(resident(server.pid))
        wrong = sum(
            picture is None or np.abs(picture - alone[n % len(alone)]).max() > 1 for n, (_, picture, _) in answers
        )
        failed = sum(status >= 500 for _, (status, _, _) in answers)
        waits = sum(busy for _, (_, _, busy) in answers)
        return (
            f"| {batch} | {len(answers)} | {wrong} | {failed} | {waits} | {len(answers) / seconds:.1f} | "
            + " | ".join(f"{m:.0f}" for m in memory)
            + " |"
        )
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--requests", type=int, default=5)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    given = parser.parse_args()
    pose = parse_pose("relaxed:front")
    picture = random_person(3, 0).draw([Shot(pose.pose, pose.view, pose.crop)], (256, 176))[0]
    print(
        "| batch | requests | wrong pictures | 5xx | told to wait | pictures per second | MB before | after | again |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(np.asarray(picture.image)).save(Path(folder) / "photo.png")
        picture.densepose.write(Path(folder) / "map.png")
        for batch in given.batch:
            print(measure(batch, given.clients, given.requests, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
