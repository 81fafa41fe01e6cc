"""A run over many pairs: shard by shard in several processes, each shard's output whole or not there.

OUT/card.json says what was made of what; OUT/records/part-000000.jsonl are the records of one shard, OUT/counts/… what
came and what was dropped on the way, written last, so that a run that was killed goes on with what is not there, and
ends with the same files as an undisturbed one.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import multiprocessing
import os
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import numpy as np

from magma_contracts.geometry.boxes import in_pixels
from magma_policy.errors import CommandError
from magma_policy.files.image_files import resize, write_image
from magma_policy.files.whole_files import PARTIAL, whole_file
from magma_policy.grit.detectors import Detector, PointingModel, SceneOracle, ZeroShotDetector
from magma_policy.grit.pairs import Pair, Shard, pairs_of, shards_of
from magma_policy.grit.phrases import Parser, PhraseSettings, parser_name
from magma_policy.grit.pipeline import Pipeline, SelectionSettings
from magma_policy.grit.published import PictureIndex, published_records
from magma_policy.grit.records import Record, outermost
from magma_policy.marks.drawing import draw_named_boxes
from magma_policy_client.content import digest_of, file_digests

FORMAT_VERSION = 1
CARD, RECORDS, COUNTS, SEQUENCES, TARS, SAMPLES = "card.json", "records", "counts", "sequences", "shards", "samples"
DRAWN_SIDE = 512
ORACLE, KOSMOS = "oracle", "kosmos2:"


@dataclass(frozen=True)
class GritRun:
    """What a run does; what decides its output is in the card.

    Attributes:
        sources: files and folders of pairs.
        out: folder of the output.
        mode: make records, or read those that are published.
        pictures: of published records that hold none.
        detector: `oracle` (rendered scenes), `kosmos2:CHECKPOINT`, or a zero-shot detector of transformers.
        model: spaCy's.
        phrases, selection: the pipeline's rules.
        sequences: also write training sequences; they are of KOSMOS-2's tags, so every process loads torch.
        tars: also write tar shards of pictures with their records.
        samples: so many records of the whole are drawn.
    """

    sources: tuple[Path, ...]
    out: Path
    mode: Literal["make", "published"] = "make"
    pictures: Path | None = None
    detector: str = ORACLE
    device: str = "cpu"
    threads: int = 1
    model: str = ""
    phrases: PhraseSettings = dataclasses.field(default_factory=PhraseSettings)
    selection: SelectionSettings = dataclasses.field(default_factory=SelectionSettings)
    sequences: bool = False
    tars: bool = False
    samples: int = 0

    def card(self, shards: Sequence[Shard]) -> dict[str, Any]:
        """What the output is of: the same for the same pairs and rules."""
        return {
            "format_version": FORMAT_VERSION,
            "mode": self.mode,
            "detector": self.detector if self.mode == "make" else "",
            "detector_content": detector_content(self.detector) if self.mode == "make" else "",
            "parser": parser_name(self.model) if self.mode == "make" else "",
            "phrases": dataclasses.asdict(self.phrases),
            "selection": dataclasses.asdict(self.selection),
            "pictures": str(self.pictures or ""),
            "sequences": self.sequences,
            "tars": self.tars,
            "samples": self.samples,
            "shards": [[shard.path.name, len(shard.names), shard.identity] for shard in shards],
        }


def run(config: GritRun, processes: int, told: Any = lambda done, total: None, ray: str | None = None) -> Counter[str]:
    """Does what of a run is left to do, and returns the counts of all of it.

    Args:
        config: the run.
        processes: that work side by side; 1: this one alone.
        told: called with how many shards are done, and of how many.
        ray: HOST:PORT or auto of a Ray cluster whose machines work, `processes` on all together; "": one of this
            machine. The sources must lie at the same place on each.

    Raises:
        CommandError: the output is of another run, another process is writing it, or a shard cannot be read.
    """
    shards = shards_of(config.sources)
    with _alone(config.out):
        _begin(config, shards)
        if ray is None:
            _work_off(config, shards, processes, told)
        else:
            # Ray is an extra.
            from magma_policy.grit.on_cluster import work_off

            work_off(config, shards, processes, told, ray)
        total: Counter[str] = Counter()
        for number in range(len(shards)):
            total.update(json.loads(_counts_file(config, number).read_bytes()))
    return total


def _work_off(config: GritRun, shards: Sequence[Shard], processes: int, told: Any) -> None:
    left = missing(config, len(shards))
    done = len(shards) - len(left)
    told(done, len(shards))
    if processes == 1 or len(left) < 2:
        worker = Worker(config, shards)
        for number in left:
            worker.shard(number)
            done += 1
            told(done, len(shards))
    else:
        # Fresh processes: a fork would copy the threads' locks of torch and spaCy.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(processes, len(left)), context, _start, (config, shards)) as pool:
            waiting = [pool.submit(_work, number) for number in left]
            try:
                for one in as_completed(waiting):
                    one.result()
                    done += 1
                    told(done, len(shards))
            except BrokenProcessPool as error:
                raise CommandError(
                    "one of the --processes was ended from outside, as happens where memory runs out; the same command "
                    "goes on with what is missing, with fewer --processes if need be"
                ) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Within, no other process makes records in the folder, which is made. The lock is the folder's own, so that no
    file of it is left. Raises CommandError."""
    out.mkdir(parents=True, exist_ok=True)
    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise CommandError(f"{out}: another run is under way in it; wait for it, or give another --out") from None
    except OSError:
        print(f"{out}: its file system knows no locks; start no other run in it", file=sys.stderr)
    try:
        yield
    finally:
        os.close(folder)


