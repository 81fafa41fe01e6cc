"""A recording of the recorder, with a message of every topic, and what `ros2 bag play` makes of it on the wire."""

from pathlib import Path

from interop_capture import record_conversation
from interop_fill import fill
from interop_stock import stock_command, stock_environment

from magma_recorder.config import RecorderConfig
from magma_recorder.recordings.message_queue import MessageQueue, Received
from magma_recorder.recordings.writer import RecordingWriter
from magma_recorder.topics import TOPICS, Topic
from rclpy_dds._dds import names
from rclpy_dds.interfaces import message_class
from rclpy_dds.interfaces.cdr import encode, join

FOLDER = "recording"
START_NS = 1_700_000_000_000_000_000
# What a picture is compressed to differs from one version of its codec to another; the player talks on /rosout itself.
PLAYED = tuple(topic for topic in TOPICS if not topic.picture and topic.name != "/rosout")


def message_bytes(topic: Topic) -> bytes:
    """The message of a topic in the recording, whose every field has a value of its own."""

    def new(name: str):
        return message_class(name.replace("/", "/msg/") if name.count("/") == 1 else name)()

    return join(encode(fill(new(topic.type_name), new), topic.type_name))


def write(parent: Path) -> Path:
    """Writes the recording as the recorder does and returns its folder."""
    queue = MessageQueue(1 << 20, frozenset())
    writer = RecordingWriter(parent / FOLDER, PLAYED, queue, RecorderConfig)
    for number, topic in enumerate(PLAYED):
        stamp_ns = START_NS + number * 10_000_000
        queue.put(Received(number, stamp_ns, stamp_ns, 1, message_bytes(topic)))
    queue.close()
    writer.run()
    return parent / FOLDER


def play(folder: Path, domain: int) -> dict[str, list[dict]]:
    """What a stock `ros2 bag play` announces and sends of the recorded topics."""
    player = Path(__file__).with_name("interop_bag_player.py")
    command = stock_command("python3", str(player), str(folder))
    heard = record_conversation(command, stock_environment(domain), domain)
    played = {f"{names.TOPIC}{topic.recorded_name}" for topic in PLAYED}
    return {
        "endpoints": [entry for entry in heard["endpoints"] if entry["topic"] in played and entry["kind"] == "writer"],
        "samples": [sample for sample in heard["samples"] if sample["topic"] in played],
    }
