"""Whether the process that writes a run lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodelens.storage.processes import process_alive, started_at, this_process


def test_this_process_lives():
    known = this_process()
    assert known["pid"] == os.getpid()
    assert process_alive(known["pid"], known["process"])
    assert process_alive(known["pid"], None)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux tells when processes start")
def test_a_number_that_is_used_again_is_another_process():
    assert not process_alive(os.getpid(), "another boot 12")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux tells when processes start")
def test_a_process_that_was_not_waited_for_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    since = started_at(child.pid)
    assert process_alive(child.pid, since)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not process_alive(child.pid, since)
    child.communicate()
    assert not process_alive(child.pid, since)