def records(folder: Path) -> Iterator[Record]:
    """The records of a finished run, in order. Raises CommandError."""
    files = sorted((folder / RECORDS).glob("part-*.jsonl"))
    if not files:
        raise CommandError(f"{folder}: no records are in it; make some with magma-grit")
    for file in files:
        with file.open("rb") as lines:
            for line in lines:
                yield Record.of(json.loads(line))


def _begin(config: GritRun, shards: Sequence[Shard]) -> None:
    card, path = config.card(shards), config.out / CARD
    if path.is_file():
        try:
            there = json.loads(path.read_bytes())
        except ValueError as error:
            raise CommandError(f"{path}: it is not JSON: {error}") from error
        if not isinstance(there, dict):
            raise CommandError(f"{path}: expected an object; give another --out")
        other = sorted(name for name in {*card, *there} if card.get(name) != there.get(name))
        if other:
            raise CommandError(
                f"{config.out} holds the output of another run ({', '.join(other)} are others); give another --out"
            )
        return
    # A kill may have left the beginning of a card.
    if any(entry.name != CARD + PARTIAL for entry in config.out.iterdir()):
        raise CommandError(f"{config.out} is not empty, and no output of magma-grit: it has no {CARD}")
    with whole_file(path) as partial:
        partial.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def missing(config: GritRun, count: int) -> list[int]:
    """Numbers of the shards, of `count`, whose output is not there."""
    return [number for number in range(count) if not _counts_file(config, number).is_file()]


def _counts_file(config: GritRun, number: int) -> Path:
    return config.out / COUNTS / f"part-{number:06d}.json"


def detector_content(name: str) -> str:
    """A digest of the files of a detector that lies in a folder; "" for those that the Hub has. Raises CommandError."""
    if name == ORACLE:
        return ""
    place = Path(_checkpoint(name) if name.startswith(KOSMOS) else name)
    if not place.is_dir():
        return ""
    digests = file_digests(sorted(file for file in place.iterdir() if file.is_file()))
    return digest_of({file.name: digest for file, digest in digests.items()})


def _checkpoint(name: str) -> Path | str:
    from magma_policy_client.checkpoint_paths import CheckpointNotFoundError, locate

    try:
        return locate(name.removeprefix(KOSMOS))
    except (CheckpointNotFoundError, ValueError, OSError) as error:
        raise CommandError(f"--detector {name}: {error}") from error


def detector_of(config: GritRun, shards: Sequence[Shard]) -> Detector:
    """The detector that a run names. Raises CommandError."""
    if config.detector == ORACLE:
        return SceneOracle(files=[shard.path for shard in shards if shard.path.suffix == ".npz"])
    if config.detector.startswith(KOSMOS):
        from magma_policy.families import registry

        place = _checkpoint(config.detector)
        try:
            return PointingModel(registry.load_grounder(place, config.device, None), config.detector)
        except (ValueError, OSError) as error:
            raise CommandError(f"--detector {config.detector}: {error}") from error
    return ZeroShotDetector.load(config.detector, config.device, config.selection.threshold)


