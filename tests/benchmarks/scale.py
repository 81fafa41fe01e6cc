"""Measures evaluation on several machines, and tries to break it; docs/scale.md holds what it found.

    python tests/benchmarks/scale.py cluster --machines 3        # results of a cluster against those of one process
    python tests/benchmarks/scale.py cluster --machines 3 --kills 50   # and with workers, nodes and drivers killed
    python tests/benchmarks/scale.py overhead                    # what Ray adds to an episode
    python tests/benchmarks/scale.py stubs --workers 1000        # workers without work against the coordinator
    python tests/benchmarks/scale.py suites                      # core-seconds and memory of an episode, suite by suite
    python tests/benchmarks/scale.py speed-up                    # two workers on a core each against one

Machines are network namespaces of this one, joined by a bridge (`machines.py`; needs root). Exit status 0: all held.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import tyro
from machines import Machines

from magma_eval.episodes import Episode, canonical_json, write_suite_file
from magma_eval.policies.choice import PolicyChoice
from magma_eval.pools.protocol import Event, Finished, Lease, Ready, WorkerSetup
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.episode_result import Key
from magma_eval.results.run_folder import load, read_lines
from magma_eval.rollout.settings import RolloutSettings
from magma_eval.run.coordinator import Coordinator, Limits
from magma_eval.run.progress import Progress
from magma_eval.run.recorder import Recorder, RunDescription
from magma_eval.run.scheduler import Job, Scheduler
from magma_eval.suites import SUITES

FAKES = Path(__file__).parents[1] / "unit" / "eval"
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def environment() -> dict[str, str]:
    """Of evaluations: they find the quick task of the tests."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")])}


def evaluation(out: Path, suite: str, *more: str, policy: str = "random") -> list[str]:
    """A run's command."""
    words = [sys.executable, "-m", "magma_eval.command", "run", "--policy", policy, "--suite", suite]
    return [*words, "--out", str(out), *more]


def quick_suite(folder: Path, count: int, slow_s: float) -> str:
    """Episodes of the tests' task, of eight steps."""
    path, options = folder / f"quick-{count}-{slow_s}.json", {"slow_s": slow_s}
    write_suite_file(
        path, [Episode("fake", "reach", "eval", n, make="reach", layout=n, options=options) for n in range(count)]
    )
    return str(path)


def differences(folder: Path, other: Path) -> list[str]:
    """What two finished runs disagree on, times left out: lines, their number, and what was done in every episode."""
    found = []
    one, two = load(folder).results, load(other).results
    for path in (folder, other):
        lines = sum(1 for _ in read_lines(path / "results.jsonl"))
        if lines != len(one):
            found.append(f"{path}: {lines} lines of {len(one)} episodes")
    if [canonical_json(r.outcome()) for r in one] != [canonical_json(r.outcome()) for r in two]:
        found.append("the results differ")
    for a, b in zip(one, two, strict=False):
        arrays = [EpisodeRecord.read(path / r.record) for path, r in ((folder, a), (other, b))]
        if arrays[0].actions.tobytes() != arrays[1].actions.tobytes():
            found.append(f"{a.key.name}: other actions")
    return found


