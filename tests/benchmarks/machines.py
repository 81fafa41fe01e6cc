"""Machines for trying clusters: namespaces of the network, joined by a bridge, each with a Ray node. Needs root."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

NETWORK = "10.77.46"
PORT = 6379
_START_S = 240.0
_NOTICE_S = 4.0
_WORKER = "magma_eval.pools.worker_process"
_DRAIN = """
import sys, time
from ray._raylet import GcsClient
client, preempted, why = GcsClient(address=sys.argv[1]), 2, "it is not known"
until = time.monotonic() + 60
while time.monotonic() < until:  # one that has just been started may not be known yet, a killed one still
    for node, info in client.get_all_node_info(timeout=30).items():
        if info.node_manager_address == sys.argv[2]:
            try:
                deadline_ms = 1000 * (int(time.time()) + 60)
                if client.drain_node(node.hex(), preempted, "it is wanted elsewhere", deadline_ms)[0]:
                    print("drained")
                    sys.exit()
            except Exception as error:
                why = error
    time.sleep(0.5)
sys.exit(f"not drained: {why}")
"""


class Machines:
    """A cluster of several machines; a context manager. The first is the head.

    Args:
        count: of machines, each with two cores as Ray counts.
        variables: environment of everything on them.

    Raises:
        OSError: no namespace can be made here.
    """

    def __init__(self, count: int, variables: Mapping[str, str]) -> None:
        self._name = f"mg{os.getpid() % 10_000}"
        self._count = count
        self.environment = {
            **variables,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "OMP_NUM_THREADS": "1",
        }
        self.address = f"{NETWORK}.11:{PORT}"
        self._folder = Path(tempfile.mkdtemp(prefix="mgr"))
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Machines:
        try:
            self._command("ip", "link", "add", self._name, "type", "bridge")
            self._command("ip", "addr", "add", f"{NETWORK}.1/24", "dev", self._name)
            self._command("ip", "link", "set", self._name, "up")
            for number in range(self._count):
                self._wire(number)
            for number in range(self._count):
                self.start(number)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for number in range(self._count):
            self.stop(number)
            subprocess.run(["ip", "netns", "del", self._space(number)], capture_output=True)
        subprocess.run(["ip", "link", "del", self._name], capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def inside(self, number: int, command: Sequence[str]) -> list[str]:
        """The command on a machine."""
        return ["ip", "netns", "exec", self._space(number), *command]

    def start(self, number: int) -> None:
        """Starts a machine's node, and waits until it has joined."""
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=2", "--disable-usage-stats"]
        ray += ["--object-store-memory=80000000", f"--node-ip-address={self._ip(number)}"]
        if number == 0:
            ray += ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={self._folder}"]
        else:
            ray += [f"--address={self.address}"]
        log = (self._folder / f"start-{number}.log").open("ab")
        self._nodes[number] = subprocess.Popen(
            self.inside(number, ray), env=self.environment, stdout=log, stderr=log, start_new_session=True
        )
        until = time.monotonic() + _START_S
        while not any("raylet" in name for _, name in self._processes(number)):
            if self._nodes[number].poll() is not None or time.monotonic() > until:
                raise OSError(f"node {number} does not start: {Path(log.name).read_text()[-2000:]}")
            time.sleep(0.2)

    def stop(self, number: int) -> None:
        """Ends everything on a machine."""
        for pid, _ in self._processes(number):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if number in self._nodes:
            self._nodes.pop(number).wait()

    @property
    def at_work(self) -> bool:
        """Whether a worker process is on any machine."""
        return any(_WORKER in name for number in range(self._count) for _, name in self._processes(number))

    def kill_random(self, what: str, dice: random.Random) -> bool:
        """Kills -9 a worker process, a Ray actor, or a whole node other than the head, which then comes back; a node at
        once, or as spot machines go: drained and, a moment later, gone."""
        numbers = list(range(self._count))
        if what in ("node", "drained node"):
            number = dice.choice(numbers[1:])
            if what == "drained node":
                self._drain(number)
                time.sleep(_NOTICE_S)
            self.stop(number)
            self.start(number)
            return True
        sign = {"worker": _WORKER, "actor": "ray::Host"}[what]
        found = [pid for number in numbers for pid, name in self._processes(number) if sign in name]
        if not found:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(dice.choice(found), signal.SIGKILL)
        return True

    def kill(self, pid: int, sign: str) -> None:
        """Kills -9 a process, which `ip netns exec` has become."""
        if sign in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)

    def _drain(self, number: int) -> None:
        words = [sys.executable, "-c", _DRAIN, self.address, self._ip(number)]
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True)
        if "drained" not in done.stdout:
            raise OSError(f"node {number} cannot be drained: {done.stderr}")

    def _processes(self, number: int) -> list[tuple[int, str]]:
        found = subprocess.run(["ip", "netns", "pids", self._space(number)], capture_output=True, text=True).stdout
        processes = []
        for word in found.split():
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{word}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                processes.append((int(word), name))
        return processes

    def _wire(self, number: int) -> None:
        space, near, far = self._space(number), f"{self._name}n{number}", f"{self._name}f{number}"
        self._command("ip", "netns", "add", space)
        self._command("ip", "link", "add", near, "type", "veth", "peer", "name", far)
        self._command("ip", "link", "set", near, "master", self._name, "up")
        self._command("ip", "link", "set", far, "netns", space)
        self._command(*self.inside(number, ["ip", "addr", "add", f"{self._ip(number)}/24", "dev", far]))
        self._command(*self.inside(number, ["ip", "link", "set", far, "up"]))
        self._command(*self.inside(number, ["ip", "link", "set", "lo", "up"]))

    def _space(self, number: int) -> str:
        return f"{self._name}m{number}"

    def _ip(self, number: int) -> str:
        return f"{NETWORK}.{11 + number}"

    @staticmethod
    def _command(*words: str) -> None:
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
