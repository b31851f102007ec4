"""The list of skipped files."""

import gc
import os
from pathlib import Path

import pytest

from pocold.data.skipping import SkipLog, _remove, check_on_error, check_split


def test_the_first_reason_counts_and_the_order_stays():
    log = SkipLog()
    assert log.entries() == {}
    other = SkipLog()  # as another process, which has noted nothing yet
    other._path = log._path
    log.add("b", "empty\nfile")
    other.add("a", "gone")
    other.add("b", "another reason")
    assert list(log.entries().items()) == [("b", "empty\nfile"), ("a", "gone")]


def test_a_file_that_fails_again_is_written_once():
    log = SkipLog()
    for _ in range(3):
        log.add("a", "gone")
    assert Path(log._path).read_text().count("\n") == 1


def test_the_file_goes_with_its_owner_alone():
    log = SkipLog()
    log.add("a", "gone")
    folder = Path(log._path).parent
    _remove(str(folder), os.getpid() + 1)  # a worker that ends
    assert log.entries() == {"a": "gone"}
    del log
    gc.collect()
    assert not folder.exists()


def test_words_that_are_none():
    with pytest.raises(ValueError, match="unknown on_error 'ignore': expected 'raise' or 'skip'"):
        check_on_error("ignore")
    with pytest.raises(ValueError, match="unknown split 'val': expected 'train' or 'test'"):
        check_split("val")
