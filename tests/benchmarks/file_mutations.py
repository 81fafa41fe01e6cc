"""Damages every kind of file that a user can hand in, and sees what its reader makes of it.

    python tests/benchmarks/file_mutations.py --mutants 100000 --jobs 8 --out runs/mutations     # all targets, hours
    python tests/benchmarks/file_mutations.py --mutants 100000 --resume --out runs/mutations     # on where that ended
    python tests/benchmarks/file_mutations.py --targets robot-yaml urdf --mutants 2000
    python tests/benchmarks/file_mutations.py --targets robot-yaml --only 1234        # one mutant again, with its error

Allowed ends of a mutant:
    identical       the reader made the same of it as of the seed
    error           an exception of the target's `errors` whose text is one printable line
    other content   the reader made something else of it, and the identity that the product shows is another one too
Anything else is a fault: another exception, a text of several lines or with control characters, a changed content under
an unchanged identity, a crash, more memory or time than the target allows, files outside its folder. Faulty mutants are
saved under --out, and the exit status is 1.

A target says what is damaged and who reads it. Targets live in `mutation_targets/<area>.py`, which have a list TARGETS:

    def _seed(folder):                                     # folder: empty; may hold other files too, which stay whole
        path = folder / "robot.yaml"
        path.write_text(...)
        return path                                        # the file that is damaged

    def _read(path):                                       # as the product's command does it
        robot = load_robot(path)
        return Reading(robot, robot.identity)              # what it made of it; what the user is shown as its identity

    TARGETS = [Target("robot-yaml", _seed, _read, (ConfigError,), (bytes_edits, line_edits, yaml_edits))]

`Reading.content` is compared by `repr` (arrays: `digest(array.tobytes())`). A reader that shows no identity
gives "", and then every change of content is a fault. Editors are functions (bytes, random.Random) -> bytes;
those of `mutation_edits.py` know bytes, lines, JSON, JSON lines, YAML, XML, zip archives (`zip_edits(npy_edits)`) and
safetensors. Mutant n of a target depends on n, --seed and the seed file only.

Mutants run in a forked child, many after each other; the parent watches time, the child's address space is limited. A
fault is confirmed by the same mutant alone in a fresh child.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

Edit = Callable[[bytes, random.Random], bytes]
AREAS = Path(__file__).resolve().parent / "mutation_targets"
BATCH = 500
"""Mutants of one child: a fork and its warm-up are shared, and a leak cannot grow for ever."""
SLICE = 2000
"""Mutants between two notes of how far a run is."""
LONGEST_MESSAGE = 1000
"""Characters; what is longer buries its point."""
COUNTS = "counts.json"
"""beside the faulty mutants"""


@dataclass(frozen=True)
class Reading:
    """What a reader made of a file, and the identity that the product shows for it ("" where it shows none)."""

    content: object
    identity: str


@dataclass(frozen=True)
class Target:
    """A kind of file and its reader; the module's docstring has an example."""

    name: str
    seed: Callable[[Path], Path]
    read: Callable[[Path], Reading]
    errors: tuple[type[Exception], ...]
    edits: tuple[Edit, ...]
    seconds: float = 20.0
    """for one mutant, on a busy machine"""
    memory_mib: int = 1024
    """that reading one mutant may add to the process"""


@dataclass
class Tally:
    """How the mutants of one target ended."""

    target: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)
    """number of the mutant, and what it did"""


def digest(*parts: bytes) -> str:
    """A short hash, for contents too large to compare as text."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def mutant(target: Target, data: bytes, seed: int, number: int) -> bytes:
    """The mutant's bytes: one to three edits of the seed file."""
    rng = random.Random(f"{target.name} {seed} {number}")
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(target.edits)(data, rng)
    return data


def judge(target: Target, path: Path, whole: tuple[str, str]) -> tuple[str, str]:
    """How reading the file ends: "identical", "error", "other content" or "fault", and what there is to say."""
    try:
        # What a reader warns of is for people; here it would fill a log.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reading = target.read(path)
            content = repr(reading.content)
    except target.errors as error:
        text = str(error)
        if not text or len(text) > LONGEST_MESSAGE or not text.isprintable():
            return "fault", f"message of {len(text)} characters is not one printable line: {text[:200]!r}"
        return "error", text
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = str(error)[:200]
        return "fault", f"{type(error).__name__}: {said!r} at {Path(where.filename).name}:{where.lineno}"
    if content == whole[0]:
        return "identical", ""
    if reading.identity and reading.identity != whole[1]:
        return "other content", reading.identity
    return "fault", f"other content under the identity {reading.identity!r}"


