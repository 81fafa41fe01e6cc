"""A Ray cluster, joined or started: never one that takes orders without a token, and none that outlives its driver.

Ray listens on every interface of a machine, also with a loopback address, and whoever may talk to it may run any code.
So a cluster is only joined with RAY_AUTH_MODE=token, and only if it refuses those without; one that is started here for
one run gets a token of its own. What of such a cluster is left when its driver was killed is ended by a guard, and by
the next start where the guard was killed, too.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
DEFAULT_TOKEN_FILE = Path("~/.ray/auth_token")
FOLDER_PREFIX = "magma-ray-"
OBJECT_STORE_BYTES = 80 << 20
"""Ray's smallest is 75 MiB. Nothing of ours stays in there."""
_PROBE_S = 60.0
_STARTS = 3
_ENDING_S = 10.0
_DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its makers
    "RAY_worker_niceness": "0",  # else 15: everything else on the machine would come before the simulators
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else simulators would not see the GPU on which they render
}
_PROBE = """
import sys
from magma_eval.pools.ray_api import ask_cluster
ask_cluster(sys.argv[1])
print("let in")
"""
_GUARD = """
import sys
sys.stdin.read()
from magma_eval.pools.ray_cluster import remove_cluster
from pathlib import Path
remove_cluster(Path(sys.argv[1]))
"""


class RayError(RuntimeError):
    """There is no cluster to be used; the message says why and what to do."""


@dataclass(frozen=True)
class Port:
    """Where one process listens."""

    process: str
    address: str
    """an address, or * for every interface"""
    number: int

    def __str__(self) -> str:
        return f"{self.process} {self.address}:{self.number}"


def check_settings(address: str | None, environment: Mapping[str, str] | None = None) -> None:
    """What can be told before Ray is loaded. RayError says what is missing.

    Args:
        address: of a cluster; None: one is to be started.
        environment: variables; default: this process' own.
    """
    variables = os.environ if environment is None else environment
    if address is None:
        return
    host, colon, port = address.rpartition(":")
    if address != "auto" and not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise RayError(f"--ray takes HOST:PORT of a cluster, auto, or nothing, got {address!r}")
    if variables.get(MODE) != "token":
        raise RayError(
            f"{MODE} is {variables.get(MODE) or 'not set'}: without a token whoever reaches a Ray cluster may run code "
            f"on it. Start every node with {MODE}=token and one token ({TOKEN}, {TOKEN_PATH} or {DEFAULT_TOKEN_FILE}; "
            "`ray get-auth-token --generate` makes one), and set the same here"
        )
    if not _token(variables):
        raise RayError(f"{MODE}=token needs the cluster's token in {TOKEN}, {TOKEN_PATH} or {DEFAULT_TOKEN_FILE}")


def _token(variables: Mapping[str, str]) -> str:
    if variables.get(TOKEN, "").strip():
        return variables[TOKEN]
    path = Path(variables.get(TOKEN_PATH) or DEFAULT_TOKEN_FILE).expanduser()
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


@contextlib.contextmanager
def cluster(address: str | None, cores: int, say: Callable[[str], None]) -> Iterator[None]:
    """Within, this process is the driver of a cluster: `ray_api` can be used.

    Args:
        address: HOST:PORT or auto of a cluster with a node on this machine; None starts one of this machine.
        cores: that a cluster of this machine has.
        say: told which ports listen where.

    Raises:
        RayError: Ray is not installed, there is no cluster, or one that anybody may use.
    """
    check_settings(address)
    os.environ.update({name: value for name, value in _DEFAULTS.items() if name not in os.environ})
    try:
        from magma_eval.pools import ray_api
    except ImportError as error:
        raise RayError(f"Ray is not installed here ({error}): pip install 'magma-eval[ray]'") from error
    with contextlib.ExitStack() as stack:
        try:
            if address is None:
                folder = stack.enter_context(_folder_with_guard())
                stack.enter_context(_variables({MODE: "token", TOKEN: secrets.token_hex(32), TOKEN_PATH: ""}))
                ray_api.read_settings_again()
                _started_here(lambda: ray_api.start(folder, cores, OBJECT_STORE_BYTES), ray_api.leave)
            else:
                ray_api.read_settings_again()
                ray_api.join(address)
        # Not a list of types: Ray raises a plain Exception where a node is slow to start.
        except Exception as error:
            where = "could not be started here" if address is None else f"at {address} cannot be joined"
            raise RayError(f"a Ray cluster {where}: {_first_line(error)}") from error
        stack.callback(ray_api.leave)
        if address is not None:
            _check_closed(ray_api.head_address())
        ports = listening(ray_api.session_folder())
        everywhere = sorted({str(port.number) for port in ports if port.address in ("*", "0.0.0.0")}, key=int)
        say(f"Ray of this machine listens on {', '.join(map(str, ports))}")
        say(
            f"ports {', '.join(everywhere)} listen on every interface: whoever reaches them needs the cluster's token; "
            "what goes over them is not encrypted unless RAY_USE_TLS=1 is set"
        )
        yield


def as_without_ray() -> None:
    """In an actor: lets what it starts find the machine as it would without Ray, on one core. An actor that asks for no
    GPU sees none, so that a simulator would render on another device than everywhere else; and more threads than its
    core would only take the other workers' cores."""
    if not os.environ.get("CUDA_VISIBLE_DEVICES", "all"):
        del os.environ["CUDA_VISIBLE_DEVICES"]
    os.environ.setdefault("LP_NUM_THREADS", "1")


