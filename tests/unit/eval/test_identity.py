"""Results are known by what a policy is, not by what it is called or where it answers."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.server import serve

from magma_contracts.action_spec import ActionSpec
from magma_eval.episodes import Episode, write_suite_file
from magma_eval.policies.choice import PolicyChoice
from magma_eval.report.numbers import numbers
from magma_eval.results.episode_result import ResultsError
from magma_eval.results.merge import merge
from magma_eval.results.run_folder import RunFolder, load, read_run, without_repetitions
from magma_eval.run.coordinator import RunError
from magma_eval.run.plan import RunConfig
from magma_eval.run.runner import Runner
from magma_eval.suites import Shard
from magma_eval.summary import summarise
from magma_policy_client import messages

SPEC = ActionSpec("served", 1, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 8, 8, False)
FIRST, SECOND = "a1" * 16, "b2" * 16


class Server:
    """A policy server whose policy is exchanged after some actions, as if it had been started again."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.actions = 0
        self.exchange_after = -1
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_until_complete, args=(self._main(),), daemon=True).start()
        assert self._ready.wait(60)
        self.url = f"ws://127.0.0.1:{self.port}"

    async def _main(self) -> None:
        self._end = asyncio.Event()
        async with serve(self._handle, "127.0.0.1", 0, close_timeout=0.1) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._ready.set()
            await self._end.wait()

    async def _handle(self, connection) -> None:
        await connection.recv()
        welcome = messages.Welcome(messages.PROTOCOL_VERSION, "fake", SPEC, (), 2**20, self.identity)
        await connection.send(messages.encode(welcome))
        async for data in connection:
            question = messages.decode(data)
            if isinstance(question, messages.Reset):
                await connection.send(messages.encode(messages.Done(question.sequence)))
                continue
            self.actions += 1
            if self.actions == self.exchange_after:
                self.identity = SECOND
                await connection.close()
                return
            await connection.send(messages.encode(messages.Result(question.sequence, np.zeros((1, 7)), {})))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(FIRST)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def workers_find_the_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


def config(folder: Path, policy: str, out: str = "out", **changes) -> RunConfig:
    path = folder / "suite.json"
    write_suite_file(path, [Episode("fake", "reach", "eval", n, make="reach", layout=n) for n in range(4)])
    values = {"suite": str(path), "out": folder / out, "factory": "evaluation_fakes:make_task", **changes}
    return RunConfig(policy=PolicyChoice(policy, deadline_s=5.0), step_timeout_s=30.0, **values)


def test_another_policy_behind_the_address_is_not_joined_to_the_results_of_the_first(tmp_path, server):
    Runner(config(tmp_path, server.url, limit=2)).run()
    assert {result.key.policy_identity for result in load(tmp_path / "out").results} == {FIRST}
    assert read_run(tmp_path / "out")["policy"]["where"] == server.url
    server.identity = SECOND
    with pytest.raises(ResultsError, match=f"policy_identity was '{FIRST}' and is '{SECOND}'"):
        Runner(config(tmp_path, server.url)).run()
    Runner(config(tmp_path, server.url, "other", limit=2)).run()
    both = [RunFolder.read(tmp_path / name) for name in ("out", "other")]
    rows = summarise(result for run in both for result in run.results)
    assert [row.name for row in rows] == [f"{server.url} (a1a1a1a1a1a1)", f"{server.url} (b2b2b2b2b2b2)"]


@pytest.mark.parametrize("moment", [12, 17], ids=["in an episode", "between two"])
def test_a_policy_exchanged_while_a_run_goes_on_ends_the_run(tmp_path, server, moment):
    server.exchange_after = moment
    with pytest.raises(RunError, match="another policy"):
        Runner(config(tmp_path, server.url)).run()
    finished = load(tmp_path / "out").results
    assert len(finished) == (moment - 1) // 8 and {result.key.policy_identity for result in finished} == {FIRST}


def test_two_settings_of_one_policy_are_two_rows(tmp_path):
    for out, steps in (("a", 1), ("b", 4)):
        Runner(config(tmp_path, "hold", out, execute_steps=steps)).run()
    runs = [RunFolder.read(tmp_path / name) for name in ("a", "b")]
    rows = numbers(runs, "last")["settings"]
    assert [row["name"] for row in rows] == ["hold (actions per answer 1)", "hold (actions per answer 4)"]
    assert [row["total"]["rates"]["last"]["count"] for row in rows] == [4, 4]


def test_shards_beside_their_merge_count_once(tmp_path):
    for index in range(2):
        Runner(config(tmp_path, "hold", f"s{index}", shard=Shard(index, 2))).run()
    folders = [tmp_path / "s0", tmp_path / "s1"]
    merge(tmp_path / "all", folders)
    runs, remarks = without_repetitions([RunFolder.read(folder) for folder in (*folders, tmp_path / "all")])
    assert [len(run.results) for run in runs] == [2, 2, 0] and runs[2].duplicates == 4 and not remarks
    (row,) = numbers(runs, "last")["settings"]
    assert row["total"]["rates"]["last"]["count"] == 4


def test_one_episode_with_two_ends_counts_once_and_the_reader_is_told(tmp_path):
    Runner(config(tmp_path, "hold")).run()
    run = RunFolder.read(tmp_path / "out")
    other = replace(run, results=[replace(result, steps=result.steps + 1) for result in run.results])
    runs, (remark,) = without_repetitions([run, other])
    assert [len(run.results) for run in runs] == [4, 0] and remark.startswith("4 episodes were played more than once")


def test_results_of_the_first_format_still_load_with_what_their_run_knows(tmp_path):
    Runner(config(tmp_path, "hold", limit=1)).run()
    out = tmp_path / "out"
    run, line = json.loads((out / "run.json").read_text()), json.loads((out / "results.jsonl").read_text())
    run["format"], line["format"] = "magma-eval-run-1", "magma-eval-result-1"
    del run["policy"], run["identity"]["policy_identity"], line["key"]["policy_identity"]
    del line["settings"], line["corrected_by"]
    run["identity"] |= {"policy_files": "magma 0a1b2c", "execute_steps": 8}
    (out / "run.json").write_text(json.dumps(run))
    (out / "results.jsonl").write_text(json.dumps(line) + "\n")
    (result,) = load(out).results
    assert result.key.policy_identity == "magma 0a1b2c" and result.settings == {"actions per answer": "8"}


def test_a_policy_has_one_name_however_it_is_written(tmp_path, monkeypatch):
    pytest.importorskip("magma_policy")
    folder = Path(__file__).parents[3] / "policy" / "checkpoints" / "magma-tiny"
    names = ["magma-tiny", "magma:magma-tiny", str(folder), f"magma:{folder}", f"{folder}/"]
    monkeypatch.chdir(folder.parent)
    choices = [PolicyChoice(name) for name in (*names, "./magma-tiny")]
    assert {(choice.kind, choice.label, choice.where) for choice in choices} == {
        ("magma", "magma:magma-tiny", str(folder.resolve()))
    }
    assert {choice.training() for choice in choices} == {"in-domain simulation"}