def run(target: Target, numbers: Sequence[int], seed: int = 0, out: Path | None = None) -> Tally:
    """Runs mutants of a target.

    Raises:
        ValueError: the seed file itself is not read, or not twice alike.
    """
    tally = Tally(target.name)
    with tempfile.TemporaryDirectory(prefix="mutations-") as root:
        folder = Path(root, "files")
        folder.mkdir()
        path = target.seed(folder)
        data = path.read_bytes()
        whole = _whole(target, path)
        waiting = list(numbers)
        while waiting:
            batch, waiting = waiting[:BATCH], waiting[BATCH:]
            while batch:
                done = _in_child(target, path, data, seed, whole, batch)
                for number, (end, text) in zip(batch, done, strict=False):
                    if end == "fault" and len(done) > 1:
                        end, text = _in_child(target, path, data, seed, whole, [number])[0]
                    tally.counts[end] += 1
                    if end == "fault":
                        tally.faults.append((number, text))
                        if out is not None:
                            _save(out / target.name, number, mutant(target, data, seed, number), path.suffix, text)
                batch = batch[len(done) :]
            if os.listdir(root) != ["files"]:
                tally.counts["fault"] += 1
                tally.faults.append((batch[-1] if batch else -1, f"files outside its folder: {os.listdir(root)}"))
                break
    return tally


def run_side_by_side(target: Target, numbers: Sequence[int], seed: int, out: Path | None, jobs: int) -> Tally:
    """`run` in several processes; raises what they raise."""
    if jobs <= 1:
        return run(target, numbers, seed, out)
    whole = Tally(target.name)

    def part(index: int) -> Tally:
        return run(target, numbers[index::jobs], seed, out)

    global _part
    _part = part  # forked, not pickled: readers are closures
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        for tally in pool.map(_run_part, range(jobs)):
            whole.counts.update(tally.counts)
            whole.faults.extend(tally.faults)
    whole.faults.sort()
    return whole


_part: Callable[[int], Tally]


def _run_part(index: int) -> Tally:
    return _part(index)


def _whole(target: Target, path: Path) -> tuple[str, str]:
    """The seed file's content and identity."""
    try:
        first, second = target.read(path), target.read(path)
    except Exception as error:
        raise ValueError(f"{target.name}: the seed file is not read: {type(error).__name__}: {error}") from error
    if repr(first) != repr(second):
        raise ValueError(f"{target.name}: the seed file is read differently each time; leave out what changes")
    return repr(first.content), first.identity


def _in_child(
    target: Target, path: Path, data: bytes, seed: int, whole: tuple[str, str], numbers: Sequence[int]
) -> list[tuple[str, str]]:
    """Ends of the mutants in order, up to the first that took the child with it."""
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(read)
        _work(target, path, data, seed, whole, numbers, write)
    os.close(write)
    done: list[tuple[str, str]] = []
    buffer = b""
    hung = False
    try:
        while len(done) < len(numbers):
            if not select.select([read], [], [], target.seconds)[0]:
                hung = True
                os.kill(child, signal.SIGKILL)
                break
            block = os.read(read, 1 << 16)
            if not block:
                break
            *lines, buffer = (buffer + block).split(b"\n")
            done += [tuple(json.loads(line)) for line in lines]
    finally:
        os.close(read)
        _, status = os.waitpid(child, 0)
    if len(done) < len(numbers):
        how = (
            f"longer than {target.seconds:g} s" if hung else f"the process ended ({os.waitstatus_to_exitcode(status)})"
        )
        done.append(("fault", how))
    return done


def _work(
    target: Target, path: Path, data: bytes, seed: int, whole: tuple[str, str], numbers: Sequence[int], write: int
) -> None:
    """The child; does not return."""
    status = 1
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = used + target.memory_mib * 2**20
        for number in numbers:
            changed = mutant(target, data, seed, number)
            path.write_bytes(changed)
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            end = judge(target, path, whole)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            os.write(write, (json.dumps(end) + "\n").encode())
        status = 0
    finally:
        os._exit(status)


def _save(folder: Path, number: int, data: bytes, suffix: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}{suffix}").write_bytes(data)
    (folder / f"{number}.why").write_text(text + "\n", encoding="utf-8")


def areas() -> list[str]:
    """Names of the files of targets."""
    return sorted(path.stem for path in AREAS.glob("*.py"))


