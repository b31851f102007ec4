"""A client of `pocold serve`, in Python's own library: encode a person once, then ask for poses.

pocold serve &
python examples/http_client.py person.png --pose walk:side hips:back --output drawn
"""

import argparse
import base64
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("person", type=Path)
    parser.add_argument("--pose", nargs="+", default=["walk:side"])
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--steps", type=int, help="the model's own number if not given")
    parser.add_argument("--output", type=Path, default=Path("drawn"))
    arguments = parser.parse_args()

    photo = {"name": arguments.person.name, "data": base64.b64encode(arguments.person.read_bytes()).decode()}
    code = ask(arguments.server, "/v1/encode", {"photo": [photo]})["code"]
    body = {"code": code, "pose": arguments.pose, "steps": arguments.steps, "format": "json"}
    drawn = ask(arguments.server, "/v1/transfer", body)
    for warning in drawn["warnings"]:
        print(f"warning: {warning}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    for picture in drawn["pictures"]:
        path = arguments.output / Path(picture["name"]).name
        path.write_bytes(base64.b64decode(picture["data"]))
        print(path)


def ask(server: str, route: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request; SystemExit with the server's sentence if it has none."""
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("POCOLD_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(server.rstrip("/") + route, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{error.code}: {json.load(error).get('detail')}") from None
    except urllib.error.URLError as error:
        raise SystemExit(f"{server} does not answer: {error.reason}") from None


if __name__ == "__main__":
    main()
