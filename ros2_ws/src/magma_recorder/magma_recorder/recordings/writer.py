"""From the queue to the file: compresses pictures, writes in time, and lives through full, failing and slow disks."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builtin_interfaces.msg import Time
from magma_interfaces.msg import ControllerState, EndEffectorDelta
from magma_interfaces.msg import Intervention as InterventionMsg
from rclpy.serialization import deserialize_message, serialize_message

from magma_common.conversions import ns_to_stamp, stamp_to_ns
from magma_recorder import topics
from magma_recorder.config import RecorderConfig
from magma_recorder.definitions import schema_of, type_hash
from magma_recorder.recordings import bag_metadata
from magma_recorder.recordings.audit import RecordingAudit
from magma_recorder.recordings.image_compression import ImageError, compress
from magma_recorder.recordings.interventions import Intervention, InterventionTracker
from magma_recorder.recordings.mcap_file import McapFile
from magma_recorder.recordings.message_queue import MessageQueue, Received
from magma_recorder.topics import Topic

CHUNK_BYTES = 1 << 20
"""A chunk is written as soon as it holds this much, whatever the time."""


@dataclass(frozen=True)
class WriterStatus:
    """How writing goes, for diagnostics."""

    trouble: str
    """why nothing is written now; empty when all is well"""
    written: int
    size_bytes: int
    dropped_by_disk: int
    unreadable: int
    last_unreadable: str


class RecordingWriter:
    """Owns the file. `run` belongs to one thread of its own; `status` may be read from any."""

    def __init__(
        self,
        folder: Path,
        recorded: Sequence[Topic],
        queue: MessageQueue,
        config: Callable[[], RecorderConfig],
        namespace: str = "",
    ) -> None:
        """Makes the folder and the file in it.

        Args:
            namespace: of the robot that is recorded, such as /left; empty = none.

        Raises:
            OSError: it cannot be made.
            KeyError: no definition of a type.
        """
        self._topics = recorded
        self._queue = queue
        self._config = config
        folder.mkdir(parents=True)
        self._folder = folder
        self._file = McapFile(folder / f"{folder.name}_0.mcap")
        self._channels = [self._add_channel(topic) for topic in recorded]
        self._told = Topic(topics.INTERVENTIONS, topics.INTERVENTION_TYPE, namespace=namespace)
        self._intervention_channel = self._add_channel(self._told)
        self._interventions: list[Intervention] = []
        self._tracker = InterventionTracker()
        self._audit = RecordingAudit()
        self._trouble = ""
        self._dropped_by_disk: Counter[str] = Counter()
        self._unreadable: Counter[str] = Counter()
        self._last_unreadable = ""
        self._last_written_s = time.monotonic()
        self._last_sync_s = time.monotonic()
        self._retry_at_s = 0.0
        self._status = WriterStatus("", 0, 0, 0, 0, "")
        self._thread = threading.Thread(target=self.run, name="recording", daemon=True)
        self._write_bag_metadata()

    def start(self) -> None:
        """Begins to write."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Waits until everything is written and the file is closed; False when that takes longer."""
        self._queue.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def path(self) -> Path:
        """The MCAP file."""
        return self._file.path

    @property
    def status(self) -> WriterStatus:
        return self._status

    def run(self) -> None:
        """Writes until the queue is closed and empty."""
        while True:
            # Read before the queue: what came in before it was closed is still written.
            closed = self._queue.closed
            for item in self._queue.take(min(0.1, self._config().flush_period_s)):
                self._take(item)
            self._work(time.monotonic())
            self._publish_status()
            if closed:
                break
        self._finish()

    def _take(self, item: Received) -> None:
        topic = self._topics[item.topic]
        if self._trouble:
            self._dropped_by_disk[topic.recorded_name] += 1
            return
        data = item.data
        try:
            if topic.picture:
                config = self._config()
                encoding = config.camera_encoding if topic.name == topics.CAMERA else config.frame_encoding
                data = compress(data, encoding, config.jpeg_quality)
            self._follow(topic, item)
            self._audit.add(topic.recorded_name, item.log_ns, item.sequence, data)
        except (ImageError, ValueError) as error:
            self._unreadable[topic.recorded_name] += 1
            self._last_unreadable = f"{topic.name}: {error}"
            return
        self._file.add_message(self._channels[item.topic], item.log_ns, item.publish_ns, item.sequence, data)
        if self._file.pending_bytes >= CHUNK_BYTES:
            self._work(time.monotonic(), at_once=True)

    def _follow(self, topic: Topic, item: Received) -> None:
        """Keeps account of who has the arm."""
        if topic.name == topics.TELEOP_COMMAND:
            asked = deserialize_message(item.data, EndEffectorDelta)
            self._tracker.on_operator_command(item.log_ns, asked.source)
        elif topic.name == topics.COMMAND:
            sent = deserialize_message(item.data, EndEffectorDelta)
            self._tracker.on_command(item.log_ns, sent.source)
        elif topic.name == topics.CONTROLLER_STATE:
            state = deserialize_message(item.data, ControllerState)
            over = self._tracker.on_phase(stamp_to_ns(state.header.stamp), int(state.phase))
            if over is not None:
                self._record_intervention(over, item.log_ns)

    def _record_intervention(self, intervention: Intervention, log_ns: int) -> None:
        message = InterventionMsg()
        message.header.stamp = ns_to_stamp(intervention.start_ns)
        message.end = Time(sec=intervention.end_ns // 10**9, nanosec=intervention.end_ns % 10**9)
        message.device = intervention.device
        message.followed_by = intervention.followed_by
        message.commands = intervention.commands
        self._interventions.append(intervention)
        data = serialize_message(message)
        sequence = len(self._interventions)
        self._audit.add(self._told.recorded_name, log_ns, sequence, data)
        self._file.add_message(self._intervention_channel, log_ns, log_ns, sequence, data)

    def _work(self, now_s: float, at_once: bool = False) -> None:
        """Writes and syncs what is due; after a failure, tries again when that is due."""
        config = self._config()
        if self._trouble and now_s < self._retry_at_s:
            return
        if not (at_once or self._trouble or now_s - self._last_written_s >= config.flush_period_s):
            return
        self._last_written_s = now_s
        try:
            _require_space(self._folder, config.min_free_mb)
            self._file.write_chunk()
            self._trouble = ""
            if now_s - self._last_sync_s >= config.sync_period_s:
                self._last_sync_s = now_s
                self._file.sync()
        except OSError as error:
            self._dropped_by_disk.update(self._file.drop_chunk())
            self._trouble = f"cannot write {self._file.path}: {error.strerror or error}"
            self._retry_at_s = now_s + config.retry_s

    def _publish_status(self) -> None:
        self._status = WriterStatus(
            self._trouble,
            sum(self._file.counts.values()),
            self._file.size,
            sum(self._dropped_by_disk.values()),
            sum(self._unreadable.values()),
            self._last_unreadable,
        )

    def _finish(self) -> None:
        """Writes the last messages, the audit and the summary. What a full disk does not take is left out; the file is
        readable all the same."""
        last = self._tracker.end()
        if last is not None:
            self._record_intervention(last, last.end_ns)
        try:
            self._file.add_metadata("magma_recording", self.account())
            self._write_bag_metadata()
        except OSError as error:
            self._dropped_by_disk.update(self._file.drop_chunk())
            self._trouble = f"cannot write {self._file.path}: {error.strerror or error}"
        try:
            self._file.finish()
        except OSError as error:
            self._trouble = f"cannot finish {self._file.path}: {error.strerror or error}"
        self._publish_status()

    def account(self) -> dict[str, str]:
        """What is in the recording and what is not, as JSON by name. Call it from `run`'s thread, or after `join`."""
        names = [topic.recorded_name for topic in self._topics]
        by_queue = {names[topic]: count for topic, count in sorted(self._queue.dropped.items())}
        return {
            "audit": json.dumps(self._audit.rows()),
            "dropped_because_the_queue_was_full": json.dumps(by_queue),
            "dropped_because_of_the_disk": json.dumps(dict(sorted(self._dropped_by_disk.items()))),
            "not_a_picture": json.dumps(dict(sorted(self._unreadable.items()))),
            "interventions": json.dumps([_plain(item) for item in self._interventions]),
        }

    def table(self) -> str:
        """The audit for a person, after `join`."""
        return self._audit.table()

    def _add_channel(self, topic: Topic) -> int:
        metadata = {"offered_qos_profiles": topics.LATCHED_QOS if topic.latched else ""}
        metadata["topic_type_hash"] = type_hash(topic.recorded_type)
        return self._file.add_channel(
            topic.recorded_name, topic.recorded_type, schema_of(topic.recorded_type), metadata
        )

    def _write_bag_metadata(self) -> None:
        start_ns, end_ns = self._file.time_range_ns
        known = [*self._topics, self._told]
        bag_metadata.write(self._folder, self._file.path.name, known, self._file.counts, start_ns, end_ns)


def _plain(item: Intervention) -> dict[str, Any]:
    return {
        "start_ns": item.start_ns,
        "end_ns": item.end_ns,
        "device": item.device,
        "followed_by": item.followed_by,
        "commands": item.commands,
    }


def _require_space(folder: Path, min_free_mb: float) -> None:
    usage = os.statvfs(folder)
    free_mb = usage.f_bavail * usage.f_frsize * 1e-6
    if free_mb < min_free_mb:
        raise OSError(f"only {free_mb:.0f} MB are free, min_free_mb is {min_free_mb:g}")
