"""The recordings in a folder: what each holds, as far as a list shows it; and the recorder that adds to them.

A recording is read by a process of its own (`python -m magma_console.pages.recordings FOLDER`): a long one takes
a while.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from magma_recorder.recordings.recording import Recording, RecordingError
from magma_recorder.topics import CAMERA, EPISODE_TAG, FRAME

OUTCOMES = ("note", "success", "failure")
"""By the numbers of EpisodeTag.msg."""
THUMBNAIL_WIDTH = 192
LONGEST_NAME = 80
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
CLOSING_S = 15.0


@dataclass(frozen=True)
class Found:
    """A recording on the disk."""

    name: str
    size_bytes: int
    changed_s: float

    @property
    def version(self) -> tuple[str, int, float]:
        """Changes when the file does."""
        return self.name, self.size_bytes, self.changed_s


def find(folder: Path) -> list[Found]:
    """All recordings directly in a folder, the newest first."""
    found = []
    for path in folder.glob("*/*.mcap") if folder.is_dir() else ():
        try:
            state = path.stat()
        except OSError:
            continue  # removed meanwhile
        found.append(Found(path.parent.name, state.st_size, state.st_mtime))
    return sorted(found, key=lambda item: -item.changed_s)


def summary(folder: Path) -> dict[str, Any]:
    """What a list shows of a recording: seconds, messages, tags, whether it is whole, a small picture of its middle."""
    recording = Recording(folder)
    pictures: list[bytes] = []
    every, seen = 1, 0
    told: dict[str, Any] = {"tags": [], "messages": 0}
    first_ns = last_ns = 0
    for item in recording:
        told["messages"] += 1
        first_ns, last_ns = first_ns or item.log_ns, item.log_ns
        if item.name == EPISODE_TAG:
            tag = item.message
            outcome = OUTCOMES[tag.outcome] if tag.outcome < len(OUTCOMES) else "note"
            told["tags"].append({"s": (item.log_ns - first_ns) * 1e-9, "outcome": outcome, "note": tag.note[:500]})
        elif item.name in (f"{CAMERA}/compressed", f"{FRAME}/compressed"):
            # A few, spread over the whole: which is the middle is known at the end only.
            if seen % every == 0:
                pictures.append(item.data)
                if len(pictures) == 16:
                    pictures, every = pictures[::2], 2 * every
            seen += 1
    told["seconds"] = (last_ns - first_ns) * 1e-9
    told["complete"] = recording.complete
    told["damage"] = recording.damage
    told["picture"] = _thumbnail(recording, pictures[len(pictures) // 2]) if pictures else ""
    return told


def _thumbnail(recording: Recording, data: bytes) -> str:
    """As a data URL; empty when the picture cannot be read."""
    from magma_recorder.definitions import MessageError, decoded

    try:
        message = decoded(data, "sensor_msgs/msg/CompressedImage")
        pixels = cv2.imdecode(np.frombuffer(bytes(message.data), np.uint8), cv2.IMREAD_COLOR)
    except (MessageError, ValueError, cv2.error):
        return ""
    if pixels is None:
        return ""
    height = max(1, round(pixels.shape[0] * THUMBNAIL_WIDTH / pixels.shape[1]))
    small = cv2.resize(pixels, (THUMBNAIL_WIDTH, height), interpolation=cv2.INTER_AREA)
    return "data:image/jpeg;base64," + base64.b64encode(cv2.imencode(".jpg", small)[1]).decode()


def check_name(name: str) -> str:
    """A name for a new folder, or empty. Raises ValueError for any other text."""
    if name and (len(name) > LONGEST_NAME or not NAME.fullmatch(name)):
        raise ValueError(
            f"a recording's name has letters, digits and _ . - only, at most {LONGEST_NAME}: {name[:100]!r}"
        )
    return name


class Recorder:
    """The recorder as a process that pages start and stop."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self._folder, self._namespace = folder, namespace
        self._process: subprocess.Popen[bytes] | None = None
        self.name = ""
        """of what is being recorded"""

    @property
    def running(self) -> bool:
        """Whether it records now."""
        return self._process is not None and self._process.poll() is None

    def start(self, name: str) -> str:
        """Begins a recording; returns its name.

        Raises:
            ValueError: it cannot begin; the text says why.
        """
        if self.running:
            raise ValueError(f"{self.name} is being recorded: stop it first")
        name = check_name(name) or time.strftime("%Y-%m-%d_%H-%M-%S") + self._namespace.replace("/", "_")
        if (self._folder / name).exists():
            raise ValueError(f"{name} exists already: give another name")
        command = [sys.executable, "-m", "magma_recorder.recorder_node", "--ros-args"]
        command += ["-r", f"__ns:=/{self._namespace}"] if self._namespace else []
        for parameter, value in (("directory", str(self._folder.resolve())), ("name", name)):
            command += ["-p", f"{parameter}:={json.dumps(value)}"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.name = name
        return name

    def stop(self) -> None:
        """Ends the recording; waits until it is written."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(CLOSING_S)
        except subprocess.TimeoutExpired:
            process.kill()
        self._process = None


def main(words: list[str]) -> int:
    """Prints the summary of a recording as JSON; exit status 1, with a sentence, when it cannot be read."""
    try:
        print(json.dumps(summary(Path(words[0]))))
    except (RecordingError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
