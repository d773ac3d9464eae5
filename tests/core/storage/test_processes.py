"""Whether the process that writes a run lives."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import psutil
import pytest

from nodelens.storage.processes import Owner, this_process


def owner(pid, started):
    return Owner(pid, started, platform.node())


def test_this_process_lives():
    known = this_process()
    assert known.pid == os.getpid()
    assert known.alive()


@pytest.mark.parametrize(("seconds", "alive"), [(-3600, False), (-5, True), (5, True), (90, False)])
def test_a_number_that_is_used_again_is_another_process(seconds, alive):
    assert owner(os.getpid(), this_process().process + seconds).alive() == alive


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="children are left behind on POSIX only")
def test_a_process_that_was_not_waited_for_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    since = psutil.Process(child.pid).create_time()
    assert owner(child.pid, since).alive()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not owner(child.pid, since).alive()
    child.communicate()
    assert not owner(child.pid, since).alive()


def test_a_process_of_another_user_that_tells_nothing_counts_as_alive(monkeypatch):
    def denied(process):
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "status", denied)
    assert this_process().alive()
