"""The test run itself: what it starts ends with it, and heeds signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux' /proc")
def test_a_killed_run_leaves_no_processes_behind(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    (tmp_path / "test_that_hangs.py").write_text(
        "import pathlib, subprocess, sys\n"
        "def test():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        f"    pathlib.Path({str(note)!r}).write_text(str(child.pid) + '\\n')\n"
        "    child.wait()\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", "test_that_hangs.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (note.exists() and note.read_text().endswith("\n")):
        assert time.monotonic() < deadline, "the inner run did not begin"
        time.sleep(0.05)
    child = int(note.read_text())
    run.send_signal(signal.SIGKILL)
    run.wait()
    while _runs(child):
        assert time.monotonic() < deadline, "a process outlived the run that had started it"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux' /proc")
@pytest.mark.parametrize("way", ["ignored", "blocked"])
def test_what_a_deaf_run_starts_heeds_signals_and_the_run_stays_deaf(tmp_path: Path, way: str) -> None:
    numbers = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}
    (tmp_path / "test_inner.py").write_text(
        "import os, pathlib, signal, subprocess, sys\n"
        "def test():\n"
        "    child = subprocess.run(['grep', '^Sig[BI]', '/proc/self/status'], stdout=subprocess.PIPE, text=True)\n"
        "    pathlib.Path('masks').write_text(child.stdout)\n"
        f"    if {way == 'ignored'}:\n"
        "        for number in (signal.SIGHUP, signal.SIGINT):\n"
        "            os.kill(os.getpid(), number)\n"
    )

    def deafen() -> None:
        if way == "ignored":
            for number in numbers:
                signal.signal(number, signal.SIG_IGN)
        else:
            signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", "test_inner.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=deafen,
        check=True,
        timeout=60,
    )
    masks = dict(line.split(":") for line in (tmp_path / "masks").read_text().splitlines())
    assert set(masks) == {"SigBlk", "SigIgn"}
    for mask in masks.values():
        assert not any(int(mask, 16) >> (number - 1) & 1 for number in numbers), masks
