"""Several policies in one report: who played the same episodes, every pair's test, time and memory beside success."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from scipy.stats import binomtest

from magma_eval import command
from magma_eval.confidence_intervals import PairedOutcomes, Rate, holm
from magma_eval.policies.memory import served_memory
from magma_eval.report.comparison import contests
from magma_eval.report.numbers import numbers
from magma_eval.report.page import render
from magma_eval.results.episode_result import EpisodeResult, Stage
from magma_eval.results.run_folder import MEMORY, RUN_FILE, RunFolder, read_run, write_json
from magma_eval.run.recorder import Recorder, RunDescription
from magma_policy.serving.metrics import Metrics

from .test_report import folder, made


def played(policy: str, wins: set[int], count: int = 20, ms: float = 10.0, **changes: object) -> list[EpisodeResult]:
    stages = {"policy": Stage.of([ms, ms * 3])}
    return [made(n, n in wins, policy=policy, stages=stages, **changes) for n in range(count)]


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    found = [
        folder(tmp_path / "a", played("alpha", set(range(18)))),
        folder(tmp_path / "b", [*played("beta", set(range(6)), 19, 40.0), made(19, None, policy="beta")]),
        folder(tmp_path / "c", played("gamma", set(range(5)), 20, 2.0)),
    ]
    content = json.loads((found[1] / RUN_FILE).read_text())
    write_json(found[1] / RUN_FILE, content | {MEMORY: {"host": 1234.5, "accelerator": 15000.0}})
    return found


def test_every_pair_is_tested_on_the_episodes_that_both_played(runs: list[Path]) -> None:
    (contest,) = contests([RunFolder.read(run) for run in runs], "last")
    assert contest.title == "simpler-bridge, lock-step" and contest.shared == 19
    rates = {one.name: (one.rate, one.shared) for one in contest.contestants}
    assert rates == {
        "alpha": (Rate(18, 20), Rate(18, 19)),
        "beta": (Rate(6, 19), Rate(6, 19)),
        "gamma": (Rate(5, 20), Rate(5, 19)),
    }
    outcomes = {(pair.first, pair.second): pair.comparison.paired for pair in contest.pairs if pair.comparison}
    assert outcomes == {
        ("alpha", "beta"): PairedOutcomes(6, 12, 0, 1),
        ("alpha", "gamma"): PairedOutcomes(5, 13, 0, 2),
        ("beta", "gamma"): PairedOutcomes(5, 1, 0, 13),
    }
    tests = [binomtest(n, n, 0.5).pvalue for n in (12, 13, 1)]
    assert [pair.adjusted_p for pair in contest.pairs] == pytest.approx([2 * tests[0], 3 * tests[1], 1.0])


def test_time_and_memory_stand_beside_success(runs: list[Path]) -> None:
    (contest,) = contests([RunFolder.read(run) for run in runs], "last")
    costs = {one.name: (one.median_ms, one.p95_ms, dict(one.memory_mib)) for one in contest.contestants}
    assert costs["alpha"] == (20.0, pytest.approx(29.0), {})
    assert costs["beta"][2] == {"host": 1234.5, "accelerator": 15000.0}
    page = render([RunFolder.read(run) for run in runs], "last")
    assert "Policies on the same episodes" in page and "1234 MiB host, 15000 MiB accelerator" in page
    assert "not told" in page and "Holm p" in page and "SimplerEnv, visual matching, 4 Bridge tasks" in page
    told = numbers([RunFolder.read(run) for run in runs], "last")["contests"]
    assert json.loads(json.dumps(told))[0]["pairs"][0]["outcomes"]["only_first"] == 12


def test_what_cannot_be_compared_is_not(tmp_path: Path) -> None:
    other_task = folder(tmp_path / "o", played("other", {1}, task="widowx_carrot_on_plate"))
    alone = folder(tmp_path / "a", played("alpha", {1}))
    late = folder(tmp_path / "l", played("late", {1}, clock="realtime", latency_ms=100.0))
    runs = [RunFolder.read(run) for run in (other_task, alone, late)]
    (contest,) = contests(runs, "last")
    assert contest.shared == 0 and {one.name for one in contest.contestants} == {"alpha", "other"}
    assert contest.pairs[0].comparison is None and "no task in common" in contest.pairs[0].why
    assert "no task in common" in render(runs, "last")
    assert contests(runs[:1], "last") == []


def test_compare_takes_any_number_of_runs(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["magma-eval", "compare", *map(str, runs)])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "19 episodes that all have finished" in said and "Holm p" in said and "15000 MiB accelerator" in said
    monkeypatch.setattr(sys, "argv", ["magma-eval", "compare", *map(str, runs[:1] * 3)])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert "no two of these runs" in str(ended.value.code)


def test_results_on_a_clock_without_latencies_stay_of_two_runs_and_of_three(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for few in (runs[:2], runs):
        said = []
        for options in ([], ["--latency-ms", "100"]):
            monkeypatch.setattr(sys, "argv", ["magma-eval", "compare", *map(str, few), *options])
            with pytest.raises(SystemExit) as ended:
                command.main()
            assert not ended.value.code
            said.append(capsys.readouterr().out)
        assert said[0] == said[1] and said[0]


@pytest.mark.parametrize(
    ("given", "adjusted"),
    [([], []), ([0.2], [0.2]), ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.5, 0.9], [1.0, 1.0])],
)
def test_holms_adjustment(given: list[float], adjusted: list[float]) -> None:
    assert holm(given) == pytest.approx(adjusted)


@contextmanager
def metrics(body: bytes, token: str = "") -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = not token or self.headers["Authorization"] == f"Bearer {token}"
            self.send_response(200 if self.path == "/metrics" and allowed else 401)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"ws://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_memory_is_what_the_server_tells() -> None:
    counted = Metrics()
    counted.watch("magma_device_memory_peak_bytes", "as on a machine with an accelerator", lambda: 3 * 2.0**30)
    with metrics(counted.text(), "secret") as url:
        told = served_memory(url, "secret")
        assert told["accelerator"] == 3072.0 and 10 < told["host"] < 100_000
        assert served_memory(url, "wrong") == {} and served_memory(url, "") == {}
    with metrics(b"magma_memory_peak_bytes NaN\nprocess_resident_memory_bytes 1048576.0\n") as url:
        assert served_memory(url, "") == {"host": 1.0}, "a number that is none is not told as one"
    with metrics(b"\xff" * 100) as url:
        assert served_memory(url, "") == {}
    assert served_memory(url, "") == {} and served_memory("openpi://127.0.0.1:1?model=x", "") == {}


@contextmanager
def answering(*parts: bytes, rest: bytes = b"") -> Iterator[tuple[str, list[bytes]]]:
    """A server of plain bytes: what it answers to everybody, and then drop by drop for ever; what it was asked."""
    heard: list[bytes] = []
    end = threading.Event()

    def answer(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    heard.append(connection.recv(4096))
                    for part in parts:
                        connection.sendall(part)
                    while rest and not end.wait(0.02):
                        connection.sendall(rest)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}", heard
        end.set()
        listener.shutdown(socket.SHUT_RDWR)


def test_memory_is_asked_of_the_server_that_was_named_alone_and_not_for_ever() -> None:
    told = b"HTTP/1.1 200 OK\r\n\r\nmagma_memory_peak_bytes 1048576\n"
    with answering(told) as (url, _):
        assert served_memory(url, "secret") == {"host": 1.0}
    with answering(told) as (elsewhere, heard):
        to = b"Location: " + elsewhere.replace("ws", "http", 1).encode() + b"/metrics\r\n\r\n"
        for status in (b"301", b"302", b"303", b"307", b"308"):
            with answering(b"HTTP/1.1 " + status + b" Elsewhere\r\nContent-Length: 0\r\n" + to) as (url, _):
                assert served_memory(url, "secret") == {}
        assert not heard
    with answering(b"SSH-2.0-OpenSSH\r\n") as (url, _):
        assert served_memory(url, "") == {}
    with answering(told, rest=b"#") as (url, heard):
        assert served_memory(url, "", timeout_s=0.3) == {}


def test_the_largest_memory_of_several_parts_of_a_run_stays(tmp_path: Path) -> None:
    about = RunDescription({"policy": "hold", "factory": ""}, {"given": "hold"}, "simpler-bridge", "last", {})
    for mib, result in (({"host": 5.0}, 0), ({"host": 3.0, "accelerator": 9.0}, 1)):
        with Recorder(tmp_path, "results.jsonl", about) as recorder:
            recorder.keep_memory({"host": 100.0})  # no result yet: no run to note it in
            recorder.keep(replace(made(result, True), episode=made(result, True).episode))
            recorder.keep_memory(mib)
    assert read_run(tmp_path)[MEMORY] == {"host": 5.0, "accelerator": 9.0}
