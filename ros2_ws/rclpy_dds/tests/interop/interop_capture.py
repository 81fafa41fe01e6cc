"""Listens to a conversation on the network: the bytes of every message, and what the endpoints announce."""

import re
import subprocess
import time
from pathlib import Path

from rclpy_dds._dds import names
from rclpy_dds._dds.graph import Graph
from rclpy_dds._dds.libddsc import BUILTIN_PARTICIPANT, INFINITY, BuiltinParticipant
from rclpy_dds._dds.participant import Participant
from rclpy_dds._dds.qos import EndpointPolicies, read_user_data
from rclpy_dds.interfaces.cdr import decode
from rclpy_dds.interfaces.type_hash import user_data

CONVERSATION = Path(__file__).with_name("interop_conversation.py")
GRAPH_TOPIC = "ros_discovery_info"
GRAPH_TYPE = "rmw_dds_common/msg/ParticipantEntitiesInfo"
PATIENCE_S = 60.0
# rmw_cyclonedds writes each byte with a width of two, so that a small first one leaves a space.
_ENDPOINT_ID = re.compile(r" ?(?:[0-9a-f]{1,2}\.){15}[0-9a-f]{1,2}")
# Topics that say the same in every process, or nothing in this conversation.
_IGNORED = ("DCPS", "rclpy_dds_self_test")
_LISTEN = EndpointPolicies(1, 1, 2, 0, INFINITY, INFINITY, 1, INFINITY)
_MEANINGS = {"reliability": {1: "reliable", 2: "best effort"}, "durability": {1: "transient local", 2: "volatile"}}


def plain_policies(policies: EndpointPolicies) -> dict:
    """Quality of service in words; only what differs from no limit is named."""
    shown = {
        "reliability": _MEANINGS["reliability"][policies.reliability],
        "durability": _MEANINGS["durability"][policies.durability],
    }
    for name in ("deadline_ns", "lifespan_ns", "liveliness_lease_ns"):
        value = getattr(policies, name)
        if value != INFINITY:
            shown[name] = value
    return shown


def plain_user_data(user_data: dict[str, str]) -> dict[str, str]:
    """User data of an endpoint with the ids, which differ from run to run, replaced when they are well formed."""
    return {
        key: "<id>" if key in ("clientid", "serviceid") and _ENDPOINT_ID.fullmatch(value) else value
        for key, value in user_data.items()
    }


class Capture:
    """A participant that listens to all topics of other participants."""

    def __init__(self, domain: int) -> None:
        self._participant = Participant(domain)
        self._graph = Graph(self._participant)
        self._readers: dict[tuple[str, str], object] = {}

    def _others(self) -> list:
        own = self._participant.guid
        return [
            endpoint
            for endpoint in self._graph.endpoints()
            if endpoint.participant != own and not endpoint.topic.startswith(_IGNORED)
        ]

    def listen(self) -> None:
        """Subscribe to every topic that is written by others, as it was offered."""
        for endpoint in self._others():
            key = endpoint.topic, endpoint.type
            if endpoint.is_writer and key not in self._readers:
                policies = _LISTEN._replace(reliability=endpoint.policies.reliability)
                policies = policies._replace(durability=endpoint.policies.durability)
                # Stock ROS 2 logs a warning for every endpoint without a type hash.
                announcement = f"typehash={endpoint.user_data.get('typehash', '')};"
                self._readers[key] = self._participant.create_reader(*key, policies, announcement)
        deadline = time.monotonic() + PATIENCE_S
        while not all(reader.matched_count() for reader in self._readers.values()):
            if time.monotonic() > deadline:
                raise RuntimeError("not matched with every topic of the conversation")
            time.sleep(0.02)
        self._wait_until_announced(deadline)

    def _wait_until_announced(self, deadline: float) -> None:
        """Wait until the peer knows the readers, too: what it writes before that does not come here.

        Readers are announced in order, so that a peer which sends the last one its history knows the others.
        """
        last = self._participant.create_reader(
            GRAPH_TOPIC, names.dds_type(GRAPH_TYPE), _LISTEN, user_data(GRAPH_TYPE), ignore_local=True
        )
        while last.take() is None:
            if time.monotonic() > deadline:
                raise RuntimeError("the conversation's nodes did not answer")
            time.sleep(0.02)
        last.close()

    def take(self) -> list[dict]:
        """Return the messages received since, topic after topic, each topic's in order."""
        samples = []
        for (topic, type_name), reader in sorted(self._readers.items()):
            while (sample := reader.take()) is not None:
                samples.append({"topic": topic, "type": type_name, "cdr": bytes(sample.payload).hex()})
        return samples

    def endpoints(self) -> list[dict]:
        """Return what every endpoint of the nodes announces, with the name of its node."""
        owners = {gid: node.full_name for node in self._graph.nodes() for gid in node.readers | node.writers}
        found = [
            {
                "node": owners.get(endpoint.gid),
                "kind": "writer" if endpoint.is_writer else "reader",
                "topic": endpoint.topic,
                "type": endpoint.type,
                "qos": plain_policies(endpoint.policies),
                "user_data": plain_user_data(endpoint.user_data),
            }
            for endpoint in self._others()
        ]
        return sorted(found, key=lambda entry: (entry["topic"], entry["kind"], entry["node"] or ""))

    def participants(self) -> list[dict]:
        """Return the user data of the other participants."""
        own = self._participant.guid
        with self._graph._lock:
            return [
                read_user_data(sample.qos)
                for sample in self._graph._samples(BUILTIN_PARTICIPANT, BuiltinParticipant)
                if bytes(sample.key.v) != own
            ]

    def close(self) -> None:
        """Leave."""
        self._graph.close()
        self._participant.close()


def record_conversation(command: list[str], environment: dict[str, str], domain: int) -> dict:
    """Run the conversation with a command and return what was heard of it."""
    capture = Capture(domain)
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def expect(word: str) -> None:
        for line in process.stdout:
            if line.startswith(word):
                return
        raise RuntimeError(f"the conversation ended without {word!r}")

    try:
        expect("ready")
        endpoints = settle(capture)
        capture.listen()
        participants = capture.participants()
        process.stdin.write("\n")
        process.stdin.flush()
        expect("done")
        time.sleep(0.3)  # for what is still on its way
        samples = capture.take()
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
        capture.close()
    return {"participants": participants, "endpoints": endpoints, "samples": samples}


def settle(capture: Capture) -> list[dict]:
    """Return the endpoints once every one has its node, and nothing has changed for half a second."""
    deadline = time.monotonic() + PATIENCE_S
    previous, since = None, time.monotonic()
    while time.monotonic() < deadline:
        found = capture.endpoints()
        complete = found and all(entry["node"] or entry["topic"] == GRAPH_TOPIC for entry in found)
        if found != previous:
            previous, since = found, time.monotonic()
        elif complete and time.monotonic() > since + 0.5:
            return found
        time.sleep(0.05)
    raise RuntimeError(f"the endpoints did not settle: {previous}")


def payload_layout(topic: str, type_name: str) -> tuple[str, int]:
    """Return the ROS type of a sample (``pkg/msg/Name``) and where its message begins in the payload."""
    is_service = topic.startswith((f"{names.REQUEST}/", f"{names.REPLY}/"))
    return names.ros_type(type_name) or "", 20 if is_service else 4


def decoded(sample: dict) -> object:
    """Return a recorded sample as a message."""
    interface, offset = payload_layout(sample["topic"], sample["type"])
    return decode(bytes.fromhex(sample["cdr"]), interface, offset)