@dataclass(frozen=True)
class Cluster:
    """Plays a suite in one process and on a cluster, and compares the results line for line."""

    machines: int = 3
    workers: int = 2
    kills: int = 0
    """of workers, nodes and drivers, at random moments; some nodes are drained before"""
    episodes: int = 60
    """of the quick task; its suite is played unless another is named"""
    slow_s: float = 0.1
    """of each of the quick task's eight steps"""
    suite: str = ""
    policy: str = "random"
    limit: int = 4
    """of another suite's tasks"""
    seed: int = 0
    longest_s: float = 6.0
    """longest time before a kill"""

    def run(self) -> int:
        folder = Path(tempfile.mkdtemp(prefix="magma-scale-"))
        suite = self.suite or quick_suite(folder, self.episodes, self.slow_s)
        more = ["--limit", str(self.limit)] if self.suite else ["--task-factory", "evaluation_fakes:make_task"]
        alone = folder / "alone"
        began_s = time.monotonic()
        subprocess.run(evaluation(alone, suite, *more, policy=self.policy), check=True, env=environment(), **QUIET)
        expected = len(load(alone).results)
        print(f"one process: {expected} episodes in {time.monotonic() - began_s:.0f} s", flush=True)
        with Machines(self.machines, environment()) as machines:
            more += ["--workers", str(self.workers), "--ray", machines.address]
            began_s = time.monotonic()
            kills, lost, folders = self._play(machines, folder, suite, more, expected)
            took_s = time.monotonic() - began_s
        wrong = [text for path in folders for text in differences(alone, path)]
        print(f"{self.machines} machines, {self.workers} workers: {len(folders)} runs in {took_s:.0f} s")
        print(f"kills: {dict(kills)}; finished lines lost: {lost}; runs that differ from one process': {len(wrong)}")
        for text in wrong:
            print(text)
        return 1 if lost or wrong else 0

    def _play(
        self, machines: Machines, folder: Path, suite: str, more: list[str], expected: int
    ) -> tuple[Counter[str], int, list[Path]]:
        dice, kills, lost = random.Random(self.seed), Counter[str](), 0
        folders = [folder / "cluster-0"]
        kept: list[bytes] = []
        driver: subprocess.Popen[bytes] | None = None
        log = (folder / "driver.log").open("ab")
        while True:
            enough = kills.total() >= self.kills
            if driver is None or driver.poll() is not None:
                if driver is not None and driver.returncode > 0:
                    sys.exit(f"the driver ended with status {driver.returncode}; see {folder}/driver.log")
                if driver is not None and driver.returncode == 0:
                    lost += lines_of(folders[-1])[: len(kept)] != kept
                    if enough:
                        return kills, lost, folders
                    folders.append(folder / f"cluster-{len(folders)}")
                    kept = []
                command = machines.inside(0, evaluation(folders[-1], suite, *more, policy=self.policy))
                driver = subprocess.Popen(command, env=machines.environment, stdout=log, stderr=log)
            if enough:
                driver.wait()
                continue
            time.sleep(dice.uniform(0.5, self.longest_s))
            if driver.poll() is not None or not machines.at_work:
                continue  # one that has not begun has nothing to lose
            victim = dice.choice(["worker", "actor", "node", "drained node", "driver"])
            if victim == "driver":
                machines.kill(driver.pid, "magma_eval.command")
                driver.wait()
            elif not machines.kill_random(victim, dice):
                continue
            kills[victim] += 1
            now = lines_of(folders[-1])
            lost += now[: len(kept)] != kept
            kept = now
            print(f"{kills.total()} {victim}: {len(now)} of {expected} lines", flush=True)


def lines_of(folder: Path) -> list[bytes]:
    """The whole lines of a run's results."""
    path = folder / "results.jsonl"
    if not path.exists():
        return []
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


@dataclass(frozen=True)
class Overhead:
    """Plays episodes that take next to no time in one process and on Ray, in turn, and tells how long the worker waits
    between the end of one and the beginning of the next: the result's way to the disk, and the next lease's back."""

    episodes: int = 200
    rounds: int = 2

    def run(self) -> int:
        folder = Path(tempfile.mkdtemp(prefix="magma-scale-"))
        suite = quick_suite(folder, self.episodes, 0.0)
        found: dict[str, list[float]] = {"processes": [], "ray": []}
        for number in range(self.rounds):
            for name, more in (("processes", []), ("ray", ["--ray"])):
                out = folder / f"{name}-{number}"
                words = ["--task-factory", "evaluation_fakes:make_task", *more]
                subprocess.run(evaluation(out, suite, *words), check=True, env=environment(), **QUIET)
                (chain,) = chains(out)
                between_ms = [1000 * (after.began_s - before.ended_s) for before, after in pairwise(chain)]
                found[name].append(statistics.fmean(between_ms))
                p95, each_ms = sorted(between_ms)[int(0.95 * len(between_ms))], [1000 * one.took_s for one in chain]
                print(
                    f"{name}: {found[name][-1]:.1f} ms between episodes (median {statistics.median(between_ms):.1f}, "
                    f"p95 {p95:.1f}), {statistics.fmean(each_ms):.1f} ms in one",
                    flush=True,
                )
        print(f"on Ray {max(found['ray']):.1f} ms at most, {max(found['processes']):.1f} ms with processes")
        print(f"load: {os.getloadavg()}")
        return int(max(found["ray"]) > 20.0)


@dataclass(frozen=True)
class Played:
    """One episode in time."""

    began_s: float
    ended_s: float
    steps: int

    @property
    def took_s(self) -> float:
        return self.ended_s - self.began_s


def chains(folder: Path) -> list[list[Played]]:
    """The episodes of each worker of a run, in order: an episode follows that which ended last before it began."""
    found: list[list[Played]] = []
    episodes = []
    for result in load(folder).results:
        ended_s = (folder / result.record).stat().st_mtime
        episodes.append(Played(ended_s - result.seconds, ended_s, result.steps))
    for episode in sorted(episodes, key=lambda one: one.began_s):
        # Records are written a moment after the worker's clock has stopped.
        free = [chain for chain in found if chain[-1].ended_s <= episode.began_s + 0.01]
        if free:
            max(free, key=lambda chain: chain[-1].ended_s).append(episode)
        else:
            found.append([episode])
    return found


