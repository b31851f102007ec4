"""Where BlazePose's files are looked for, and how they are asked of npm."""

import base64
import hashlib
import io
import os
import tarfile

import pytest

from pocold.models import blazepose_files
from pocold.models.blazepose_files import (
    DETECTOR,
    LANDMARKS,
    VARIABLE,
    cache_folder,
    find_files,
    install,
    open_blazepose,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pocold" / "blazepose"


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())


def test_files_are_those_of_the_variable_or_else_of_the_cache(cache, tmp_path, monkeypatch):
    assert find_files() is None
    assert open_blazepose() is None
    put(cache, DETECTOR, LANDMARKS[2])
    assert find_files() == (cache / DETECTOR, cache / LANDMARKS[2])
    put(cache, LANDMARKS[0])
    assert find_files() == (cache / DETECTOR, cache / LANDMARKS[0])
    put(tmp_path / "own", DETECTOR, LANDMARKS[1])
    monkeypatch.setenv(VARIABLE, str(tmp_path / "own"))
    assert find_files().landmarks == tmp_path / "own" / LANDMARKS[1]
    monkeypatch.setenv(VARIABLE, "none")
    assert find_files() is None


def test_a_folder_without_them_is_an_error_where_it_was_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=rf"--pose-model: expected {DETECTOR} and {LANDMARKS[0]} in the folder"):
        find_files(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match=f"{VARIABLE}: expected"):
        find_files()


def package(names=(DETECTOR, LANDMARKS[0])):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in names:
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))
    return content.getvalue()


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A program called npm that brings some bytes, or fails."""

    def make(content=None, status=0):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "bytes").write_bytes(content or b"")
        brings = f"cp '{folder}/bytes' package.tgz" if content is not None else "true"
        program = folder / "npm"
        program.write_text(f"#!/bin/sh\n{brings}\necho 'npm error network is down' >&2\nexit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return make


pytestmark = pytest.mark.skipif(os.name == "nt", reason="the program that stands for npm is a shell script")


def test_installing_keeps_the_two_files_and_tells_first(cache, npm, monkeypatch):
    content = package()
    npm(content)
    monkeypatch.setattr(blazepose_files, "_SHA512", base64.b64encode(hashlib.sha512(content).digest()).decode())
    told = []
    assert install(told.append) == cache_folder() == cache
    assert sorted(file.name for file in cache.iterdir()) == sorted((DETECTOR, LANDMARKS[0]))
    assert (cache / DETECTOR).read_bytes() == DETECTOR.encode()
    assert len(told) == 1
    assert all(word in told[0] for word in ("@mediapipe/pose@", "Apache-2.0", "41 MB", str(cache)))


def test_what_is_not_the_very_package_is_not_kept(cache, npm):
    npm(package())
    with pytest.raises(ValueError, match=r"is not what it was: expected SHA-512 DFZs.*nothing was kept"):
        install(lambda _: None)
    assert not cache.exists()


def test_npm_that_fails_or_is_missing(npm, monkeypatch, tmp_path):
    npm(status=1)
    with pytest.raises(ValueError, match=r"npm could not bring @mediapipe.*: npm error network is down; try again, or"):
        install(lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"npm \(of Node.js\) is needed .*or put pose_solution_packed_assets\.data"):
        install(lambda _: None)
