"""The worker process of the original SimplerEnv, run by this Python: failed requests, death, hanging, bad set-ups."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from magma_sim import make_task
from magma_sim.backends.simpler_original import installation
from magma_sim.backends.simpler_original.client import Worker, WorkerError, WorkerLostError
from magma_sim.backends.simpler_original.installation import Installation, NotInstalledError
from magma_sim.backends.simpler_original.protocol import VERSION

MAKE = {"env_id": None, "task": "widowx_carrot_on_plate", "arguments": {}, "images": False, "rasterise": False}


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    """An installation whose Python has no SimplerEnv."""
    return Installation(sys.executable, str(tmp_path), str(tmp_path / "layer"), "unknown")


@pytest.fixture
def worker(here: Installation) -> Iterator[Worker]:
    worker = Worker(here)
    yield worker
    worker.close()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_it_says_what_it_is(worker: Worker) -> None:
    assert worker.versions["protocol"] == VERSION
    assert set(worker.versions) == {"protocol", "python", "sapien", "numpy"}


def test_a_failed_request_leaves_it_ready(worker: Worker) -> None:
    with pytest.raises(WorkerError, match="before 'make'"):
        worker.ask("reset", {"seed": None, "options": {}}, timeout_s=60.0)
    with pytest.raises(WorkerError, match="simpler_env"):
        worker.ask("make", MAKE, timeout_s=60.0)
    with pytest.raises(WorkerError, match="unexpected keyword"):
        worker.ask("make", {**MAKE, "colour": "red"}, timeout_s=60.0)
    assert worker.ask("hello", {}, timeout_s=60.0)[0]["protocol"] == VERSION


def test_a_killed_worker_is_said_with_its_status(worker: Worker) -> None:
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError, match="exit status -9"):
        worker.ask("hello", {}, timeout_s=60.0)
    assert gone(worker.pid)


def test_a_hanging_worker_is_killed_at_the_deadline(worker: Worker) -> None:
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(WorkerLostError, match=r"did not answer 'hello' within 0\.2 s"):
        worker.ask("hello", {}, timeout_s=0.2)
    assert gone(worker.pid)


def test_it_ends_with_its_evaluator(here: Installation) -> None:
    worker = Worker(here)
    worker._connection.close()
    deadline = time.monotonic() + 20
    while worker._process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert worker._process.poll() == 0
    worker.close()


def test_a_python_that_cannot_start_it_is_said(here: Installation, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no numpy here >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(WorkerLostError, match="no numpy here"):
        Worker(Installation(str(python), here.source, here.layer, "unknown"))


def test_without_an_installation_the_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAGMA_SIMPLER_HOME", str(tmp_path))
    with pytest.raises(NotInstalledError, match=r"\./run setup-simpler --source"):
        make_task("simpler/widowx_carrot_on_plate")


def test_a_damaged_record_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAGMA_SIMPLER_HOME", str(tmp_path))
    record = tmp_path / "installation.json"
    wrong_types = '{"python": 5, "source": "/", "layer": "/", "revision": "x"}'
    for text in ("{", "[]", '{"python": "x"}', "[" * 100_000, wrong_types):
        record.write_text(text)
        with pytest.raises(NotInstalledError, match=r"damaged|again"):
            installation.find()
    record.write_text(json.dumps({"python": "/nowhere", "source": "/", "layer": "/", "revision": "x"}))
    with pytest.raises(NotInstalledError, match="/nowhere"):
        installation.find()


def test_a_folder_that_is_not_simpler_env_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAGMA_SIMPLER_HOME", str(tmp_path / "home"))
    with pytest.raises(installation.SetupError, match="has no simpler_env"):
        installation.set_up(installation.SetupConfig(source=str(tmp_path)))


def test_unknown_names_and_options_are_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError, match="unknown task"):
        make_task("simpler/google_robot_dance")
    with pytest.raises(ValueError, match="colour"):
        make_task("simpler/widowx_carrot_on_plate", colour="red")
