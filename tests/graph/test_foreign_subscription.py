"""Publishers of every quality of service are heard, also those that come later or change."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from magma_interfaces.msg import ControllerState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Int32, String

from magma_common import qos
from magma_common.foreign_subscription import ANYTHING, ForeignSubscription, Offer, wanted

OFFERS = [Offer(reliable, latched) for reliable, latched in itertools.product((False, True), repeat=2)]
BEST = qos.STATE
WEAK = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)


def profile(offer):
    return QoSProfile(
        depth=10,
        reliability=ReliabilityPolicy.RELIABLE if offer.reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if offer.latched else DurabilityPolicy.VOLATILE,
    )


def heard(offer, asked):
    """Whether DDS matches a publisher that offers with a subscription that asks."""
    return (offer.reliable or not asked.reliable) and (offer.latched or not asked.latched)


@given(st.sets(st.sampled_from(OFFERS), min_size=1), st.sampled_from(OFFERS))
def test_each_publisher_is_heard_as_well_as_it_offers(offers, best):
    asked = wanted(offers, best)
    for offer in offers:
        assert any(heard(offer, each) for each in asked)
        assert Offer(offer.reliable and best.reliable, offer.latched and best.latched) in asked
    for offer in OFFERS:
        assert heard(offer, ANYTHING)


class Listener:
    """Another node with a foreign subscription, spun with the peer's."""

    def __init__(self, peer, start, **options):
        self.messages = []
        self.subscription = ForeignSubscription(
            peer.node, String, "/somebody/says", lambda message: self.messages.append(message.data), start, **options
        )

    @property
    def texts(self):
        return self.messages


@pytest.mark.parametrize("start", [BEST, WEAK], ids=["asks for all at first", "asks for nothing at first"])
@pytest.mark.parametrize("offer", OFFERS, ids=str)
def test_a_publisher_that_was_there_before(peer, wait, offer, start):
    publisher = peer.node.create_publisher(String, "/somebody/says", profile(offer))
    publisher.publish(String(data="before"))
    listener = Listener(peer, start, best=BEST)
    wait(lambda: publisher.get_subscription_count() > 0, "the subscription")
    if offer.latched and offer.reliable:
        wait(lambda: "before" in listener.texts, "what was latched")

    number = itertools.count()

    def says():
        publisher.publish(String(data=f"now {next(number)}"))
        return any(text.startswith("now") for text in listener.texts)

    wait(says, "a message")
    assert len(listener.texts) == len(set(listener.texts)), "each once"


def test_a_publisher_that_changes_and_several_at_once(peer, wait):
    listener = Listener(peer, BEST)
    for name, offer in enumerate([OFFERS[3], OFFERS[0], OFFERS[2]]):
        publisher = peer.node.create_publisher(String, "/somebody/says", profile(offer))

        def says(text=f"publisher {name}", publisher=publisher):
            publisher.publish(String(data=text))
            return text in listener.texts

        wait(says, f"publisher {name}, which offers {offer}")
        if name == 1:
            peer.node.destroy_publisher(publisher)
    last = peer.node.create_publisher(String, "/somebody/says", profile(OFFERS[3]))
    last.publish(String(data="latched by another"))
    wait(lambda: "latched by another" in listener.texts, "the latched one beside the other kinds")


def test_a_neighbour_on_a_shared_topic_does_not_overwrite_what_was_not_heard_yet(peer, wait):
    """Wheels and grippers report on the arm's topic, right behind the arm and before a busy controller looks."""
    heard = []
    listener = Node("busy", context=peer.node.context)
    executor = SingleThreadedExecutor(context=peer.node.context)
    ForeignSubscription(
        listener, JointState, "/joint_states", lambda message: heard.append(message.name[0]), qos.JOINT_STATES
    )
    publisher = peer.publisher(JointState, "/joint_states", qos.SENSOR)
    for name in ("arm", *["wheel"] * 12):
        publisher.publish(JointState(name=[name], position=[0.0]))
    executor.add_node(listener)
    wait(lambda: executor.spin_once(timeout_sec=0.1) or heard.count("wheel") == 12, "all of them")
    assert heard[0] == "arm"
    executor.shutdown()
    listener.destroy_node()


def test_too_large_and_wrong_messages_are_refused_unread_and_told(peer, wait):
    told = []
    listener = Listener(peer, BEST, most_bytes=1000, on_refused=told.append)
    publisher = peer.publisher(String, "/somebody/says", BEST)
    publisher.publish(String(data="x" * 2000))
    wait(lambda: told, "the refusal")
    assert "at most 1000" in told[0] and "/somebody/says" in told[0]
    publisher.publish(String(data="small"))
    wait(lambda: listener.texts == ["small"], "the small one")


def test_what_cannot_be_heard_is_named(peer, wait):
    listener = Listener(peer, BEST)
    peer.node.create_publisher(Int32, "/somebody/says", BEST)
    wait(lambda: listener.subscription.unheard, "the other type")
    assert "std_msgs/msg/Int32" in listener.subscription.unheard[0] and "/test_peer" in listener.subscription.unheard[0]


@pytest.mark.parametrize("offer", OFFERS, ids=str)
def test_the_emergency_stop_hears_every_button(start_node, peer, wait, offer):
    button = peer.node.create_publisher(Bool, "/magma/estop_button", profile(offer))
    if offer.latched and offer.reliable:
        button.publish(Bool(data=True))  # pressed before the controller was there
    start_node("magma_control.controller_node")
    states = peer.collect(ControllerState, "/magma/controller_state", qos.STATE)
    wait(lambda: button.get_subscription_count() > 0, "the controller")
    if not (offer.latched and offer.reliable):
        # Best effort may lose one: a button that is pressed says so again.
        wait(lambda: button.publish(Bool(data=True)) or (states.last and states.last.phase == 3), "the stop")
    assert states.wait_for(lambda state: state.phase == ControllerState.ESTOP)
