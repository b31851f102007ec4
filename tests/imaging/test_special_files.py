"""Outputs that are links, pipes or devices: written through or into, never replaced."""

import os
import threading

import pytest

from pocold.imaging.files import atomic_folder, atomic_write


def test_a_link_stays_and_its_file_is_written(tmp_path):
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "t.md").write_text("old")
    link = tmp_path / "t.md"
    link.symlink_to("big/t.md")
    with atomic_write(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "big" / "t.md").read_text() == "new"
    assert [path.name for path in (tmp_path / "big").iterdir()] == ["t.md"]


def test_a_link_to_a_file_that_does_not_exist_yet_makes_it(tmp_path):
    (tmp_path / "t.md").symlink_to(tmp_path / "later.md")
    with atomic_write(tmp_path / "t.md") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "later.md").read_text() == "new"


def test_a_circle_of_links_is_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises((ValueError, OSError), match=r"leads nowhere|symbolic links"), atomic_write(tmp_path / "a"):
        pass


def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    with atomic_write(pipe) as temporary:
        temporary.write_text("content")
    reader.join(10)
    assert read == ["content"]
    assert pipe.is_fifo()


def test_a_failed_write_leaves_a_pipe_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RuntimeError, match="half way"), atomic_write(tmp_path / "pipe"):
        raise RuntimeError("half way")
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_to_a_folder_stays(tmp_path):
    (tmp_path / "big" / "packed").mkdir(parents=True)
    (tmp_path / "packed").symlink_to("big/packed")
    with atomic_folder(tmp_path / "packed") as folder:
        (folder / "shard").write_text("content")
    assert (tmp_path / "packed").is_symlink()
    assert (tmp_path / "big" / "packed" / "shard").read_text() == "content"