def steps_per_s(played: list[list[Played]], began_s: float, ended_s: float) -> float:
    """Steps per second of all workers together, by the episodes that each has played wholly between two moments."""
    found = 0.0
    for chain in played:
        inside = [one for one in chain if one.began_s >= began_s and one.ended_s <= ended_s]
        if inside:
            found += sum(one.steps for one in inside) / (inside[-1].ended_s - inside[0].began_s)
    return found


class StubPool:
    """Workers that answer each lease at once."""

    def __init__(self) -> None:
        self.workers: dict[int, str] = {}
        self._coming: list[Event] = []

    def start(self, worker: int, setup: WorkerSetup) -> None:
        self.workers[worker] = "waiting"
        self._coming.append(Ready(worker))

    def lease(self, worker: int, lease: Lease) -> None:
        verdict = {"last": True, "first": True, "ever": True}
        result: dict[str, Any] = {"success": verdict, "stages": {}, "notes": [], "steps": 60, "max_steps": 60}
        self._coming.append(Finished(worker, result, lease.number, bytes(4000)))

    def drop(self, worker: int) -> None:
        self.workers.pop(worker, None)

    def events(self, timeout_s: float) -> list[Event]:
        found, self._coming = self._coming, []
        return found

    def close(self, patience_s: float) -> None:
        self.workers.clear()


@dataclass(frozen=True)
class Stubs:
    """Episodes per second that one coordinator takes from workers without work, records and fsync included."""

    workers: int = 1000
    episodes: int = 10_000

    def run(self) -> int:
        jobs = []
        for number in range(self.episodes):
            episode = Episode("stub", "reach", "eval", number, make=f"scene-{number % 50}", layout=number)
            key = Key("stub", "reach", "eval", number, 0, "hold", "c", "code")
            jobs.append(Job(key, episode, RolloutSettings(), 0))
        with tempfile.TemporaryDirectory(prefix="magma-scale-") as name:
            folder = Path(name)
            setup = WorkerSetup(PolicyChoice("hold"), "", "", "", "a:b", 1, folder)
            described = RunDescription({"policy": "hold"}, {"given": "hold"}, "stub", "last", {})
            with Recorder(folder, "results.jsonl", described) as recorder, Progress(len(jobs), [], "last") as progress:
                coordinator = Coordinator(
                    Scheduler(jobs, 3),
                    StubPool(),
                    lambda: setup,
                    recorder,
                    progress,
                    Limits(self.workers, 3),
                    rule="last",
                    settings={},
                )
                before_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                began_s, cpu_s = time.monotonic(), time.process_time()
                coordinator.run(lambda: 0)
                took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
            kept = len(load(folder).results)
        after_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{self.workers} workers: {kept} episodes in {took_s:.1f} s ({kept / took_s:.0f} per s; CPU {cpu_s:.1f} s, "
            f"{kept / cpu_s:.0f} per core-second); memory {before_mib:.0f} MiB before, {after_mib:.0f} MiB at most"
        )
        return int(kept != self.episodes)


