"""What rclpy_dds puts on the wire and reads from it, against recordings of a real ROS 2 (made by record.py)."""

import json
import sys
from pathlib import Path

import pytest
from interop_capture import CONVERSATION, GRAPH_TOPIC, decoded, payload_layout, record_conversation
from interop_domains import free_domain
from interop_fill import fill
from interop_tools import own_environment

from rclpy_dds.cli.messages import message_to_dict
from rclpy_dds.interfaces import message_class
from rclpy_dds.interfaces.cdr import decode, encode, join
from rclpy_dds.interfaces.definition import DefinitionError
from rclpy_dds.interfaces.type_hash import type_hash

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("jazzy.json").read_text(encoding="utf-8"))
STATUS_ACCEPTED = 1
# Packages whose messages the type store of the wheels does not have, and that no node here uses.
_NOT_SHIPPED = ("composition_interfaces", "example_interfaces")


def new(name: str):
    """A new message of the type ``pkg/Name``."""
    return message_class(name.replace("/", "/msg/") if name.count("/") == 1 else name)()


def plain(value):
    """Lists for tuples and the like, as JSON has them."""
    return json.loads(json.dumps(value, default=list))


@pytest.mark.parametrize("interface", sorted(name for name in GOLDEN["messages"] if not name.startswith(_NOT_SHIPPED)))
def test_messages_have_the_bytes_of_stock(interface: str) -> None:
    """A message whose every field has a value of its own: the same bytes, and read back the same message."""
    message = fill(message_class(interface)(), new)
    expected = bytes.fromhex(GOLDEN["messages"][interface])
    assert join(encode(message, interface)).hex() == (expected + bytes(-len(expected) % 4)).hex()
    assert decode(expected, interface) == message


def test_type_hashes_are_those_of_stock() -> None:
    """Of messages, services, actions and all their parts."""
    compared = 0
    for interface, expected in GOLDEN["type_hashes"].items():
        if "Event" in interface.rsplit("/", 1)[-1] and interface.split("/")[1] != "msg":
            continue  # service events are not covered
        try:
            own = type_hash(interface)
        except (DefinitionError, KeyError):
            assert interface.split("/")[0] in _NOT_SHIPPED or "/msg/" not in interface, interface
            continue
        assert own == expected, interface
        compared += 1
    assert compared > 180


@pytest.mark.parametrize("sample", GOLDEN["samples"], ids=lambda sample: sample["topic"])
def test_recorded_conversation(sample: dict) -> None:
    """A recorded payload means to rclpy_dds what it means to stock, and rclpy_dds writes it with the same bytes."""
    interface, offset = payload_layout(sample["topic"], sample["type"])
    message = decoded(sample)
    assert plain(message_to_dict(message)) == sample["value"]
    raw = bytes.fromhex(sample["cdr"])
    assert join(encode(message, interface, raw[4:offset])).hex() == sample["cdr"]


@pytest.fixture(scope="module")
def own_conversation() -> dict:
    """The same conversation, held by rclpy_dds."""
    domain = free_domain()
    return record_conversation([sys.executable, str(CONVERSATION)], own_environment(domain), domain)


def test_same_endpoints_as_stock(own_conversation: dict) -> None:
    """The same nodes announce the same endpoints: topics, types, type hashes, quality of service, ids."""

    def by_place(endpoints: list[dict]) -> dict:
        return {(entry["node"], entry["kind"], entry["topic"]): entry for entry in endpoints}

    own, stock = by_place(own_conversation["endpoints"]), by_place(GOLDEN["endpoints"])
    assert sorted(map(str, own)) == sorted(map(str, stock))
    for place, entry in stock.items():
        assert own[place] == entry
    assert own_conversation["participants"] == GOLDEN["participants"]


# rclpy_dds says when and by which transition a node changed its state; stock leaves these fields of the event empty.
_DIFFERENT = ("stamp", "timestamp", "transition")


def comparable(value):
    """A message without what differs from run to run."""
    if isinstance(value, dict):
        return {key: None if key in _DIFFERENT else comparable(item) for key, item in value.items()}
    return [comparable(item) for item in value] if isinstance(value, list) else value


def by_topic(samples: list[dict], values: list) -> dict:
    """The messages of each topic in order."""
    topics: dict = {}
    for sample, value in zip(samples, values, strict=True):
        topic = sample["topic"]
        # As rclcpp's, action servers of rclpy_dds publish that a goal was accepted; rclpy's only that it is executed.
        just_accepted = topic.endswith("/status") and value["status_list"][-1]["status"] == STATUS_ACCEPTED
        if topic != GRAPH_TOPIC and not just_accepted:
            topics.setdefault(topic, []).append(comparable(value))
    return topics


def test_same_conversation_as_stock(own_conversation: dict) -> None:
    """The same messages on the same topics."""
    own_samples = own_conversation["samples"]
    own = by_topic(own_samples, [plain(message_to_dict(decoded(sample))) for sample in own_samples])
    stock = by_topic(GOLDEN["samples"], [sample["value"] for sample in GOLDEN["samples"]])
    assert sorted(own) == sorted(stock)
    for topic, values in stock.items():
        assert own[topic] == values


def test_request_headers(own_conversation: dict) -> None:
    """Requests carry their client's id and a number that grows; replies carry both back."""
    for samples in (own_conversation["samples"], GOLDEN["samples"]):
        headers: dict = {}
        for sample in samples:
            topic = sample["topic"]
            if topic.startswith(("rq/", "rr/")):
                raw = bytes.fromhex(sample["cdr"])
                service = topic[2:].removesuffix("Request").removesuffix("Reply")
                headers.setdefault(service, {}).setdefault(topic[:2], []).append((raw[4:12], raw[12:20]))
        assert headers
        for service, directions in headers.items():
            assert directions["rq"] == directions["rr"], service
            numbers = [int.from_bytes(number, "little") for _, number in directions["rq"]]
            assert numbers == sorted(set(numbers)) and numbers[0] > 0, service
            assert len({client for client, _ in directions["rq"]}) == 1, service
