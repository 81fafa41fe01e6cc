"""The instruction in force reaches everybody: from whoever asks, and to whoever comes later."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from magma_interfaces.msg import ControllerState, EpisodeStatus, Instruction
from magma_interfaces.srv import Instruct
from std_msgs.msg import String

from magma_common import qos
from magma_common.conversions import ns_to_stamp
from magma_common.instruction_topics import ASK_SERVICE, ASK_TOPIC, IN_FORCE_TOPIC, InstructionListener

KEEPER = "magma_bringup.instruction_keeper"
# Of the ROS 2 that is sourced, or else of this environment.
ROS2 = shutil.which("ros2") or Path(sys.executable).with_name("ros2")
TASK, OTHER = "put the carrot on the plate", "stack the blocks"


def ask(peer, instruction, asked_ns=0, **rest):
    request = Instruct.Request(instruction=instruction, asked_by="test", asked=ns_to_stamp(asked_ns), **rest)
    return peer.call(Instruct, ASK_SERVICE, request)


def test_a_word_typed_without_options_is_in_force_also_for_who_comes_later(start_node, peer):
    start_node(KEEPER, {"instruction": TASK})
    heard = peer.collect(Instruction, IN_FORCE_TOPIC, qos.STATE)
    first = heard.wait_for()
    assert (first.number, first.instruction, first.asked_by) == (1, TASK, "the parameter instruction")
    # As a person types it: the publisher keeps nothing for latecomers and is gone a moment later.
    said = subprocess.run(
        [ROS2, "topic", "pub", "--once", ASK_TOPIC, "std_msgs/msg/String", "{data: put the carrot down}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert said.returncode == 0, said.stderr
    assert "ncompatible" not in said.stdout + said.stderr
    heard.wait_for(lambda message: message.instruction == "put the carrot down")
    late = peer.collect(Instruction, IN_FORCE_TOPIC, qos.STATE).wait_for()
    assert (late.number, late.instruction) == (2, "put the carrot down") and late.asked_by.startswith("_ros2cli")
    assert late.asked.sec > 0 and late.header.stamp.sec >= late.asked.sec


def test_requests_that_overtook_each_other_are_put_right(start_node, peer):
    start_node(KEEPER, {"instruction": "none"})
    heard = peer.collect(Instruction, IN_FORCE_TOPIC, qos.STATE)
    now_ns = peer.now_ns()
    # Asked for: the task, then nothing any more. The second is delivered first.
    assert ask(peer, "", now_ns - 1_000_000).accepted
    late = ask(peer, TASK, now_ns - 2_000_000)
    assert not late.accepted and "before" in late.message and late.number == 1
    # The same by the topic, behind a request that was delayed.
    assert ask(peer, OTHER).accepted
    publisher = peer.publisher(String, ASK_TOPIC, qos.STATE)
    publisher.publish(String(data=""))
    heard.wait_for(lambda message: message.number == 3)
    assert not ask(peer, TASK, now_ns).accepted
    assert [message.instruction for message in heard.messages] == ["", OTHER, ""]


def test_a_stop_right_behind_a_task_always_stands(start_node, peer, wait):
    start_node(KEEPER, {"instruction": "none"})
    heard = peer.collect(Instruction, IN_FORCE_TOPIC, qos.EVERY_STATE)
    # A profile that drops no word by itself.
    publisher = peer.publisher(String, ASK_TOPIC, qos.EVERY_STATE)
    for number in range(60):
        publisher.publish(String(data=f"put carrot {number} on the plate"))
        time.sleep(random.Random(number).choice((0.0, 0.0002, 0.0005, 0.001, 0.002)))
        publisher.publish(String(data=""))
        wait(
            lambda number=number: heard.last is not None and heard.last.number == 2 * number + 2, "both to be in force"
        )
    time.sleep(0.3)
    numbers = [message.number for message in heard.messages]
    assert numbers == sorted(set(numbers)), "each change is told once"
    # The keeper's topic keeps the newest alone: who is held up may not hear of a task that a stop followed at once, but
    # of every stop.
    assert set(range(2, 121, 2)) <= set(numbers)
    assert peer.collect(Instruction, IN_FORCE_TOPIC, qos.STATE).wait_for().instruction == ""


def test_a_word_said_before_the_simulated_task_is_known_stands(start_node, peer):
    start_node(KEEPER)
    heard = peer.collect(Instruction, IN_FORCE_TOPIC, qos.STATE)
    world = peer.publisher(EpisodeStatus, "/magma/episode_status", qos.STATE)
    assert ask(peer, "").accepted
    world.publish(EpisodeStatus(task="carrot", instruction=TASK))
    time.sleep(0.3)
    assert [message.instruction for message in heard.messages] == [""]


def test_who_offers_little_is_heard_and_who_says_too_much_is_not_read(start_node, peer, wait):
    start_node(KEEPER, {"instruction": "none"})
    heard = peer.collect(Instruction, IN_FORCE_TOPIC, qos.STATE)
    weak = peer.node.create_publisher(String, ASK_TOPIC, qos.SENSOR)

    def in_force():
        weak.publish(String(data=TASK))
        return heard.messages

    wait(in_force, "a word of a best-effort publisher")
    # As long as a word that nobody can follow any more would make what is in force.
    request = Instruct.Request(instruction=OTHER, asked_by="\x1b[2J" + "x" * 3_000_000)
    assert peer.call(Instruct, ASK_SERVICE, request).accepted
    told = heard.wait_for(lambda message: message.instruction == OTHER)
    assert len(told.asked_by) <= 200 and told.asked_by.isprintable()
    loud = peer.publisher(String, ASK_TOPIC, qos.STATE)
    loud.publish(String(data="y" * 3_000_000))
    assert ask(peer, TASK).accepted
    heard.wait_for(lambda message: message.instruction == TASK and message.number == 3)
    assert {message.instruction for message in heard.messages} == {TASK, OTHER}


class Follower:
    """What an `InstructionListener` tells."""

    def __init__(self, peer):
        self.told = []
        self.listener = InstructionListener(peer.node, self.told.append)


def test_a_word_that_others_say_is_not_obeyed_beside_the_keeper(start_node, peer, wait):
    # What was said and is kept by its publisher, and what the keeper says, reach a node that starts in any order.
    publisher = peer.node.create_publisher(String, ASK_TOPIC, qos.STATE)
    publisher.publish(String(data=OTHER))
    keeper = start_node(KEEPER, {"instruction": TASK})
    peer.collect(Instruction, IN_FORCE_TOPIC, qos.STATE).wait_for()
    followers = [Follower(peer) for _ in range(5)]
    wait(lambda: all(follower.told for follower in followers), "the instruction")
    time.sleep(1.5)
    assert all(follower.told == [TASK] for follower in followers)
    # Nobody knows what is in force any more.
    keeper.stop()
    wait(lambda: all(follower.told == [TASK, ""] for follower in followers), "the keeper's end to be noticed")
    # A keeper that is started again counts from the beginning.
    start_node(KEEPER, {"instruction": TASK})
    wait(lambda: all(follower.told == [TASK, "", TASK] for follower in followers), "the instruction again")
    for follower in followers:
        follower.listener.close()


def test_a_task_given_again_with_the_same_words_is_a_new_one(peer):
    publisher = peer.node.create_publisher(Instruction, IN_FORCE_TOPIC, qos.STATE)
    follower = Follower(peer)

    def say(number):
        message = Instruction(number=number, instruction=TASK)
        message.header.stamp = ns_to_stamp(number)
        follower.listener._on_in_force(message)

    say(1)
    say(1)
    assert follower.told == [TASK]
    say(3)
    assert follower.told == [TASK, "", TASK]
    follower.listener.close()
    peer.node.destroy_publisher(publisher)


def test_without_a_keeper_the_nodes_hear_for_themselves(start_node, peer, wait):
    publisher = peer.node.create_publisher(String, ASK_TOPIC, qos.STATE)
    publisher.publish(String(data=OTHER))
    start_node("magma_control.controller_node")
    states = peer.collect(ControllerState, "/magma/controller_state", qos.STATE)
    states.wait_for(lambda state: state.instruction == OTHER)
    # One comes later: from then on only its word counts.
    start_node(KEEPER, {"instruction": TASK})
    states.wait_for(lambda state: state.instruction == TASK)

    def listeners():
        return [endpoint.node_name for endpoint in peer.node.get_subscriptions_info_by_topic(ASK_TOPIC)]

    wait(lambda: listeners() == ["instruction_keeper"], lambda: f"the keeper alone to hear requests: {listeners()}")
    wait(lambda: publisher.get_subscription_count() == 1, "the keeper to hear this node")
    publisher.publish(String(data="dance"))
    states.wait_for(lambda state: state.instruction == "dance")
    assert ask(peer, "").accepted
    states.wait_for(lambda state: state.instruction == "")


@pytest.mark.parametrize("wrong", ["x" * 1001, "x" * 100_000])
def test_what_is_no_instruction_is_refused_with_the_reason(start_node, peer, wrong):
    start_node(KEEPER, {"instruction": TASK})
    peer.collect(Instruction, IN_FORCE_TOPIC, qos.STATE).wait_for()
    answer = ask(peer, wrong)
    assert not answer.accepted and "are no instruction" in answer.message and answer.number == 1
