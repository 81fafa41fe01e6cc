"""The launched robot with a checkpoint in the files, shards and tensor names of microsoft/Magma-8B.

It is random and small, so what it says is meaningless, and the safety stage holds whatever that is.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from magma_interfaces.msg import (
    ActionChunk,
    ActionSpec,
    ControllerState,
    EndEffectorDelta,
    EndEffectorState,
    EpisodeStatus,
)

from magma_common import qos
from magma_common.conversions import pose_to_arrays

pytestmark = pytest.mark.render
STARTING_S = 150.0
STEP_LIMIT_M, ROTATION_LIMIT_RAD = 0.08, 0.5
WORKSPACE_M = np.array([[0.2, -0.5, 0.0], [0.85, 0.5, 0.7]])
"""The controller's own defaults; see its README."""
ROUNDING = 1e-6


def make_checkpoint(folder: Path, max_translation_m: float) -> Path:
    """A random model whose statistics turn its ids into motions of up to so many metres and radians per step."""
    command = [sys.executable, "-m", "magma_policy.commands.init", "--layout", "published", "--output", str(folder)]
    command += ["--max-translation-m", str(max_translation_m)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert (folder / "model.safetensors.index.json").is_file() and not (folder / "model.safetensors").exists()
    return folder


class Heard:
    """What the launched robot says."""

    def __init__(self, peer) -> None:
        self.specs = peer.collect(ActionSpec, "/magma/action_spec", qos.STATE, matched=0)
        self.chunks = peer.collect(ActionChunk, "/magma/action_chunk", qos.COMMAND, matched=0)
        self.commands = peer.collect(EndEffectorDelta, "/magma/command", qos.COMMAND, matched=0)
        self.states = peer.collect(EndEffectorState, "/magma/end_effector_state", qos.ROBOT_STATE, matched=0)
        self.controller = peer.collect(ControllerState, "/magma/controller_state", qos.STATE, matched=0)
        self.status = peer.collect(EpisodeStatus, "/magma/episode_status", qos.STATE, matched=0)


def moves(messages):
    """Translations (N, 3), rotations (N, 3) and gripper openings (N,)."""
    return (
        np.array([[m.translation.x, m.translation.y, m.translation.z] for m in messages]),
        np.array([[m.rotation.x, m.rotation.y, m.rotation.z] for m in messages]),
        np.array([m.gripper for m in messages]),
    )


def test_a_robot_with_a_published_checkpoint_acts_and_stays_inside_its_limits(launch, peer, tmp_path):
    checkpoint = make_checkpoint(tmp_path / "magma", max_translation_m=0.12)
    robot = Heard(peer)
    launch(f"policy:={checkpoint}", "task:=carrot_on_plate")
    spec = robot.specs.wait_for(timeout_s=STARTING_S)
    assert (spec.image_height, spec.image_width, spec.proprioception) == (256, 256, False)
    robot.status.wait_for(lambda message: message.step >= 25, timeout_s=STARTING_S)

    chunks = robot.chunks.messages
    sequences = [chunk.sequence for chunk in chunks]
    assert len(chunks) >= 20 and sequences == sorted(set(sequences)), "one chunk per frame, each once"
    assert all(chunk.instruction == "put the carrot on the plate" for chunk in chunks)
    asked = np.concatenate([moves(chunk.steps)[0] for chunk in chunks])
    assert np.linalg.norm(asked, axis=1).max() > STEP_LIMIT_M, "the model asks for more than the arm may do"

    translations, rotations, openings = moves(robot.commands.messages)
    assert len(translations) >= 20
    assert np.linalg.norm(translations, axis=1).max() <= STEP_LIMIT_M + ROUNDING
    assert np.linalg.norm(rotations, axis=1).max() <= ROTATION_LIMIT_RAD + ROUNDING
    assert openings.min() >= 0.0 and openings.max() <= 1.0
    targets = np.array([pose_to_arrays(message.target_pose)[0] for message in robot.states.messages])
    inside = (targets >= WORKSPACE_M[0] - ROUNDING) & (targets <= WORKSPACE_M[1] + ROUNDING)
    assert inside.all(), "the target never leaves the workspace"
    assert robot.controller.last.commands_clipped > 0


def test_a_published_checkpoint_with_absurd_statistics_moves_nothing(launch, peer, tmp_path):
    checkpoint = make_checkpoint(tmp_path / "magma", max_translation_m=2.0)
    robot = Heard(peer)
    launch(f"policy:={checkpoint}", "task:=carrot_on_plate")
    robot.chunks.wait_for(timeout_s=STARTING_S)
    refused = robot.controller.wait_for(lambda message: message.chunks_rejected >= 3)
    assert refused.phase == ControllerState.HOLD
    assert list(refused.rejection_reasons) == ["absurd translation"]
    assert not robot.commands.messages and robot.status.last.step == 0
