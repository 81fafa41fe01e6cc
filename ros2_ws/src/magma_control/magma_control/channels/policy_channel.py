"""What the controller's core hears of the policy: what it is to do, whether it fits, and which steps are to come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from magma_contracts.action_spec import ActionSpec
from magma_contracts.action_stream import ActionStream
from magma_contracts.actions import ActionChunk
from magma_contracts.chunk_schedule import DueStep
from magma_control.channels.heartbeat import Heartbeat
from magma_control.config import ControllerConfig
from magma_control.freshness import Instant, StampGate, age_s
from magma_control.gripper import GripperFilter
from magma_control.safety import Refusal, refuse_chunk, refuse_spec


class PolicyChannel:
    """The policy's chunks, its spec and the instruction that it follows. No clock."""

    def __init__(self, since_s: float, ask_topic: str) -> None:
        """
        Args:
            since_s: from when on it is waited for, by the steady clock.
            ask_topic: where an instruction is published, for texts.
        """
        self.instruction: str | None = None
        """what is to be done; empty = nothing, None = nobody has said anything"""
        self.spec: ActionSpec | None = None
        self.spec_refusal: Refusal | None = None
        """why the policy does not fit this arm"""
        self.accepted_s: float | None = None
        """when a chunk was accepted last, by the steady clock"""
        self.frame_stamp_ns: int | None = None
        """capture time of the frame that the last executed step answers"""
        self.gate = StampGate("frame", "frame")
        self._words_gate = StampGate("frame", "frame")
        """for chunks that do not name the instruction that they follow"""
        self.stream = ActionStream()
        self.gripper = GripperFilter()
        self._since_s = since_s
        self._ask_topic = ask_topic
        self._arrived_s: float | None = None
        self._useful_until_s = since_s
        self._refused: tuple[Refusal, float] | None = None
        self._heartbeat = Heartbeat("policy")

    def judge_spec(self, config: ControllerConfig) -> Refusal | None:
        """Whether the policy fits the arm as it is configured now. Returns why it does not, if that is new."""
        if self.spec is None:
            return None
        before, self.spec_refusal = self.spec_refusal, refuse_spec(self.spec, config)
        if self.spec_refusal is None or self.spec_refusal == before:
            return None
        # What does not fit moves the arm no more.
        self.stream.clear()
        return self.spec_refusal

    def beat(self, now: Instant) -> None:
        """A sign of life."""
        self._heartbeat.beat(now.steady_s)

    def hear(self, now: Instant) -> None:
        """A chunk came, whatever it is worth."""
        self._arrived_s = now.steady_s

    def refuse(self, chunk: ActionChunk, now: Instant, config: ControllerConfig) -> Refusal | None:
        """Why a chunk is not executed, as far as the policy is concerned, or None."""
        if self.spec is None:
            return Refusal("no action spec", f"policy {chunk.policy!r} has not announced an action spec")
        if self.spec_refusal is not None:
            return self.spec_refusal
        if not (self.instruction if self.instruction is not None else chunk.instruction):
            return self.no_instruction
        return (
            refuse_chunk(chunk, self.spec, config)
            or self._refuse_instruction(chunk, now, config)
            or self.refuse_silent(now, config)
            or self.gate.refuse(chunk.stamp_ns, now, config.max_frame_age_s, config.future_tolerance_s)
        )

    def instruct(self, text: str, now: Instant | None) -> None:
        """From `now` on something else is to be done. What was planned before is not carried out."""
        self.instruction = text
        self.stream.clear()
        self.gripper.reset()
        if now is not None:
            self._words_gate.require_after(now, "the change of instruction")

    def _refuse_instruction(self, chunk: ActionChunk, now: Instant, config: ControllerConfig) -> Refusal | None:
        """What was planned for another instruction than the one in force is not carried out: it comes late, or too
        early. A policy that does not say what it follows is believed to follow the one that was in force when its frame
        was captured."""
        follows, in_force = chunk.instruction.strip(), self.instruction
        if not follows:
            return self._words_gate.refuse(chunk.stamp_ns, now, config.max_frame_age_s, config.future_tolerance_s)
        if in_force is None or follows == in_force.strip():
            return None
        return Refusal(
            "chunk for another instruction",
            f"chunk follows the instruction {chunk.instruction!r}, in force is {in_force!r}: a policy names "
            "the words that it was given, or none",
        )

    def refuse_silent(self, now: Instant, config: ControllerConfig) -> Refusal | None:
        """Why the policy's wishes do not count although they come, or None."""
        return self._heartbeat.refuse(
            now.steady_s, config.heartbeat_timeout_s, config.require_policy_heartbeat, self._since_s
        )

    def accept(self, chunk: ActionChunk, now: Instant, earliest_s: float, config: ControllerConfig) -> None:
        """Takes a chunk that was not refused.

        Args:
            earliest_s: when the next command may go out, by the steady clock.
        """
        self.gate.accept(chunk.stamp_ns)
        self._refused = None
        self.accepted_s = now.steady_s
        start_s = max(now.steady_s, earliest_s)
        if config.command_interval_s > 0.0:
            self.stream.accept(
                chunk,
                start_s,
                config.overlap_rule,
                keep_references=config.keep_references,
                scale=config.bring_up_scale,
            )
        else:
            # A world that waits for each command has seen every step by the time of the frame.
            self.stream.replace(chunk, start_s)
        self._useful_until_s = self.stream.last_step_s

    def reject(self, refusal: Refusal, now: Instant) -> None:
        """A chunk was refused, for this reason."""
        self._refused = (refusal, now.steady_s)

    def refuse_step(self, step: DueStep, now: Instant, config: ControllerConfig) -> Refusal | None:
        """Why a step of an accepted chunk is not carried out: nobody has looked at the world for too long."""
        accepted_s = self.accepted_s if self.accepted_s is not None else now.steady_s
        # The steady clock too, so that a clock that is set back makes no step younger.
        old_s = age_s(step.chunk.stamp_ns, accepted_s, now)
        allowed_s = config.max_frame_age_s + config.max_blind_s
        if old_s <= allowed_s:
            return None
        return Refusal(
            "step too old",
            f"step {step.index} answers a frame captured {old_s:.2f} s ago, at most {allowed_s:g} s is allowed "
            "(max_frame_age_s + max_blind_s): the policy must look again",
        )

    def executed(self, step: DueStep, delta: NDArray[np.float64], now: Instant) -> None:
        """A step is carried out now, as this delta (7,)."""
        self.frame_stamp_ns = step.chunk.stamp_ns
        self.stream.sent(delta, now.ros_ns)

    def overdue(self, now: Instant, config: ControllerConfig) -> Refusal | None:
        """Why the arm holds because the policy has nothing useful to say, or None."""
        if now.steady_s - self._useful_until_s <= config.watchdog_s:
            return None
        return self.refused_lately(now, config) or self._silence(now)

    def quiet(self, now: Instant, config: ControllerConfig) -> Refusal | None:
        """That no chunk comes, once that has lasted for the watchdog's time."""
        since_s = self._arrived_s if self._arrived_s is not None else self._since_s
        return self._silence(now) if now.steady_s - since_s > config.watchdog_s else None

    def refused_lately(self, now: Instant, config: ControllerConfig) -> Refusal | None:
        """Why the last chunk was refused, while that is news."""
        if self._refused is None or now.steady_s - self._refused[1] > config.watchdog_s:
            return None
        return self._refused[0]

    def drop(self) -> None:
        """As if no chunk had been heard, and none carried out."""
        self.stream.forget()
        self._refused = None

    def _silence(self, now: Instant) -> Refusal:
        since_s = self._arrived_s
        if since_s is None:
            return Refusal("no chunk yet", "no action chunk received yet: policy silent")
        return Refusal("policy silent", f"no action chunk for {now.steady_s - since_s:.1f} s: policy silent")

    @property
    def no_instruction(self) -> Refusal:
        """That there is nothing to do."""
        return Refusal("no instruction", f"no instruction: publish one on {self._ask_topic}")