def _started_here(start: Callable[[], object], stop: Callable[[], object]) -> None:
    """Starts a cluster, again where that failed: Ray gives its processes half a minute, too little on a machine that is
    busy; the next time their files are in the memory already. Raises what the last try raised."""
    for left in reversed(range(_STARTS)):
        try:
            start()
            return
        except Exception:
            stop()
            if not left:
                raise


def _check_closed(gcs_address: str) -> None:
    """RayError when the cluster lets in those without a token, whatever this process was told."""
    open_environment = {name: value for name, value in os.environ.items() if name not in (TOKEN, TOKEN_PATH)}
    open_environment |= {MODE: "disabled"}
    try:
        found = subprocess.run(
            [sys.executable, "-c", _PROBE, gcs_address],
            env=open_environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
        )
    except subprocess.TimeoutExpired:
        return  # it got no answer, so it was not let in
    if "let in" in found.stdout:
        raise RayError(
            f"the Ray cluster at {gcs_address} takes orders from anybody: it was started without {MODE}=token. Stop "
            f"it, and start every node with {MODE}=token and the token"
        )


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:400]


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables within; "" takes one away."""
    before = {name: os.environ.get(name) for name in values}

    def put(wanted: Mapping[str, str | None]) -> None:
        for name, value in wanted.items():
            if value:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)

    put(values)
    try:
        yield
    finally:
        put(before)


@contextlib.contextmanager
def _folder_with_guard() -> Iterator[Path]:
    """A folder for one cluster of this process, whose processes do not outlive it."""
    remove_leftovers()
    folder = Path(tempfile.gettempdir(), f"{FOLDER_PREFIX}{os.getpid()}-{_started(os.getpid())}")
    folder.mkdir(mode=0o700)
    guard = subprocess.Popen([sys.executable, "-c", _GUARD, str(folder)], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield folder
    finally:
        if guard.stdin is not None:
            guard.stdin.close()
        try:
            guard.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            guard.kill()
            remove_cluster(folder)


def remove_leftovers(where: Path | None = None) -> list[Path]:
    """Ends what is left of clusters whose drivers are gone; their folders."""
    found = []
    for folder in sorted((where or Path(tempfile.gettempdir())).glob(f"{FOLDER_PREFIX}*-*")):
        pid, _, started = folder.name.removeprefix(FOLDER_PREFIX).partition("-")
        mine = folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid()
        if mine and pid.isdecimal() and _started(int(pid)) != started:
            remove_cluster(folder)
            found.append(folder)
    return found


def remove_cluster(folder: Path) -> None:
    """Ends every process that has a file open in a cluster's folder, and removes the folder."""
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
        members = members_of(folder)
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        until = time.monotonic() + 2.0
        while members and time.monotonic() < until and members_of(folder):
            time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def members_of(folder: Path) -> list[int]:
    """Processes of this user that write to a file in a folder: Ray's all have their logs in it. Their environment and
    command lines would not do, because Ray overwrites both with other titles. Neither this process, nor the driver that
    the folder belongs to, which writes there, too."""
    inside = f"{folder.resolve()}{os.sep}"
    driver, _, started = folder.name.removeprefix(FOLDER_PREFIX).partition("-")
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        if process.name == driver and _started(int(driver)) == started:
            continue
        if any(target.startswith(inside) and _writes(file) for file, target in _open_files(process)):
            found.append(int(process.name))
    return found


def _open_files(process: Path) -> Iterator[tuple[Path, str]]:
    """What a process has open: its descriptors, and where they lead."""
    with contextlib.suppress(OSError):  # ended, or somebody else's
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield descriptor, os.readlink(descriptor)


def _writes(descriptor: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, IndexError):
        flags = (descriptor.parent.parent / "fdinfo" / descriptor.name).read_text().split("flags:")[1].split()[0]
        return bool(int(flags, 8) & (os.O_WRONLY | os.O_RDWR))
    return False


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks: no two processes of one number have the same. "" without one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def listening(folder: Path) -> list[Port]:
    """Where the processes of a cluster on this machine, and this one, accept connections.

    Args:
        folder: of the cluster's session.
    """
    sockets = dict(_listening_sockets())
    found = set()
    for pid in (*members_of(folder), os.getpid()):
        process = Path("/proc", str(pid))
        for _, target in _open_files(process):
            if target.startswith("socket:[") and target[8:-1] in sockets:
                with contextlib.suppress(OSError):
                    address, number = sockets[target[8:-1]]
                    found.add(Port((process / "comm").read_text().strip(), address, number))
    return sorted(found, key=lambda port: port.number)


def _listening_sockets() -> Iterator[tuple[str, tuple[str, int]]]:
    """inode -> (address, port) of every TCP socket that accepts connections."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    host, _, port = fields[1].partition(":")
                    yield fields[9], (_address(host), int(port, 16))


def _address(digits: str) -> str:
    """As /proc/net writes it: words of four bytes, each in the machine's own order."""
    if not digits.strip("0"):
        return "*"
    if len(digits) == 8:
        return ".".join(str(byte) for byte in bytes.fromhex(digits)[::-1])
    return "::1" if digits == "00000000000000000000000001000000" else digits.lower()
