"""A worker as a process: `python -m magma_eval.pools.worker_process READ_FD WRITE_FD PARENT_PID`.

Whatever the simulator prints goes to stdout and stderr, which are a log file; messages have pipes of their own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback

from magma_eval.pools import wire
from magma_eval.pools.protocol import lease_from, setup_from
from magma_eval.pools.worker import Broken, EpisodeWorker

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""


class WorkerProcess:
    """Answers the pool's messages until it says stop or is gone."""

    def __init__(self, read: int, write: int) -> None:
        self._reader, self._write = wire.LineReader(read), write
        self._worker: EpisodeWorker | None = None

    def run(self) -> None:
        """Until the end."""
        while not self._reader.ended:
            for message in self._reader.read():
                kind = message.pop("kind")
                if kind == "stop":
                    return
                if kind == "setup":
                    setup = setup_from(message)
                    self._worker = EpisodeWorker(setup)
                    wire.send(self._write, "ready", facts=self._worker.facts(setup))
                elif kind == "episode" and self._worker is not None:
                    self._play(self._worker, message)
                else:
                    raise wire.BrokenWireError(f"the message {kind!r} makes no sense here")

    def close(self) -> None:
        """Ends the connection to the policy."""
        if self._worker is not None:
            self._worker.close()

    def _play(self, worker: EpisodeWorker, message: wire.Message) -> None:
        lease = lease_from(message)
        outcome = worker.play(lease, lambda doing: wire.send(self._write, "alive", doing=doing))
        if isinstance(outcome, Broken):
            wire.send(self._write, "failed", cause=outcome.cause, message=outcome.message)
        else:
            wire.send(self._write, "result", **outcome)


def die_with_parent() -> None:
    """Has the kernel kill this process when the evaluator dies, by whatever cause: a simulator may hang for ever."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Entry point of the process."""
    parent = int(sys.argv[3])
    die_with_parent()
    if os.getppid() != parent:
        return  # it died before we asked to be told
    # Ctrl-C in a terminal reaches every process; the evaluator decides what happens to its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = WorkerProcess(int(sys.argv[1]), int(sys.argv[2]))
    status = 0
    try:
        worker.run()
    except BrokenPipeError:
        pass  # the evaluator is gone
    except BaseException:
        traceback.print_exc()
        status = 1
    worker.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Graphics drivers are known to hang in their exit handlers, and there is nothing left to save.
    os._exit(status)


if __name__ == "__main__":
    main()
