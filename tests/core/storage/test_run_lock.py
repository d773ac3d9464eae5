"""One process at a time writes a run folder."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psutil
import pytest

from nodelens.errors import RunError
from nodelens.storage.run_lock import locked

LOCK = "run.lock"


def write(folder, pid, started, host=None):
    owner = {"format": 1, "pid": pid, "process": started, "host": host or platform.node()}
    (folder / LOCK).write_text(json.dumps(owner))


def test_the_lock_names_its_process_and_is_gone_afterwards(tmp_path):
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_an_error_gives_the_lock_back(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_second_holder_is_refused_and_told_the_process(tmp_path):
    with locked(tmp_path):
        with pytest.raises(RunError, match=f"still going on, in process {os.getpid()}; wait"):
            locked(tmp_path).__enter__()
        assert (tmp_path / LOCK).exists()


def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write(tmp_path, child.pid, psutil.Process(child.pid).create_time())
    with pytest.raises(RunError, match="still going on"):
        locked(tmp_path).__enter__()
    child.communicate()
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_a_number_that_another_process_uses_again_is_no_owner(tmp_path):
    write(tmp_path, os.getpid(), psutil.Process().create_time() - 3600)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["process"] > time.time() - 1e6


def test_nothing_is_known_of_another_machine(tmp_path):
    write(tmp_path, 1, 0.0, "elsewhere")
    with pytest.raises(RunError, match="process 1 on elsewhere, of which nothing can be known"):
        locked(tmp_path).__enter__()


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1, "pid": -1, "process": 1, "host": "x"}'])
def test_a_damaged_lock_is_named_with_the_way_out(tmp_path, text):
    (tmp_path / LOCK).write_text(text)
    with pytest.raises(RunError, match=r"run\.lock: names no process; remove it if no other"):
        locked(tmp_path).__enter__()


def test_a_process_that_died_before_it_wrote_its_name_holds_nothing(tmp_path):
    (tmp_path / LOCK).write_text("")
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text()


def test_of_many_that_come_together_one_gets_a_stale_lock(tmp_path):
    write(tmp_path, os.getpid(), 0.0)

    def take(_):
        try:
            return held.enter_context(locked(tmp_path)) is None
        except RunError:
            return False

    with ExitStack() as held, ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(16))) == 1