@dataclass(frozen=True)
class Suites:
    """Core-seconds and memory of an episode of every suite that runs here: what the processes of a run (worker, policy
    server, browser, coordinator) take between the first result and a later one."""

    episodes: int = 2
    """of the suite's first task, besides the first one"""
    policies: tuple[str, ...] = ("random", "magma-tiny")
    only: tuple[str, ...] = ()
    longest_s: float = 300.0

    def run(self) -> int:
        print("| suite | policy | steps | core-s per episode | until the first, core-s | peak MiB: worker, all |")
        print("|---|---|---|---|---|---|", flush=True)
        for name in self.only or tuple(SUITES):
            for policy in self.policies:
                print(f"| {name} | {policy} | {self._row(name, policy)} |", flush=True)
        return 0

    def _row(self, suite: str, policy: str) -> str:
        with tempfile.TemporaryDirectory(prefix="magma-scale-") as name:
            out = Path(name, "out")
            more = ["--tasks", SUITES[suite].make()[0].task, "--limit", str(self.episodes + 2)]
            log = Path(name, "log")
            with log.open("wb") as file:
                run = subprocess.Popen(
                    evaluation(out, suite, *more, policy=policy), stdout=file, stderr=file, start_new_session=True
                )
            try:
                cores, until_s = [0.0, 0.0], time.monotonic() + self.longest_s
                for count in (1, 1 + self.episodes):
                    while len(lines_of(out)) < count:
                        if run.poll() is not None or time.monotonic() > until_s:
                            words = log.read_text(errors="replace").strip().splitlines()
                            why = (words or ["nothing was said"])[-1] if run.poll() is not None else "too slow"
                            return f"does not run here: {why[:150]} | | |"
                        time.sleep(0.05)
                    cores[count > 1] = sum(cpu_s(pid) for pid in family(run.pid))
                peaks = {pid: peak_mib(pid) for pid in family(run.pid)}
                worker_mib = max((peaks.get(pid, 0.0) for pid in worker_processes()), default=0.0)
                results = load(out).results
            finally:
                for pid in family(run.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                run.wait()
            steps = sum(result.steps for result in results[1:]) / max(1, len(results) - 1)
            each_s = (cores[1] - cores[0]) / self.episodes
            memory = f"{worker_mib:.0f}, {sum(peaks.values()):.0f}"
            return f"{steps:.0f} | {each_s:.2f} | {cores[0]:.1f} | {memory}"


@dataclass(frozen=True)
class SpeedUp:
    """Two workers against one, in one run on Ray: while it goes on, one worker and its server of the policy are stopped
    for a while, in turn. Each worker has its server on its own core and one renderer thread, in both arms. Tells the
    same without pinning beside it."""

    suite: str = "tabletop"
    task: str = ""
    """default: the first of the suite"""
    policy: str = "magma-tiny"
    windows: int = 8
    """with both, and as many with one"""
    window_s: float = 15.0
    unpinned_windows: int = 4

    def run(self) -> int:
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            sys.exit("two cores are needed")
        folder = Path(tempfile.mkdtemp(prefix="magma-scale-"))
        found = []
        for name, windows in (("pinned", self.windows), ("unpinned", self.unpinned_windows)):
            pairs = self._pairs(folder / name, windows, cores if name == "pinned" else [])
            found.append(statistics.fmean(two for _, two in pairs) / statistics.fmean(one for one, _ in pairs))
            print(f"{name}: " + ", ".join(f"{one:.1f} and {two:.1f}" for one, two in pairs) + " steps/s")
            print(f"{name}: 2 workers bring {found[-1]:.2f} of 2; load {os.getloadavg()[0]:.1f}", flush=True)
        return int(found[0] < 1.8)

    def _pairs(self, out: Path, windows: int, cores: list[int]) -> list[tuple[float, float]]:
        """Steps per second of one worker and of two, in windows one after the other."""
        task = self.task or SUITES[self.suite].make()[0].task
        seeds = ",".join(map(str, range(40)))
        more = ["--tasks", task, "--seeds", seeds, "--workers", "2", "--ray", "--ray-policies", "2"]
        variables = {**environment(), "LP_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        run = subprocess.Popen(evaluation(out, self.suite, *more, policy=self.policy), env=variables, **QUIET)
        try:
            while len(lines_of(out)) < 4:
                if run.poll() is not None:
                    sys.exit(f"the run ended with status {run.returncode}")
                time.sleep(0.5)
            units = sorted(worker_servers().items())
            if len(units) != 2 or units[0][1] == units[1][1]:
                sys.exit(f"two workers with a server each were wanted, these are there: {units}")
            for unit, core in zip(units, cores, strict=False):
                for pid in unit:
                    for thread in Path(f"/proc/{pid}/task").iterdir():
                        os.sched_setaffinity(int(thread.name), {core})
            spans = []
            for number in range(windows):
                spans.append((self._window(()), self._window(units[number % 2])))
        finally:
            run.send_signal(signal.SIGINT)
            run.send_signal(signal.SIGTERM)
            run.wait()
        played = chains(out)
        return [(steps_per_s(played, *one), steps_per_s(played, *two)) for two, one in spans]

    def _window(self, stopped: tuple[int, ...]) -> tuple[float, float]:
        """A while with these processes stopped: its beginning and its end."""
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        began_s = time.time()
        time.sleep(self.window_s)
        ended_s = time.time()
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        return began_s, ended_s


def worker_processes() -> list[int]:
    """Worker processes that run on this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"magma_eval.pools.worker_process" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return sorted(found)


def worker_servers() -> dict[int, int]:
    """Worker -> the process of the policy server that it is connected to, as `ss` tells."""
    told = subprocess.run(["ss", "-tnpH", "state", "established"], capture_output=True, text=True).stdout
    ends = {}
    for line in told.splitlines():
        here, there = line.split()[2:4]
        if owner := re.search(r"pid=(\d+)", line):
            ends[here] = (there, int(owner[1]))
    workers, found = set(worker_processes()), {}
    for there, pid in ends.values():
        if pid in workers and there in ends:
            found[pid] = ends[there][1]
    return found


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            children.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_s(pid: int) -> float:
    """CPU time of a process and of those below it that it has waited for."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def peak_mib(pid: int) -> float:
    """Most memory that a process had at a time."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    return 0.0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(
        tyro.extras.subcommand_cli_from_dict(
            {"cluster": Cluster, "overhead": Overhead, "stubs": Stubs, "suites": Suites, "speed-up": SpeedUp}
        ).run()
    )