def targets_of(area: str) -> list[Target]:
    """The targets of one area. Raises ImportError when what it reads with is not installed."""
    return list(importlib.import_module(f"mutation_targets.{area}").TARGETS)


def main() -> int:
    """Runs what the command line names; status 1 when there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--areas", nargs="*", choices=areas(), default=areas())
    parser.add_argument("--targets", nargs="*", help="names of targets; all by default")
    parser.add_argument("--mutants", type=int, default=1000, help="of each target")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--only", type=int, help="run this mutant alone and print how it ended")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side; the mutants stay the same")
    parser.add_argument("--out", type=Path, help="folder for faulty mutants and the counts")
    parser.add_argument("--resume", action="store_true", help="go on from the counts under --out, of the same --seed")
    given = parser.parse_args()
    if given.resume and (given.out is None or given.first):
        parser.error("--resume goes on from the counts under --out: it needs --out and no --first")
    every = [target for area in given.areas for target in targets_of(area)]
    unknown = set(given.targets or ()) - {target.name for target in every}
    if unknown:
        parser.error(f"unknown targets {', '.join(sorted(unknown))}; there are {', '.join(t.name for t in every)}")
    named = {target.name: target for target in every}
    chosen = [named[name] for name in given.targets] if given.targets is not None else every
    if given.only is not None:
        return max(_show(target, given.seed, given.only) for target in chosen)
    kept = Counts.read(given.out / COUNTS, given.seed) if given.resume else Counts(given.seed)
    for target in chosen:
        done = kept.mutants(target.name)
        numbers = range(given.first + done, given.first + given.mutants)
        while numbers:
            began_s = _children_s()
            tally = run_side_by_side(target, numbers[:SLICE], given.seed, given.out, given.jobs)
            kept.add(tally, len(numbers[:SLICE]), _children_s() - began_s)
            numbers = numbers[SLICE:]
            for text, number in {text: number for number, text in reversed(tally.faults)}.items():
                print(f"    {number}: {text}", flush=True)
            if given.out is not None:
                kept.write(given.out / COUNTS)
        print(kept.line(target.name), flush=True)
    # Those of the run that this one went on from, too: what was not mended is still there.
    return 1 if any(kept.faults(target.name) for target in chosen) else 0


@dataclass
class Counts:
    """How many mutants of each target ended how, over one run or over several that went on from each other."""

    seed: int
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, seed: int) -> Counts:
        """What a run left; nothing where there was none of this seed."""
        rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        return cls(seed, {row["target"]: row for row in rows if row["seed"] == seed})

    def mutants(self, target: str) -> int:
        """How many of its mutants have been run."""
        return int(self.rows.get(target, {}).get("mutants", 0))

    def faults(self, target: str) -> int:
        """How many of them were faults."""
        return int(self.rows.get(target, {}).get("fault", 0))

    def add(self, tally: Tally, mutants: int, cpu_s: float) -> None:
        """Counts further mutants of a target."""
        row = self.rows.setdefault(
            tally.target, {"target": tally.target, "mutants": 0, "seed": self.seed, "cpu_s": 0.0}
        )
        for name, more in {"mutants": mutants, "cpu_s": cpu_s, **tally.counts}.items():
            row[name] = row.get(name, 0) + more

    def write(self, path: Path) -> None:
        """Keeps them, whole at every moment."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(list(self.rows.values()), indent=1) + "\n", encoding="utf-8")
        new.replace(path)

    def line(self, target: str) -> str:
        """One target's counts, to be printed."""
        row = self.rows.get(target, {})
        ends = {name: row[name] for name in ("identical", "error", "other content", "fault") if name in row}
        return f"{target:<22} {ends}  {row.get('cpu_s', 0.0):.0f} s of CPU"


def _children_s() -> float:
    """Seconds of CPU that the processes started here have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _show(target: Target, seed: int, number: int) -> int:
    with tempfile.TemporaryDirectory(prefix="mutations-") as root:
        path = target.seed(Path(root))
        whole = _whole(target, path)
        path.write_bytes(mutant(target, path.read_bytes(), seed, number))
        kept = Path(tempfile.gettempdir(), f"{target.name}-{number}{path.suffix}")
        shutil.copyfile(path, kept)
        end, text = judge(target, path, whole)
        print(f"{target.name} {number}: {end}: {text}\n{kept}")
        if end == "fault":
            with contextlib.suppress(target.errors):
                target.read(path)
        return int(end == "fault")


if __name__ == "__main__":
    sys.exit(main())
