"""The node `recorder`: listens to everything, sends nothing but its own diagnostics, and writes a recording."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from magma_common import diagnostics
from magma_common.foreign_subscription import ForeignSubscription, offer_of
from magma_common.process.node_main import run_node
from magma_common.settings.node_config import NodeParameters
from magma_contracts.errors import ConfigError
from magma_recorder.config import RecorderConfig
from magma_recorder.definitions import message_class, schema_of
from magma_recorder.recordings.message_queue import MessageQueue, Received
from magma_recorder.recordings.writer import RecordingWriter
from magma_recorder.topics import CAMERA, TOPICS, Topic

DEPTH = 600
"""Messages of one topic that may arrive while this process does something else; as many as the controller keeps of its
journal for a recorder that starts late."""
IMAGE_DEPTH = 10
CLOSING_S = 20.0
"""How long the end may take; launch files wait less, and what is written by then is readable."""


class Recorder(Node):
    """Puts what comes in into a bounded queue; a thread of its own takes it from there to the disk."""

    def __init__(self) -> None:
        super().__init__("recorder", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, RecorderConfig)
        config = self._node_parameters.config
        self._robot = self.get_namespace().rstrip("/")
        self._topics = self._choose(config)
        self._received = [0] * len(self._topics)
        self._lost_on_the_way = 0
        self._queue = MessageQueue(
            int(config.queue_mb * 1e6), frozenset(i for i, topic in enumerate(self._topics) if topic.picture)
        )
        # Recorders of several robots begin at the same second.
        moment = time.strftime("%Y-%m-%d_%H-%M-%S") + self._robot.replace("/", "_")
        folder = Path(config.directory).expanduser() / (config.name or moment)
        try:
            self._writer = RecordingWriter(
                folder, self._topics, self._queue, lambda: self._node_parameters.config, self._robot
            )
        except FileExistsError:
            raise ConfigError(f"{folder} exists already: give the recording another name") from None
        except OSError as error:
            raise ConfigError(f"cannot record into {folder}: {error.strerror}") from error
        self._ears = [
            ForeignSubscription(
                self,
                message_class(topic.type_name),
                topic.namespace + topic.name,
                self._taker(index),
                _profile(topic),
                best=None if topic.picture else _BEST,
                raw=True,
                with_info=True,
            )
            for index, topic in enumerate(self._topics)
        ]
        self._unheard: tuple[str, ...] = ()
        self._diagnostics = diagnostics.DiagnosticsPublisher(self, self._report)
        self._writer.start()
        self.get_logger().info(f"recording {len(self._topics)} topics into {folder}")

    def close(self) -> None:
        """Writes what is left and says what the recording holds and what it lacks."""
        log = self.get_logger()
        if not self._writer.join(CLOSING_S):
            log.error(f"the disk did not take the rest within {CLOSING_S:g} s; {self._writer.path} has no summary")
            return
        log.info(f"recorded {self._writer.path}\n{self._writer.table()}")
        lacking = {
            name: text for name, text in self._writer.account().items() if name != "audit" and text not in ("{}", "[]")
        }
        for name, text in lacking.items():
            log.info(f"{name.replace('_', ' ')}: {text}")
        if self._writer.status.trouble:
            log.error(self._writer.status.trouble)

    def _choose(self, config: RecorderConfig) -> list[Topic]:
        chosen = [topic for topic in TOPICS if config.pictures or not topic.picture]
        if config.camera_transport == "compressed":
            chosen = [topic for topic in chosen if topic.name != CAMERA]
            chosen.append(Topic(CAMERA + "/compressed", "sensor_msgs/msg/CompressedImage", best_effort=True))
        chosen = [topic.of_robot(self._robot) for topic in chosen]
        published = dict(self.get_topic_names_and_types()) if config.topics else {}
        for given in config.topics:
            name = self.resolve_topic_name(given, only_expand=True)
            if any(topic.namespace + topic.name == name for topic in chosen):
                continue
            types = published.get(name)
            if not types:
                raise ConfigError(f"nobody publishes {name}, so its type is unknown: start the recorder after it")
            offers = [offer_of(info.qos_profile) for info in self.get_publishers_info_by_topic(name)]
            latched = bool(offers) and all(offer.latched for offer in offers)
            chosen.append(Topic(name, types[0], latched=latched, best_effort=not latched, stamped=False))
        for topic in chosen:
            schema_of(topic.recorded_type)
        return chosen

    def _taker(self, index: int) -> Callable[[bytes, Any], None]:
        def take(data: bytes, info: Any) -> None:
            self._received[index] += 1
            received_ns = info["received_timestamp"] or time.time_ns()
            published_ns = info["source_timestamp"] or received_ns
            self._queue.put(Received(index, received_ns, published_ns, self._received[index], data))

        return take

    def _report(self) -> diagnostics.Report:
        status = self._writer.status
        dropped = sum(self._queue.dropped.values())
        values = {
            "file": self._writer.path,
            "messages written": status.written,
            "megabytes": f"{status.size_bytes * 1e-6:.1f}",
            "dropped because the queue was full": dropped,
            "dropped because of the disk": status.dropped_by_disk,
            "not a picture": status.unreadable,
            "megabytes waiting": f"{self._queue.waiting_bytes * 1e-6:.1f}",
        }
        unheard = tuple(text for subscription in self._ears for text in subscription.unheard)
        if unheard:
            values["not heard"] = "; ".join(unheard)
        if set(unheard) - set(self._unheard):
            self.get_logger().warning(f"not recorded: {'; '.join(sorted(set(unheard) - set(self._unheard)))}")
        self._unheard = unheard
        if status.trouble:
            return diagnostics.Report(diagnostics.ERROR, status.trouble, values)
        if dropped or status.dropped_by_disk:
            return diagnostics.Report(diagnostics.WARN, "recording; messages were lost", values)
        if unheard:
            return diagnostics.Report(diagnostics.WARN, f"recording; not heard: {unheard[0]}", values)
        if status.unreadable:
            return diagnostics.Report(diagnostics.WARN, f"recording; {status.last_unreadable}", values)
        return diagnostics.Report(diagnostics.OK, "recording", values)


_BEST = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""A recording wants all that there is, so each publisher is heard as well as it offers; but pictures are not sent
again: the next one is as good."""


def _profile(topic: Topic) -> QoSProfile:
    """What to ask for before it is known who publishes.

    Deep enough to ride out a pause of this process. Publishers keep their last message only, so a recorder that hangs
    makes none of them wait.
    """
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=IMAGE_DEPTH if topic.picture else DEPTH,
        reliability=ReliabilityPolicy.BEST_EFFORT if topic.best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else DurabilityPolicy.VOLATILE,
    )


def main() -> int:
    """Entry point of `ros2 run magma_recorder recorder`."""
    return run_node(Recorder)


if __name__ == "__main__":
    sys.exit(main())