class Worker:
    """Works off shards, with a parser and a detector of its own."""

    def __init__(self, config: GritRun, shards: Sequence[Shard]) -> None:
        self._config, self._shards = config, shards
        self._pictures = PictureIndex(config.pictures)
        self._pipeline: Pipeline | None = None
        if config.mode == "make":
            if config.detector != ORACLE:
                import torch

                torch.set_num_threads(config.threads)
            parser = Parser(config.model, config.phrases)
            self._pipeline = Pipeline(parser, detector_of(config, shards), config.selection)

    def shard(self, number: int) -> None:
        """Writes the output of a shard."""
        out, name = self._config.out, f"part-{number:06d}"
        counts: Counter[str] = Counter()
        tar = out / TARS / f"{name}.tar" if self._config.tars else None
        texts = out / SEQUENCES / f"{name}.jsonl" if self._config.sequences else None
        drawn = self._share_of_samples(number)
        with _Lines(out / RECORDS / f"{name}.jsonl") as lines, _Lines(texts) as told, RecordTar(tar) as shard:
            for pair, record in self._records(number, counts):
                lines.add(record.as_json())
                if texts is not None:
                    told.add({"key": record.key, "text": self._sequence(record)})
                shard.add(pair, record)
                if drawn > 0:
                    drawn -= 1
                    self._draw(name, pair, record)
        with whole_file(_counts_file(self._config, number)) as partial:
            partial.write_text(json.dumps(dict(sorted(counts.items())), indent=1), encoding="utf-8")

    def _sequence(self, record: Record) -> str:
        from magma_policy.grit import sequences

        return sequences.text(record)

    def _records(self, number: int, counts: Counter[str]) -> Iterator[tuple[Pair, Record]]:
        shard = self._shards[number]
        if self._pipeline is None:
            yield from published_records(shard, self._pictures, counts)
        else:
            yield from self._pipeline.records(pairs_of(shard, counts), counts)

    def _share_of_samples(self, number: int) -> int:
        """How many of a shard's first records are drawn, so that all shards together draw as many as asked."""
        whole, rest = divmod(self._config.samples, len(self._shards))
        return whole + (number < rest)

    def _draw(self, name: str, pair: Pair, record: Record) -> None:
        image = pair.image()
        height, width = image.shape[:2]
        zoom = max(1, -(-DRAWN_SIDE // min(height, width)))
        large = resize(image, width * zoom, height * zoom)
        shown = outermost(record.expressions)
        boxes = in_pixels(np.array([one.box for one in shown]).reshape(-1, 4), width * zoom, height * zoom)
        names = [f"{record.caption[one.start : one.end]} {one.score:.2f}" for one in shown]
        key = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in record.key)[:80]
        path = self._config.out / SAMPLES / f"{name}-{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, draw_named_boxes(large, boxes, names))
        path.with_suffix(".txt").write_text(record.caption + "\n", encoding="utf-8")


class _Lines:
    """Lines of JSON in a file that is whole or not there; nothing where there is no path."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __enter__(self) -> _Lines:
        if self._path is not None:
            self._whole = whole_file(self._path)
            self._file = self._whole.__enter__().open("w", encoding="utf-8")
        return self

    def add(self, data: Mapping[str, Any]) -> None:
        """Adds a line."""
        self._file.write(json.dumps(data, ensure_ascii=False) + "\n")

    def __exit__(self, *reason: Any) -> None:
        if self._path is not None:
            self._file.close()
            self._whole.__exit__(*reason)


class RecordTar:
    """A tar shard of pictures with their records, as img2dataset writes them; nothing where there is no path."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __enter__(self) -> RecordTar:
        if self._path is not None:
            self._rows = 0
            self._whole = whole_file(self._path)
            self._tar = tarfile.open(self._whole.__enter__(), "w")
        return self

    def add(self, pair: Pair, record: Record) -> None:
        """Adds a picture, its caption and its record, under their number: keys may be of any length, and alike where
        they lose their dots. The key stands in the record."""
        if self._path is None:
            return
        name = f"{self._path.stem}-{self._rows:06d}"
        self._rows += 1
        ending = ".png" if pair.data[:4] == b"\x89PNG" else ".jpg"
        content = json.dumps(record.as_json(), ensure_ascii=False).encode()
        for suffix, data in ((ending, pair.data), (".json", content), (".txt", record.caption.encode())):
            # Neither a time nor an owner: the same records are the same bytes.
            member = tarfile.TarInfo(name + suffix)
            member.size = len(data)
            self._tar.addfile(member, BytesIO(data))

    def __exit__(self, *reason: Any) -> None:
        if self._path is not None:
            self._tar.close()
            self._whole.__exit__(*reason)


_task: tuple[GritRun, Sequence[Shard]] | None = None
_worker: Worker | None = None


def _start(config: GritRun, shards: Sequence[Shard]) -> None:
    global _task, _worker
    _task, _worker = (config, shards), None
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    """Ends this process at once when the one that started it was killed: the next run in the folder would otherwise
    meet a worker that still writes the same shard."""
    connection.wait([parent.sentinel])
    os._exit(1)


def _work(number: int) -> None:
    """A shard. The worker is made with the first one: an error in making it is then that shard's, and is told."""
    global _worker
    assert _task is not None
    if _worker is None:
        _worker = Worker(*_task)
    _worker.shard(number)
