"""One operating-system process of a launch: its own session, its output by lines, and signals to all it started."""

from __future__ import annotations

import asyncio
import codecs
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_READ_SIZE = 65536
_MAX_READS_WHEN_DRAINING = 256  # a descendant that never stops writing must not hold up the end


# Looked up once: between fork and exec nothing may take a lock, and loading a library does.
_libc_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def _prctl(option: int, value: int) -> None:
    if _libc_prctl is not None:
        _libc_prctl(option, value, 0, 0, 0)


def set_child_subreaper(enabled: bool) -> None:
    """Make this process the parent of descendants whose own parent has ended, so that they can be found and ended."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(enabled))


class LineReader:
    """Collects what arrives on a file descriptor and hands it on as bytes and as whole lines of text."""

    def __init__(
        self,
        fd: int,
        on_line: Callable[[str], None],
        on_bytes: Callable[[bytes], None],
    ) -> None:
        os.set_blocking(fd, False)
        self._fd: int | None = fd
        self._on_line = on_line
        self._on_bytes = on_bytes
        # A character may be cut by the end of a read, so decoding keeps state.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._partial = ""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._read_once)

    def _read_once(self) -> bool:
        """Read what is there; return whether more may follow at once."""
        if self._fd is None:
            return False
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:  # a pseudo-terminal reports the end of the other side as EIO
            data = b""
        if not data:
            self.close()
            return False
        self._on_bytes(data)
        *lines, self._partial = (self._partial + self._decoder.decode(data)).split("\n")
        for line in lines:
            self._on_line(line.rstrip("\r"))
        return True

    def drain(self) -> None:
        """Read all that has arrived so far and hand on an unfinished last line as well."""
        for _ in range(_MAX_READS_WHEN_DRAINING):
            if not self._read_once():
                break
        if self._partial:
            line, self._partial = self._partial, ""
            self._on_line(line.rstrip("\r"))

    def close(self) -> None:
        """Stop reading and close the descriptor."""
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
            self._partial += self._decoder.decode(b"", final=True)
            if self._partial:
                line, self._partial = self._partial, ""
                self._on_line(line.rstrip("\r"))


class ChildProcess:
    """A running command in a session of its own, so that signals reach everything it started.

    It gets no stdin. When this process dies without a chance to clean up, the kernel sends it SIGTERM (Linux).
    """

    def __init__(self, process: asyncio.subprocess.Process, readers: list[LineReader]) -> None:
        self._process = process
        self._readers = readers
        self._exit: asyncio.Future[int] = asyncio.ensure_future(process.wait())

    @classmethod
    async def start(
        cls,
        command: list[str] | str,
        *,
        shell: bool,
        cwd: str | None,
        env: dict[str, str],
        emulate_tty: bool,
        on_line: Callable[[int, str], None],
        on_bytes: Callable[[int, bytes], None],
    ) -> ChildProcess:
        """Start a command; `on_line` and `on_bytes` get the stream's number (1 stdout, 2 stderr) first.

        Raises OSError when the command cannot be started.
        """
        ours: list[int] = []
        theirs: list[int] = []
        for _ in range(2):
            our_end, their_end = os.openpty() if emulate_tty else os.pipe()
            ours.append(our_end)
            theirs.append(their_end)

        options = {
            "stdin": asyncio.subprocess.DEVNULL,
            "stdout": theirs[0],
            "stderr": theirs[1],
            "cwd": cwd,
            "env": env,
            "start_new_session": True,
            "preexec_fn": lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),
        }
        try:
            if shell:
                text = command if isinstance(command, str) else " ".join(command)
                process = await asyncio.create_subprocess_shell(text, **options)  # type: ignore[arg-type]
            else:
                process = await asyncio.create_subprocess_exec(*command, **options)  # type: ignore[arg-type]
        except BaseException:
            for fd in ours:
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)

        def reader(stream: int, fd: int) -> LineReader:
            return LineReader(fd, lambda line: on_line(stream, line), lambda data: on_bytes(stream, data))

        return cls(process, [reader(stream, fd) for stream, fd in zip((1, 2), ours, strict=True)])

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its group and session."""
        return self._process.pid

    @property
    def exit_status(self) -> asyncio.Future[int]:
        """Future of the exit status."""
        return self._exit

    async def wait(self, timeout: float | None = None) -> int | None:
        """Return the exit status (negative for a signal) once the process has ended; None after `timeout` seconds."""
        done, _ = await asyncio.wait([self._exit], timeout=timeout)
        if not done:
            return None
        for reader in self._readers:
            reader.drain()
        return self._exit.result()

    def send_signal(self, signal_number: signal.Signals) -> None:
        """Send a signal to the process and everything in its session; ended ones are no error."""
        members = session_members(self.pid)
        groups = {group for _, group in members}
        if not self._exit.done():
            groups.add(self.pid)
        for group in groups:
            try:
                os.killpg(group, signal_number)
            except (ProcessLookupError, PermissionError):
                continue

    def has_members(self) -> bool:
        """Return whether the process or anything else of its session still runs."""
        return not self._exit.done() or bool(session_members(self.pid))

    def close(self) -> None:
        """Stop reading the output."""
        for reader in self._readers:
            reader.drain()
            reader.close()


def _stat_fields() -> list[tuple[int, str, int, int, int]]:
    """Return (pid, state, parent pid, group id, session id) of all processes, from /proc/<pid>/stat."""
    result = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The second field is the command's name in parentheses, which may hold spaces and parentheses itself.
            state, parent, group, session = entry.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        result.append((int(entry.parent.name), state, int(parent), int(group), int(session)))
    return result


def session_members(session_id: int) -> list[tuple[int, int]]:
    """Return (pid, group id) of the running processes of a session that descend from this process.

    The descent matters once the session's leader has ended: its number may then be somebody else's.
    """
    stats = _stat_fields()
    parents = {pid: parent for pid, _, parent, _, _ in stats}
    return [
        (pid, group)
        for pid, state, _, group, session in stats
        if session == session_id and state != "Z" and _descends(pid, os.getpid(), parents)
    ]


def stray_descendants(root: int) -> list[int]:
    """Return the running processes that descend from `root` and are in a session of their own.

    What shares the session of `root` (say, a command run by the code of a launch file) is not a stray.
    """
    stats = _stat_fields()
    parents = {pid: parent for pid, _, parent, _, _ in stats}
    own_session = os.getsid(root)
    return sorted(
        pid
        for pid, state, _, _, session in stats
        if state != "Z" and session != own_session and _descends(pid, root, parents)
    )


def _descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid in parents and pid != 0:
        pid = parents[pid]
        if pid == root:
            return True
    return False


def reap_orphans() -> None:
    """Collect the exit status of ended processes that were orphaned to this one."""
    own_session = os.getsid(0)
    for pid, state, parent, _, session in _stat_fields():
        if state == "Z" and parent == os.getpid() and session != own_session:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
