"""The expert as a policy node, fed with a made-up scene: no simulator, no rendering."""

from __future__ import annotations

import time

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from magma_interfaces.msg import ActionChunk, ActionSpec
from magma_interfaces.msg import EndEffectorDelta as EndEffectorDeltaMsg
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from sensor_msgs.msg import Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from magma_common import qos
from magma_common.conversions import chunk_from_msg, delta_to_msg, image_to_msg, ns_to_stamp, state_to_msg
from magma_contracts.arm_state import EndEffectorState

DOWN = np.array([1.0, 0.0, 0.0, 0.0])
SCENE = {"carrot": (0.45, -0.1), "plate": (0.45, 0.1), "spoon": (0.55, 0.15), "towel": (0.35, -0.15)}


class World:
    """A still scene, and the policy node that looks at it."""

    def __init__(self, start_node, peer, kind, **parameters):
        self.peer = peer
        self.node = start_node("magma_sim_ros.scripted_policy_node", {"kind": kind, **parameters})
        self.diagnostics = peer.collect(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self.chunks = peer.collect(ActionChunk, "/magma/action_chunk", qos.COMMAND)
        self.spec = peer.collect(ActionSpec, "/magma/action_spec", qos.STATE).wait_for()
        self.frames = peer.publisher(Image, "/magma/frame", qos.FRAME)
        self.states = peer.publisher(EndEffectorStateMsg, "/magma/end_effector_state", qos.ROBOT_STATE)
        self.transforms = peer.publisher(TFMessage, "/tf", qos.TRANSFORMS)
        self.instruction = peer.publisher(String, "/magma/instruction", qos.STATE)
        self.objects = dict(SCENE)

    def show(self, before_the_state=lambda: None):
        stamp_ns = self.peer.now_ns()
        stamp = ns_to_stamp(stamp_ns)
        position = np.array([0.45, 0.0, 0.2])
        before_the_state()
        self.frames.publish(image_to_msg(np.zeros((8, 8, 3), np.uint8), stamp_ns))
        self.states.publish(state_to_msg(EndEffectorState(stamp_ns, position, DOWN, position, DOWN, 1.0, 0.7)))
        self.transforms.publish(TFMessage(transforms=[pose(name, xy, stamp) for name, xy in self.objects.items()]))
        return stamp_ns

    def act(self, instruction):
        """Says the instruction, and shows the scene until an answer to both comes."""
        self.instruction.publish(String(data=instruction))

        def answer(stamp_ns):
            return self.chunks.wait_for(
                lambda m: chunk_from_msg(m).stamp_ns == stamp_ns and m.instruction == instruction, timeout_s=1.0
            )

        return chunk_from_msg(self.peer.send_until(self.show, answer))

    def refuses(self, instruction, text):
        """Says the instruction, and shows the scene until the node tells what is wrong."""
        self.instruction.publish(String(data=instruction))
        self.diagnostics.clear()
        self.peer.send_until(self.show, lambda _: self.says(text, DiagnosticStatus.WARN, timeout_s=1.0))

    def says(self, text, level, **patience):
        self.diagnostics.wait_for(lambda m: any(text in s.message and s.level == level for s in m.status), **patience)


def pose(name: str, xy: tuple[float, float], stamp: Time) -> TransformStamped:
    message = TransformStamped(child_frame_id=name)
    message.header.stamp, message.header.frame_id = stamp, "base"
    message.transform.translation.x, message.transform.translation.y = xy
    message.transform.translation.z = 0.02
    message.transform.rotation.w = 1.0
    return message


def test_expert_follows_the_instruction(start_node, peer):
    world = World(start_node, peer, "expert")
    assert (world.spec.policy, world.spec.horizon, world.spec.frame) == ("expert", 1, "base")
    world.show()
    time.sleep(0.3)
    assert not world.chunks.messages, "no instruction, no action"
    to_carrot = world.act("put the carrot on the plate").deltas[0]
    to_spoon = world.act("put the spoon on the towel").deltas[0]
    assert to_carrot[1] < 0 < to_spoon[1], "each goes to its own object"

    world.refuses("sing a song", "does not know the instruction 'sing a song'")
    del world.objects["plate"]
    world.refuses("put the carrot on the plate", "not possible in this scene")
    world.objects["plate"] = SCENE["plate"]
    world.diagnostics.clear()
    np.testing.assert_allclose(world.act("put the carrot on the plate").deltas[0], to_carrot)
    world.says("expert is ready", DiagnosticStatus.OK)
    assert world.node.stop() == 0


def test_hold_asks_for_no_motion(start_node, peer):
    world = World(start_node, peer, "hold")
    np.testing.assert_array_equal(world.act("anything").deltas[0], [0, 0, 0, 0, 0, 0, 0.7])


def test_with_foresight_an_answer_begins_with_what_is_under_way(start_node, peer):
    world = World(start_node, peer, "expert", foretell=True, injected_latency_ms=50.0)
    commands = peer.publisher(EndEffectorDeltaMsg, "/magma/command", qos.COMMAND)
    assert world.spec.horizon == 16
    assert len(world.act("put the carrot on the plate").deltas) == 1, "nothing is known yet of how long answers take"
    sent = np.array([0.0, -0.03, 0.0, 0.0, 0.0, 0.1, 1.0])

    def command():
        commands.publish(delta_to_msg(sent, peer.now_ns(), "base"))
        time.sleep(0.3)

    def answer(stamp_ns):
        message = world.chunks.wait_for(lambda m: chunk_from_msg(m).stamp_ns == stamp_ns, timeout_s=1.0)
        deltas = chunk_from_msg(message).deltas
        assert len(deltas) > 8, "the command was not heard in time"
        return deltas

    deltas = peer.send_until(lambda: world.show(command), answer)
    np.testing.assert_allclose(deltas[0], sent)
    assert 8 < len(deltas) <= 16
    np.testing.assert_allclose(np.linalg.norm(deltas[:, :3], axis=1) <= 0.05 + 1e-9, True)
