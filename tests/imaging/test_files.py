"""A reader never sees half of a file, and a failure leaves what was there before."""

import os
import stat

import pytest

from pocold.imaging.files import atomic_folder, atomic_write, read_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail_after(_, error):
    """Fail once the argument before is done."""
    raise error


# -- atomic_write ------------------------------------------------------------------------------------------------


def test_write_puts_the_content_in_place(tmp_path):
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_write_accepts_a_string(tmp_path):
    with atomic_write(str(tmp_path / "a.txt")) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["a.txt"]


def test_write_shows_the_old_content_until_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_temporary_name_keeps_the_suffix_and_the_folder(tmp_path):
    # Writers choose the format by the suffix, and a rename is atomic inside one folder only.
    with atomic_write(tmp_path / "a.png") as temporary:
        assert (temporary.suffix, temporary.parent) == (".png", tmp_path)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failed_write_leaves_the_old_content_alone(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:
        fail_after(temporary.write_text("half"), error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_failed_write_of_a_new_file_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "a.txt") as temporary:
        fail_after(temporary.write_text("half"), RuntimeError)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_written_file_has_the_users_permissions(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
    finally:
        after = os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode
    assert after == umask


def test_write_into_a_missing_folder_is_refused(tmp_path):
    with (
        pytest.raises(ValueError, match=r"cannot write .*missing/a\.txt: the folder .*missing does not exist"),
        atomic_write(tmp_path / "missing" / "a.txt"),
    ):
        pass
    assert names(tmp_path) == []


def test_write_over_a_folder_is_refused(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with (
        pytest.raises(ValueError, match=r"expected a file name to write to, got the folder .*a\.txt"),
        atomic_write(tmp_path / "a.txt"),
    ):
        pass
    assert names(tmp_path) == ["a.txt"]


# -- atomic_folder -----------------------------------------------------------------------------------------------


def test_folder_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "model"
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("new")
        assert not path.exists()
    assert names(path) == ["a"]
    assert names(tmp_path) == ["model"]


def test_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").write_text("old")
    with atomic_folder(path) as temporary:
        (temporary / "new").write_text("new")
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failed_folder_leaves_the_old_one_alone(tmp_path, error):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(error), atomic_folder(path) as temporary:
        fail_after((temporary / "new").write_text("half"), error)
    assert names(path) == ["old"]
    assert names(tmp_path) == ["model"]


def test_folder_that_cannot_be_put_in_place_leaves_the_old_one_alone(tmp_path):
    # The old folder is moved aside first; if the new one then cannot take its place, the old one must come back.
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(OSError), atomic_folder(path) as temporary:
        temporary.rmdir()
    assert names(tmp_path) == ["model"]
    assert names(path) == ["old"]


def test_failed_new_folder_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "model"):
        raise RuntimeError
    assert names(tmp_path) == []


def test_written_folder_has_the_users_permissions(tmp_path):
    before = os.umask(0o022)
    try:
        with atomic_folder(tmp_path / "model"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o755


def test_folder_in_the_current_one_by_its_bare_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_folder("model") as temporary:
        (temporary / "a").write_text("new")
    assert names(tmp_path / "model") == ["a"]


def test_folder_in_a_missing_folder_is_refused(tmp_path):
    with (
        pytest.raises(ValueError, match=r"cannot write .*: the folder .*missing does not exist"),
        atomic_folder(tmp_path / "missing" / "model"),
    ):
        pass


def test_folder_over_a_file_is_refused(tmp_path):
    (tmp_path / "model").write_text("a file")
    with (
        pytest.raises(ValueError, match=r"expected a folder to write to, got the file .*model"),
        atomic_folder(tmp_path / "model"),
    ):
        pass
    assert (tmp_path / "model").read_text() == "a file"


# -- read_json ---------------------------------------------------------------------------------------------------


def test_json_object_is_read_as_utf8(tmp_path):
    (tmp_path / "a.json").write_bytes('{"größe": [1, 2]}'.encode())
    assert read_json(tmp_path / "a.json") == {"größe": [1, 2]}


def test_missing_json_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no such file: .*a\.json"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"hello", b'{"a": "\xff"}'])
def test_broken_json_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json cannot be read as JSON"):
        read_json(tmp_path / "a.json")


def test_folder_instead_of_json_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as JSON"):
        read_json(tmp_path)


@pytest.mark.parametrize(("content", "kind"), [("[1]", "list"), ("3", "int"), ('"a"', "str"), ("null", "NoneType")])
def test_json_of_another_kind_is_refused(tmp_path, content, kind):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=f"expected a JSON object, got {kind}"):
        read_json(tmp_path / "a.json")


def test_files_in_a_new_folder_can_be_read_like_any_other_of_the_user(tmp_path):
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "unet").mkdir()
        private = folder / "unet" / "weights"
        private.touch(0o600)
        script = folder / "run"
        script.touch(0o700)
    (tmp_path / "plain").touch()
    usual = (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "model" / "unet" / "weights").stat().st_mode == usual
    assert (tmp_path / "model" / "run").stat().st_mode == usual | 0o700
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["run", "unet"]
