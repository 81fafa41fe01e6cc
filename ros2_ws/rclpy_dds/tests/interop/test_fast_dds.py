"""Topics shared with nodes on eProsima Fast DDS: recorded (always) and live (needs one, see interop_fast_dds.py)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from interop_capture import GRAPH_TOPIC, decoded, payload_layout, record_conversation
from interop_domains import free_domain
from interop_fast_dds import fast_dds_environment, fast_dds_python, why_no_fast_dds
from interop_tools import PATIENCE_S, ours, own_environment, running

from rclpy_dds.cli.messages import message_to_dict
from rclpy_dds.interfaces.cdr import encode, join

HERE = Path(__file__).parent
TOPICS = HERE / "interop_topics.py"
GOLDEN = json.loads(HERE.joinpath("golden", "jazzy_fast_dds.json").read_text(encoding="utf-8"))
RECORDED = ("words", "task", "target", "frames")
OURS, FAST_DDS = "rclpy_dds", "Fast DDS"
live = pytest.mark.skipif(why_no_fast_dds() is not None, reason=str(why_no_fast_dds()))


def plain(value):
    """Lists for tuples and arrays, as JSON has them."""
    return json.loads(json.dumps(value, default=list))


@pytest.mark.parametrize("sample", GOLDEN["samples"], ids=lambda sample: sample["topic"])
def test_what_fast_dds_sent_is_read_as_it_reads_it_and_written_alike(sample: dict) -> None:
    interface, offset = payload_layout(sample["topic"], sample["type"])
    message = decoded(sample)
    assert plain(message_to_dict(message)) == sample["value"]
    raw = bytes.fromhex(sample["cdr"])
    # The last bytes that fill up to four may be left out, and so may their count in the header.
    own = join(encode(message, interface, raw[4:offset]))
    assert own[4:].rstrip(b"\0") == raw[4:].rstrip(b"\0") and own[:2] == raw[:2]


def test_endpoints_are_announced_as_fast_dds_announces_them() -> None:
    """Topics, types, hashes and quality of service; what stock nodes have beside them is their own affair."""
    domain = free_domain()
    own = record_conversation([sys.executable, str(TOPICS), "talk", *RECORDED], own_environment(domain), domain)
    wanted = [entry for entry in GOLDEN["endpoints"] if entry["topic"].startswith(("rt/topics/", GRAPH_TOPIC))]
    for entry in wanted:
        assert entry in own["endpoints"]
    own_words = {sample["topic"]: sample["cdr"] for sample in own["samples"]}
    for sample in GOLDEN["samples"]:
        if sample["topic"] != GRAPH_TOPIC:
            assert own_words[sample["topic"]][8:].rstrip("0") == sample["cdr"][8:].rstrip("0")


@contextmanager
def side(stack: str, domain: int, *words: str) -> Iterator[subprocess.Popen]:
    """A node on a stack; it is ready, and ends with the block."""
    if stack == FAST_DDS:
        command, environment = [fast_dds_python(), str(TOPICS), *words], fast_dds_environment(domain)
    else:
        command = [sys.executable, str(TOPICS), *words]
        environment = own_environment(domain)
    with running(command, environment) as process:
        yield process
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0


@live
@pytest.mark.parametrize(("talker", "listener"), [(OURS, FAST_DDS), (FAST_DDS, OURS)], ids=lambda stack: stack)
def test_topics_go_both_ways(talker: str, listener: str) -> None:
    """Text, a latched word said before anybody listened, and reliable pictures of 640x480, byte for byte."""
    domain = free_domain()
    names = ("words", "task", "target", "large")
    with side(talker, domain, "talk", *names) as talking, side(listener, domain, "hear", *names) as hearing:
        ready = ours("topic", "info", "/topics/large", "--no-daemon", "--spin-time", "2", domain=domain)
        assert "Publisher count: 1" in ready.stdout and "Subscription count: 1" in ready.stdout
        talking.stdin.write("\n")
        talking.stdin.flush()
        assert talking.stdout.readline() == "done\n"
        assert hearing.stdout.readline() == "done\n"


LOOK = ("--no-daemon", "--spin-time", "2")
COMMANDS = (
    (("node", "list", *LOOK), "/topics/talker"),
    (("topic", "list", "-t", *LOOK), "/topics/task [std_msgs/msg/String]"),
    (("topic", "info", "-v", "/topics/task", *LOOK), "Durability: TRANSIENT_LOCAL"),
    (("topic", "echo", "--once", "/topics/task"), "put the carrot on the plate"),
    (("doctor",), "Fast DDS (/topics/talker)"),
    (("param", "list", "/topics/talker", *LOOK), "runs on Fast DDS, whose services rclpy_dds cannot call"),
)


@live
def test_tools_find_nodes_on_fast_dds() -> None:
    domain = free_domain()
    with side(FAST_DDS, domain, "talk") as talking:
        for words, expected in COMMANDS:
            result = ours(*words, domain=domain)
            assert expected in result.stdout + result.stderr, f"{words}:\n{result.stdout}{result.stderr}"
        talking.stdin.write("\n")
        talking.stdin.flush()


@live
def test_a_service_on_fast_dds_is_never_ready() -> None:
    """Its reply could never reach us: nobody is to wait for it."""
    domain = free_domain()
    ask = (
        "import rclpy; from rcl_interfaces.srv import ListParameters as Kind; rclpy.init(args=[]); "
        "node = rclpy.create_node('asking'); client = node.create_client(Kind, '/topics/serving/list_parameters'); "
        "print(client.wait_for_service(3.0))"
    )
    serve = (
        "import rclpy, sys; rclpy.init(args=[]); node = rclpy.create_node('serving', namespace='/topics'); "
        "print('ready', flush=True); sys.stdin.readline()"
    )
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
    with subprocess.Popen(
        [fast_dds_python(), "-c", serve],
        env=fast_dds_environment(domain),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as serving:
        assert serving.stdout.readline() == "ready\n"
        found = ours("service", "list", *LOOK, domain=domain).stdout
        answer = subprocess.run(
            [sys.executable, "-c", ask], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
    assert "/topics/serving/list_parameters" in found, "it is there, and still not ready"
    assert answer.stdout.strip() == "False"
