"""Answers that were given, on disk, so that an evaluation that was killed goes on where it was.

One SQLite file, which several servers may share. It holds hashes and answers, no questions and no pictures. A file that
is damaged is put aside, and a disk that is full costs the keeping, never the answer.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from magma_policy.serving.chat.request import ChatRequest

VERSION = 1
"""Of the table and of what a key is made of."""
MAX_ANSWERS = 200_000
"""Kept; the longest unused go first. At 1 kB each that is 200 MB."""
SPARE = 1_000
"""So many go at once, that room is not made for each answer alone."""

log = logging.getLogger("magma-serve")


@dataclass(frozen=True)
class StoredAnswer:
    """A whole answer: its text, why it ended, and what was counted."""

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int
    tokens: int


def key_of(identity: str, request: ChatRequest) -> str:
    """What an answer depends on, as a hash: the model's content, and a request's words, pictures and settings."""
    message = request.message
    digest = hashlib.sha256()
    parts = [
        VERSION,
        identity,
        message.question,
        message.system,
        message.max_num_crops,
        message.literal,
        [[turn.question, turn.answer, turn.images] for turn in message.earlier],
        asdict(request.settings),
        request.stop,
        [list(picture.shape) for picture in message.images],
    ]
    digest.update(json.dumps(parts).encode())
    for picture in message.images:
        digest.update(hashlib.sha256(np.ascontiguousarray(picture).data.cast("B")).digest())
    return digest.hexdigest()


class AnswerStore:
    """Answers by key, in a file; safe to use from any thread. What goes wrong with the file is logged once."""

    def __init__(self, path: Path, max_answers: int = MAX_ANSWERS) -> None:
        self._path = path
        self._max_answers = max_answers
        self._lock = threading.Lock()
        self._failed = self._complained = False
        self._file: sqlite3.Connection | None = None

    def get(self, key: str) -> StoredAnswer | None:
        """The answer that was given, if it was kept."""
        with self._lock:
            try:
                file = self._ready()
                if file is None:
                    return None
                row = file.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
                if row is None:
                    return None
                file.execute("UPDATE answers SET used_s = ? WHERE key = ?", (time.time(), key))
                said = json.loads(row[0])
                finish: Literal["stop", "length"] = "length" if said["finish"] == "length" else "stop"
                return StoredAnswer(str(said["text"]), finish, int(said["prompt_tokens"]), int(said["tokens"]))
            except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
                self._complain(error)
                return None

    def put(self, key: str, answer: StoredAnswer) -> None:
        """Keeps an answer, on the disk when this returns."""
        with self._lock:
            try:
                file = self._ready()
                if file is None:
                    return
                row = (key, json.dumps(asdict(answer)), time.time())
                file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", row)
                (count,) = file.execute("SELECT COUNT(*) FROM answers").fetchone()
                if count > self._max_answers:
                    many = count - max(1, self._max_answers - min(SPARE, self._max_answers // 10))
                    oldest = "SELECT key FROM answers ORDER BY used_s LIMIT ?"
                    file.execute(f"DELETE FROM answers WHERE key IN ({oldest})", (many,))
            except sqlite3.Error as error:
                self._complain(error)

    def close(self) -> None:
        """Nothing is kept or known any more."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _ready(self) -> sqlite3.Connection | None:
        """Opens the file at its first use: a server that is asked nothing leaves none behind."""
        if self._file is None and not self._failed:
            try:
                self._file = self._open()
            except sqlite3.DatabaseError as error:
                self._open_anew(error)
            except OSError as error:
                self._fail(error)
        return self._file

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Answers may tell of pictures that are nobody else's business; SQLite gives its other files the same mode.
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        file = sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            file.execute("PRAGMA journal_mode = WAL")
            (version,) = file.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise sqlite3.DatabaseError(f"it is of version {version}, this server writes {VERSION}")
            file.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT, used_s REAL)")
            file.execute("CREATE INDEX IF NOT EXISTS by_use ON answers (used_s)")
            file.execute(f"PRAGMA user_version = {VERSION}")
            (state,) = file.execute("PRAGMA quick_check").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(str(state))
        except BaseException:
            file.close()
            raise
        return file

    def _open_anew(self, error: sqlite3.DatabaseError) -> None:
        if isinstance(error, sqlite3.OperationalError):  # locked, read-only, no room: the file itself is whole
            self._fail(error)
            return
        aside = self._path.with_name(f"{self._path.name}.damaged")
        log.warning("%s cannot be read (%s): it is now %s, and answers are kept anew", self._path, error, aside.name)
        try:
            self._path.replace(aside)
            for more in ("-wal", "-shm"):
                self._path.with_name(self._path.name + more).unlink(missing_ok=True)
            self._file = self._open()
        except (sqlite3.Error, OSError) as again:
            self._fail(again)

    def _fail(self, error: Exception) -> None:
        self._failed = True
        self._complain(error)

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            log.warning("answers are not kept in %s: %s", self._path, error)
        self._complained = True
