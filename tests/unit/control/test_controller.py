import math

import numpy as np
import pytest
from control_builders import DOWN, EPOCH_NS, FORWARD, STILL, acting, at, chunk, operator, ready, spec, state

from magma_contracts.actions import EndEffectorDelta
from magma_control.commands import Source
from magma_control.config import ControllerConfig
from magma_control.controller import Controller
from magma_control.freshness import Instant
from magma_control.graph_names import GraphNames
from magma_control.phases import Phase
from magma_control.safety import Refusal


def count(controller, reason):
    return controller.report(at(0)).counts.get(reason, 0)


def keep_state(controller, *seconds):
    for moment in seconds:
        assert controller.on_state(state(moment), at(moment)) is None


class TestGoing:
    def test_step_zero_is_sent_at_once_with_the_stamp_of_its_frame(self):
        controller, command = acting()
        assert controller.phase is Phase.AUTONOMOUS
        assert command.source is Source.POLICY
        assert command.stamp_ns == at(0.05).ros_ns
        np.testing.assert_array_equal(command.delta, FORWARD)
        report = controller.report(at(0.15))
        assert report.frame_age_ms == pytest.approx(100.0)
        assert (report.chunks_received, report.commands_sent, report.chunks_rejected) == (1, 1, 0)

    def test_steps_come_at_their_time_then_the_arm_holds_still(self):
        controller = ready()
        deltas = [(0.01 * (k + 1), 0, 0, 0, 0, 0, 1) for k in range(3)]
        controller.on_chunk(chunk(0.0, *deltas), at(0.1))
        sent = []
        for k in range(60):
            command = controller.tick(at(0.1 + 0.02 * k))
            if command is not None:
                sent.append((round(0.02 * k, 2), round(float(command.delta[0]), 3)))
        assert sent == [(0.0, 0.01), (0.2, 0.02), (0.4, 0.03)]

    def test_the_newest_chunk_replaces_the_rest_of_the_old_one(self):
        controller = ready(ControllerConfig(overlap="replace"))
        controller.on_chunk(chunk(0.0, *[FORWARD] * 4), at(0.1))
        controller.tick(at(0.1))
        backward = (-0.02, 0, 0, 0, 0, 0, 1)
        controller.on_chunk(chunk(0.2, backward), at(0.3))
        assert controller.tick(at(0.3)).delta[0] == -0.02
        assert controller.tick(at(0.5)) is None

    def test_overlapping_chunks_blend_and_only_what_was_executed_is_skipped(self):
        controller = ready(ControllerConfig(keep_references=False))
        steps = [(0.01 * (k + 1), 0, 0, 0, 0, 0, 1) for k in range(4)]
        controller.on_chunk(chunk(0.0, *steps), at(0.1))
        assert controller.tick(at(0.1)).delta[0] == pytest.approx(0.01)
        # This frame was captured before the first step was executed: its first step is that one.
        controller.on_chunk(chunk(0.05, *[(-0.01, 0, 0, 0, 0, 0, 1)] * 4), at(0.2))
        assert controller.tick(at(0.25)) is None
        keep_state(controller, 0.3)
        sent = []
        for k in range(5):
            command = controller.tick(at(0.3 + 0.2 * k))
            sent.append(None if command is None else command.delta[0])
        assert sent[:3] == pytest.approx([0.02 * 2 / 3 - 0.01 / 3, 0.03 / 3 - 0.01 * 2 / 3, -0.01])
        assert sent[3:] == [None, None]

    def test_commands_never_come_faster_than_the_arm_takes_them(self):
        controller = ready()
        times = []
        for k in range(50):
            now = at(0.1 + 0.03 * k)
            keep_state(controller, 0.1 + 0.03 * k)
            controller.on_chunk(chunk(0.09 + 0.03 * k), now)
            if controller.tick(now) is not None:
                times.append(now.steady_s)
        assert len(times) > 3
        assert min(np.diff(times)) >= 0.18 - 1e-9

    def test_a_chunk_that_comes_early_waits_with_all_of_its_steps(self):
        controller, _ = acting()
        controller.on_chunk(chunk(0.14, FORWARD, FORWARD), at(0.15))
        sent = [0.15 + 0.01 * k for k in range(40) if controller.tick(at(0.15 + 0.01 * k)) is not None]
        assert sent == pytest.approx([0.28, 0.48])

    def test_in_lock_step_every_chunk_is_executed_at_once(self):
        controller = ready(ControllerConfig(min_command_interval_s=0.0))
        for k in range(5):
            now = at(0.1 + 0.01 * k)
            controller.on_chunk(chunk(0.09 + 0.01 * k), now)
            assert controller.tick(now) is not None

    def test_a_late_control_loop_skips_what_was_overtaken(self):
        controller = ready()
        controller.on_chunk(chunk(0.0, *[(0.01 * k, 0, 0, 0, 0, 0, 1) for k in range(4)]), at(0.1))
        controller.tick(at(0.1))
        assert controller.tick(at(0.75)).delta[0] == pytest.approx(0.03)
        assert controller.tick(at(0.76)) is None
        assert count(controller, "step overtaken") == 2

    def test_after_a_long_pause_of_the_process_nothing_old_is_executed(self):
        controller = ready()
        controller.on_chunk(chunk(0.0, *[FORWARD] * 4), at(0.1))
        keep_state(controller, 5.0)
        assert controller.tick(at(5.0)) is None
        assert controller.phase is Phase.HOLD

    def test_a_new_instruction_drops_what_was_planned_for_the_old_one(self):
        controller = ready()
        controller.on_chunk(chunk(0.0, *[FORWARD] * 4), at(0.1))
        controller.tick(at(0.1))
        controller.on_instruction("put the spoon on the towel")
        assert controller.tick(at(0.3)) is None
        assert controller.report(at(0.3)).instruction == "put the spoon on the towel"

    def test_an_empty_instruction_holds(self):
        controller, _ = acting()
        controller.on_instruction("carrot")
        controller.on_instruction("")
        assert controller.phase is Phase.HOLD
        assert controller.on_chunk(chunk(0.2), at(0.3)).code == "no instruction"
        assert "publish one on /magma/instruction" in controller.report(at(0.3)).reason


class TestNotGoing:
    def test_without_a_spec(self):
        controller = Controller(ControllerConfig(), at(0))
        controller.on_state(state(0.0), at(0.0))
        assert controller.on_chunk(chunk(0.0), at(0.1)).code == "no action spec"
        assert controller.phase is Phase.HOLD
        assert controller.report(at(0.1)).reason == "no action spec received: is a policy running?"

    def test_without_a_state(self):
        controller = Controller(ControllerConfig(), at(0))
        controller.on_spec(spec(), at(0))
        assert controller.on_chunk(chunk(0.0), at(0.1)).code == "no end effector state"
        assert controller.report(at(0.1)).reason_code == "no end effector state"

    def test_with_a_spec_that_does_not_fit(self):
        controller, _ = acting()
        controller.on_spec(spec(rotation="euler_xyz"), at(0.2))
        assert controller.phase is Phase.HOLD
        assert controller.on_chunk(chunk(0.2), at(0.3)).code == "action spec does not fit"
        report = controller.report(at(0.3))
        assert report.reason == ("action spec of policy 'test': rotation is 'euler_xyz', this arm takes 'axis_angle'")
        assert report.counts["action spec does not fit"] == 2
        controller.on_spec(spec(), at(0.4))
        keep_state(controller, 0.4)
        assert controller.on_chunk(chunk(0.4), at(0.5)) is None

    @pytest.mark.parametrize(
        ("value", "code"),
        [
            (chunk(-0.6), "frame too old"),
            (chunk(0.5), "frame from the future"),
            (chunk(0.05), "frame repeated"),
            (chunk(0.01), "frame out of order"),
            (chunk(0.0, stamp_ns=0), "frame without a stamp"),
        ],
    )
    def test_stamps(self, value, code):
        controller, _ = acting()
        keep_state(controller, 0.3)
        assert controller.on_chunk(value, at(0.3)).code == code
        assert controller.tick(at(0.3)) is None
        assert controller.phase is Phase.AUTONOMOUS
        assert count(controller, code) == 1

    @pytest.mark.parametrize(
        "delta", [(float("nan"), 0, 0, 0, 0, 0, 1), (10.0, 0, 0, 0, 0, 0, 1), (0, 0, 0, 0, 0, 2.0, 1)]
    )
    def test_a_wild_chunk_stops_what_its_sender_had_planned(self, delta):
        controller = ready()
        controller.on_chunk(chunk(0.0, *[FORWARD] * 4), at(0.1))
        controller.tick(at(0.1))
        refusal = controller.on_chunk(chunk(0.1, delta), at(0.2))
        assert controller.phase is Phase.HOLD
        assert controller.tick(at(0.4)) is None
        assert controller.report(at(0.4)).reason == refusal.text
        keep_state(controller, 0.5)
        assert controller.on_chunk(chunk(0.5), at(0.6)) is None
        assert controller.tick(at(0.6)) is not None

    def test_a_policy_that_refuses_holds_the_arm_at_once_and_says_why(self):
        controller, _ = acting()
        assert controller.on_chunk(chunk(0.1, STILL, FORWARD, FORWARD), at(0.2)) is None
        words = "magma-8b computed logits in float16 that are not finite"
        refusal = controller.on_chunk(chunk(0.3, deltas=np.zeros((0, 7)), refusal=words), at(0.35))
        assert refusal is not None and refusal.code == "policy refuses"
        assert controller.phase is Phase.HOLD
        assert words in controller.report(at(0.4)).reason
        assert [controller.tick(at(t)) for t in (0.4, 0.6, 0.8)] == [None] * 3, "nothing of the chunk before is left"
        assert controller.on_state(state(0.9), at(0.9)) is None
        assert controller.on_chunk(chunk(0.9), at(0.95)) is None
        assert controller.phase is Phase.AUTONOMOUS

    def test_policy_silent(self):
        controller, _ = acting()
        keep_state(controller, 0.5)
        assert controller.tick(at(0.6)) is None
        assert controller.phase is Phase.AUTONOMOUS
        controller.tick(at(0.75))
        assert controller.phase is Phase.HOLD
        assert controller.report(at(0.75)).reason == "no action chunk for 0.7 s: policy silent"
        keep_state(controller, 2.0)
        controller.on_chunk(chunk(2.0), at(2.1))
        assert controller.phase is Phase.AUTONOMOUS
        assert controller.tick(at(2.1)) is not None

    def test_camera_frozen(self):
        controller, _ = acting()
        for k in range(1, 8):
            now = at(0.1 + 0.1 * k)
            keep_state(controller, 0.1 + 0.1 * k)
            controller.on_chunk(chunk(0.05), now)
            assert controller.tick(now) is None
        assert controller.phase is Phase.HOLD
        assert "stamp is not advancing" in controller.report(at(0.8)).reason

    def test_frames_too_old(self):
        controller, _ = acting()
        for k in range(1, 8):
            now = at(0.1 + 0.1 * k)
            keep_state(controller, 0.1 + 0.1 * k)
            controller.on_chunk(chunk(0.1 + 0.1 * k - 0.8), now)
            controller.tick(now)
        assert controller.phase is Phase.HOLD
        assert controller.report(at(0.8)).reason == "frame is 0.80 s old, at most 0.5 s is allowed"

    def test_arm_silent(self):
        controller = ready(ControllerConfig(max_frame_age_s=5.0, watchdog_s=5.0))
        controller.on_chunk(chunk(0.0, *[FORWARD] * 4), at(0.8))
        assert controller.tick(at(0.8)) is not None
        assert controller.tick(at(1.1)) is None
        assert controller.phase is Phase.HOLD
        assert controller.report(at(1.1)).reason == "end effector state is 1.1 s old: arm driver silent"
        keep_state(controller, 1.2)
        assert controller.on_chunk(chunk(1.2), at(1.3)) is None
        assert controller.tick(at(1.3)) is not None

    def test_arm_reports_that_come_late_count_from_their_stamp(self):
        controller = ready()
        assert controller.on_state(state(0.2), at(1.1)) is None
        assert controller.on_chunk(chunk(1.2), at(1.25)).code == "arm state too old"

    def test_a_state_in_another_frame_is_named_once_the_good_one_is_old(self):
        controller = ready()
        controller.on_state(state(0.5, frame="map"), at(0.5))
        controller.on_chunk(chunk(1.2), at(1.3))
        assert controller.phase is Phase.HOLD
        assert "frame 'map', not 'base'" in controller.report(at(1.3)).reason

    def test_a_mad_arm_is_a_fault_until_it_is_re_armed(self):
        controller, _ = acting()
        controller.on_state(state(0.2, position=np.array([np.nan, 0, 0])), at(0.2))
        assert controller.phase is Phase.FAULT
        assert "position is [nan" in controller.report(at(0.2)).reason
        keep_state(controller, 0.3)
        assert controller.on_chunk(chunk(0.3), at(0.35)).code == "fault"
        assert controller.on_operator(operator(0.35), at(0.35)).code == "fault"
        assert controller.tick(at(0.4)) is None
        assert controller.rearm(at(0.5)).success
        assert controller.phase is Phase.HOLD


class TestReportsOfTheArm:
    def test_an_arm_in_two_places_is_held_and_the_reason_asks_for_the_second_publisher(self):
        controller, _ = acting()
        for k in range(10):
            seconds = 0.15 + 0.02 * k
            controller.on_state(state(seconds, position=np.array([0.5, 0.3 * (k % 2), 0.3])), at(seconds))
            controller.on_chunk(chunk(seconds), at(seconds))
            assert controller.tick(at(seconds)) is None
        assert "two publishers" in controller.report(at(0.35)).reason
        keep_state(controller, *(0.4 + 0.05 * k for k in range(30)))
        assert controller.on_chunk(chunk(1.85), at(1.86)) is None and controller.tick(at(1.86)) is not None

    def test_in_lock_step_another_episode_is_no_contradiction(self):
        controller, _ = acting(ControllerConfig(min_command_interval_s=0.0))
        for k in range(6):
            seconds = 0.15 + 0.1 * k
            controller.on_state(state(seconds, position=np.array([0.5, 0.3 * (k % 2), 0.3])), at(seconds))
            controller.on_chunk(chunk(seconds + 0.01), at(seconds + 0.02))
            assert controller.tick(at(seconds + 0.02)) is not None

    def test_an_arm_that_is_barred_holds_with_that_reason_until_it_is_free(self):
        controller, _ = acting()
        controller.bar_arm(Refusal("lift unknown", "the lift never reported"))
        assert controller.tick(at(0.15)) is None and controller.phase is Phase.HOLD
        assert controller.on_chunk(chunk(0.2), at(0.25)).code == "lift unknown"
        assert controller.report(at(0.25)).reason == "the lift never reported"
        controller.bar_arm(None)
        keep_state(controller, 0.3)
        assert controller.on_chunk(chunk(0.3), at(0.35)) is None

    @pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.1, 0.2, 0.9])
    def test_the_box_holds_for_the_arm_s_own_target_however_late_its_reports_are(self, delay_s):
        """Commands half of that delay under way, reports the other half, one command of five lost."""
        random = np.random.default_rng(3)
        controller = ready()
        target, flying, reports = np.array([0.5, 0.0, 0.06]), [], []
        for k in range(4000):
            now_s = 0.005 * k
            for item in [item for item in flying if item[0] <= now_s]:
                flying.remove(item)
                target = target + item[1]
                assert target[2] >= -1e-9, "below the table"
            if k % 8 == 0:
                reports.append((now_s + delay_s / 2, state(now_s, target=target)))
            for item in [item for item in reports if item[0] <= now_s]:
                reports.remove(item)
                controller.on_state(item[1], at(now_s))
            if random.random() < 0.02:
                controller.on_operator(
                    operator(now_s, (0, 0, random.choice([-0.02, -0.02, 0.02]), 0, 0, 0, 1)), at(now_s)
                )
            command = controller.tick(at(now_s))
            if command is not None and random.random() < 0.8:
                flying.append((now_s + delay_s / 2, command.delta[:3].copy()))
        assert controller.report(at(20.0)).counts["clipped: workspace"] > 5


class TestClock:
    def test_a_clock_set_back_does_not_block_for_ever(self):
        controller, _ = acting()
        hour_ns = 3_600_000_000_000
        earlier = Instant(10.0, EPOCH_NS - hour_ns)
        shifted = state(0.0, stamp_ns=earlier.ros_ns)
        assert controller.on_state(shifted, earlier) is None
        assert controller.on_chunk(chunk(0.0, stamp_ns=earlier.ros_ns - 10_000_000), earlier) is None
        assert controller.tick(earlier) is not None

    def test_a_clock_set_forward_makes_frames_old(self):
        controller, _ = acting()
        later = Instant(0.2, EPOCH_NS + 3_600_000_000_000)
        assert controller.on_chunk(chunk(0.15), later).code == "frame too old"

    def test_the_gate_of_a_re_arm_survives_a_small_step_back_of_the_clock(self):
        controller, _ = acting()
        controller.estop("test")
        controller.rearm(at(1.0))
        back = Instant(1.05, at(0.85).ros_ns)
        controller.on_state(state(0.84), back)
        assert controller.on_chunk(chunk(0.83), back).code == "frame from before the re-arm"


class TestEmergencyStop:
    @pytest.mark.parametrize("phase", list(Phase))
    def test_it_latches_from_every_phase(self, phase):
        controller, _ = acting()
        if phase is Phase.HOLD:
            controller.tick(at(0.9))
        elif phase is Phase.TELEOP:
            controller.on_operator(operator(0.1), at(0.1))
        elif phase is Phase.ESTOP:
            controller.estop("before")
        elif phase is Phase.FAULT:
            controller.fault("before")
        assert controller.phase is phase
        assert controller.estop("button").success
        assert controller.phase is Phase.ESTOP
        keep_state(controller, 0.95)
        assert controller.on_chunk(chunk(0.95), at(1.0)).code == "emergency stop"
        assert controller.on_operator(operator(1.0), at(1.0)).code == "emergency stop"
        assert not controller.hand_back(at(1.0)).success
        assert controller.tick(at(1.0)) is None
        assert controller.phase is Phase.ESTOP

    def test_re_arming_moves_nothing_and_needs_a_fresh_frame(self):
        controller, _ = acting()
        controller.estop("button")
        keep_state(controller, 0.9)
        controller.on_chunk(chunk(0.95), at(0.96))
        assert controller.rearm(at(1.0)).success
        assert controller.phase is Phase.HOLD
        assert controller.tick(at(1.0)) is None
        assert controller.on_chunk(chunk(0.99), at(1.05)).code == "frame from before the re-arm"
        assert controller.on_chunk(chunk(1.05), at(1.1)).code == "waiting for arm state"
        keep_state(controller, 1.1)
        assert controller.on_chunk(chunk(1.1), at(1.15)) is None
        assert controller.tick(at(1.15)) is not None
        assert controller.phase is Phase.AUTONOMOUS

    def test_the_first_motion_starts_where_the_arm_really_is(self):
        controller, _ = acting()
        controller.estop("button")
        controller.rearm(at(1.0))
        measured = np.array([0.50, 0.0, 0.27])
        controller.on_state(state(1.1, position=measured), at(1.1))
        controller.on_chunk(chunk(1.1), at(1.15))
        command = controller.tick(at(1.15))
        # The target lies 3 cm above the measured position, and the policy asks for 2 cm forward.
        np.testing.assert_allclose(command.delta[:3], [0.02, 0.0, -0.03], atol=1e-12)
        controller.on_state(state(1.2, target=measured), at(1.2))
        controller.on_chunk(chunk(1.3), at(1.4))
        np.testing.assert_allclose(controller.tick(at(1.4)).delta[:3], [0.02, 0.0, 0.0], atol=1e-12)

    def test_a_long_way_back_to_the_measured_pose_takes_several_commands(self):
        controller, _ = acting()
        controller.estop("button")
        controller.rearm(at(1.0))
        target, measured = np.array([0.5, 0.0, 0.3]), np.array([0.5, 0.0, 0.16])
        for k in range(3):
            seconds = 1.1 + 0.3 * k
            controller.on_state(state(seconds, target=target, position=measured), at(seconds))
            controller.on_chunk(chunk(seconds, STILL), at(seconds + 0.05))
            target = target + controller.tick(at(seconds + 0.05)).delta[:3]
        np.testing.assert_allclose(target, measured, atol=1e-12)

    @pytest.mark.parametrize("scale", [1.0, 0.5, 0.1])
    def test_the_way_back_is_gone_whole_however_slow_motions_are(self, scale):
        controller, _ = acting(ControllerConfig(bring_up_scale=scale))
        controller.estop("button")
        controller.rearm(at(1.0))
        target, measured = np.array([0.5, 0.06, 0.3]), np.array([0.5, 0.0, 0.3])
        steps = 0
        while steps == 0 or target[1] > 1e-12:
            seconds = 1.1 + 0.2 * steps
            controller.on_state(state(seconds, target=target, position=measured), at(seconds))
            controller.on_chunk(chunk(seconds, (0, 0, 0.01, 0, 0, 0, 1)), at(seconds))
            delta = controller.tick(at(seconds)).delta[:3]
            assert np.linalg.norm(delta) <= 0.08 * scale + 1e-12
            target, steps = target + delta, steps + 1
            assert target[2] == 0.3 or target[1] == pytest.approx(0.0, abs=1e-12), "first the way back"
        assert steps == {1.0: 1, 0.5: 2, 0.1: 8}[scale]
        np.testing.assert_allclose(target, measured + np.array([0, 0, 0.01 * scale]), atol=1e-12)

    @pytest.mark.parametrize(
        "wanted",
        [(0.02, 0, 0, 0, 0, 0, 1), (0, 0, 0, 0, 0, 0, 1.0000001), (0.09, 0, 0, 0.6, 0, 0, -1e-9)],
        ids=["into the wall", "gripper rounded", "too far"],
    )
    @pytest.mark.parametrize("by_operator", [False, True])
    def test_an_arm_that_hangs_below_its_target_is_followed_down_once(self, wanted, by_operator):
        """Commands that are shortened again and again add nothing to it."""
        controller, _ = acting()
        controller.estop("button")
        controller.rearm(at(1.0))
        target, sag = np.array([0.85, 0.0, 0.3]), np.array([0.0, 0.0, -0.003])
        for k in range(50):
            seconds = 1.1 + 0.2 * k
            controller.on_state(state(seconds, target=target, position=target + sag), at(seconds))
            if by_operator:
                controller.on_operator(operator(seconds, np.clip(wanted, -1, 1)), at(seconds))
            else:
                controller.on_chunk(chunk(seconds, wanted), at(seconds))
            command = controller.tick(at(seconds))
            target = target + command.delta[:3]
        assert target[2] == pytest.approx(0.297, abs=1e-9)

    def test_the_way_back_does_not_lead_out_of_the_box(self):
        controller, _ = acting()
        controller.estop("button")
        controller.rearm(at(1.0))
        pushed = np.array([0.5, 0.0, -0.03])
        controller.on_state(state(1.1, target=(0.5, 0, 0.01), position=pushed), at(1.1))
        controller.on_chunk(chunk(1.1, STILL), at(1.15))
        assert controller.tick(at(1.15)).delta[2] == pytest.approx(-0.01)

    def test_a_report_that_jumps_is_no_place_to_begin_from(self):
        controller, _ = acting()
        controller.estop("button")
        controller.on_state(state(0.99), at(0.99))
        controller.rearm(at(1.0))
        elsewhere = np.array([0.5, 0.3, 0.3])
        controller.on_state(state(1.02, position=elsewhere), at(1.02))
        assert controller.on_chunk(chunk(1.02), at(1.03)).code == "arm states contradict"
        for k in range(7):
            controller.on_state(state(1.04 + 0.02 * k, position=elsewhere), at(1.04 + 0.02 * k))
        assert controller.on_chunk(chunk(1.16), at(1.17)) is None

    def test_an_operator_command_from_before_the_re_arm_moves_nothing(self):
        controller, _ = acting()
        controller.estop("button")
        controller.rearm(at(1.0))
        assert controller.on_operator(operator(0.95), at(1.05)).code == "operator command from before the re-arm"
        assert controller.phase is Phase.HOLD

    def test_the_first_rotation_starts_where_the_arm_really_is(self):
        controller, _ = acting()
        controller.estop("button")
        controller.rearm(at(1.0))
        half = 0.05
        turned = np.array([np.cos(half), np.sin(half), 0.0, 0.0])
        controller.on_state(state(1.1, quaternion_xyzw=turned), at(1.1))
        controller.on_chunk(chunk(1.1, STILL), at(1.15))
        rotation = controller.tick(at(1.15)).delta[3:6]
        assert np.linalg.norm(rotation) == pytest.approx(2 * half)
        assert abs(rotation[2]) == pytest.approx(2 * half)
        assert np.allclose(DOWN, [1, 0, 0, 0])

    def test_there_is_nothing_to_re_arm_while_it_runs(self):
        controller, _ = acting()
        outcome = controller.rearm(at(0.2))
        assert not outcome.success and "AUTONOMOUS" in outcome.message
        assert controller.phase is Phase.AUTONOMOUS


class TestOperator:
    def test_any_command_takes_over_and_is_executed(self):
        controller, _ = acting()
        controller.on_chunk(chunk(0.2, *[FORWARD] * 4), at(0.3))
        controller.tick(at(0.3))
        assert controller.on_operator(operator(0.4, (0, 0.01, 0, 0, 0, 0, 0)), at(0.4)) is None
        assert controller.phase is Phase.TELEOP
        assert controller.tick(at(0.4)) is None  # the arm's step is not over yet
        command = controller.tick(at(0.5))
        assert command.source is Source.OPERATOR and command.stamp_ns == at(0.4).ros_ns
        np.testing.assert_array_equal(command.delta, [0, 0.01, 0, 0, 0, 0, 0])
        assert controller.tick(at(0.7)) is None
        assert controller.on_chunk(chunk(0.7), at(0.7)).code == "operator in charge"

    def test_a_silent_operator_keeps_the_arm_and_it_holds(self):
        controller = ready()
        controller.on_operator(operator(0.1), at(0.1))
        controller.tick(at(0.1))
        keep_state(controller, 1.0, 2.0)
        assert controller.on_chunk(chunk(1.9), at(2.0)).code == "operator in charge"
        assert controller.tick(at(2.0)) is None
        assert controller.phase is Phase.TELEOP
        assert controller.report(at(2.0)).reason.startswith("holding: operator silent for 1.9 s")

    def test_hand_back_waits_for_a_frame_from_after_it(self):
        controller = ready()
        controller.on_operator(operator(0.1), at(0.1))
        assert controller.hand_back(at(0.5)).success
        assert controller.phase is Phase.HOLD
        keep_state(controller, 0.5)
        assert controller.on_chunk(chunk(0.45), at(0.55)).code == "frame from before the hand-back"
        assert controller.on_chunk(chunk(0.55), at(0.6)) is None
        assert controller.phase is Phase.AUTONOMOUS
        assert not controller.hand_back(at(0.7)).success

    def test_a_command_from_before_the_hand_back_does_not_take_over_again(self):
        controller = ready()
        controller.on_operator(operator(0.1), at(0.1))
        controller.hand_back(at(0.5))
        assert controller.on_operator(operator(0.45), at(0.55)).code == "operator command from before the hand-back"
        assert controller.phase is Phase.HOLD

    @pytest.mark.parametrize(
        ("command", "code"),
        [
            (operator(0.1, (float("nan"), 0, 0, 0, 0, 0, 0)), "not finite"),
            (operator(0.1, (10, 0, 0, 0, 0, 0, 0)), "absurd translation"),
            (operator(0.1, FORWARD, frame="camera"), "wrong frame"),
        ],
    )
    def test_a_wild_command_takes_over_but_moves_nothing(self, command, code):
        controller, _ = acting()
        assert controller.on_operator(command, at(0.15)).code == code
        assert controller.phase is Phase.TELEOP
        assert controller.tick(at(0.4)) is None
        assert controller.report(at(0.4)).reason_code == code

    @pytest.mark.parametrize(
        ("seconds", "code"), [(-0.5, "operator command too old"), (0.6, "operator command from the future")]
    )
    def test_an_old_or_future_command_does_not_take_over(self, seconds, code):
        controller, _ = acting()
        assert controller.on_operator(operator(seconds), at(0.15)).code == code
        assert controller.phase is Phase.AUTONOMOUS

    def test_a_command_that_waited_too_long_is_dropped(self):
        controller = ready()
        controller.on_operator(operator(0.1), at(0.1))
        assert controller.tick(at(0.5)) is None
        assert count(controller, "operator command too old") == 1

    def test_operator_commands_are_limited_too(self):
        controller = ready()
        controller.on_operator(operator(0.1, (0.2, 0, 0, 0, 0, 0, 1)), at(0.1))
        assert controller.tick(at(0.1)).delta[0] == pytest.approx(0.08)
        assert count(controller, "clipped: step translation") == 1

    def test_without_a_state_the_operator_owns_the_arm_but_cannot_move_it(self):
        controller = Controller(ControllerConfig(), at(0))
        controller.on_operator(operator(0.1), at(0.1))
        assert controller.tick(at(0.1)) is None
        assert controller.phase is Phase.TELEOP
        assert controller.report(at(0.1)).reason_code == "no end effector state"


def test_commands_that_the_last_report_does_not_show_yet_count_for_the_box():
    controller = ready(ControllerConfig(min_command_interval_s=0.0))
    controller.on_state(state(0.05, target=(0.80, 0.0, 0.3)), at(0.05))
    total = 0.0
    for k in range(5):
        now = at(0.1 + 0.05 * k)
        controller.on_chunk(chunk(0.06 + 0.05 * k), now)
        total += float(controller.tick(now).delta[0])
    assert total == pytest.approx(0.05)
    assert controller.report(at(0.4)).commands_clipped == 3


def test_ages_are_nan_before_anything_came():
    report = Controller(ControllerConfig(), at(0)).report(at(1))
    assert all(
        math.isnan(age) for age in (report.frame_age_ms, report.chunk_age_ms, report.teleop_age_ms, report.state_age_ms)
    )


def test_events_tell_of_transitions_and_refusals():
    controller, _ = acting()
    controller.on_chunk(chunk(0.2, (float("nan"), 0, 0, 0, 0, 0, 1)), at(0.3))
    texts = [event.text for event in controller.take_events()]
    assert texts[0] == "HOLD -> AUTONOMOUS: policy 'test' is acting"
    assert texts[1].startswith("refused: step 0 holds a value that is not finite")
    assert texts[2].startswith("AUTONOMOUS -> HOLD: step 0 holds")
    assert controller.take_events() == []


class TestSignsOfLife:
    def test_a_policy_whose_heartbeat_stops_is_lost(self):
        controller, _ = acting(ControllerConfig(watchdog_s=5.0))
        controller.on_heartbeat(Source.POLICY, at(0.1))
        keep_state(controller, 1.0)
        controller.tick(at(1.0))
        assert controller.phase is Phase.AUTONOMOUS
        keep_state(controller, 1.2)
        controller.tick(at(1.2))
        assert controller.phase is Phase.HOLD
        assert controller.on_chunk(chunk(1.15), at(1.2)).code == "policy heartbeat lost"
        controller.on_heartbeat(Source.POLICY, at(1.3))
        assert controller.on_chunk(chunk(1.25), at(1.3)) is None

    def test_a_required_heartbeat_must_come(self):
        controller = ready(ControllerConfig(require_policy_heartbeat=True, state_timeout_s=5.0))
        assert controller.on_chunk(chunk(1.45), at(1.5)).code == "policy without heartbeat"

    def test_an_operator_whose_device_is_lost_does_not_move_the_arm(self):
        controller = ready()
        controller.on_heartbeat(Source.OPERATOR, at(0.0))
        keep_state(controller, 1.5)
        controller.on_operator(operator(1.5), at(1.5))
        assert controller.tick(at(1.5)) is None
        assert controller.phase is Phase.TELEOP
        assert "no heartbeat" in controller.report(at(1.5)).reason


class TestButton:
    def test_pressed_latches_and_released_moves_nothing(self):
        controller, _ = acting()
        controller.on_estop_button(True, at(0.2))
        assert controller.phase is Phase.ESTOP
        assert not controller.rearm(at(0.3)).success
        controller.on_estop_button(False, at(0.4))
        assert controller.phase is Phase.ESTOP
        assert controller.rearm(at(0.5)).success
        assert controller.tick(at(0.5)) is None

    def test_silence_counts_as_pressed_when_there_is_a_button(self):
        controller, _ = acting(ControllerConfig(estop_button_timeout_s=0.5))
        controller.on_estop_button(False, at(0.2))
        controller.tick(at(0.6))
        assert controller.phase is not Phase.ESTOP
        assert controller.tick(at(0.8)) is None
        assert controller.phase is Phase.ESTOP
        assert "button has sent no heartbeat" in controller.rearm(at(0.9)).message

    def test_a_button_that_never_spoke_counts_as_pressed_too(self):
        controller = ready(ControllerConfig(estop_button_timeout_s=0.5))
        controller.tick(at(0.6))
        assert controller.phase is Phase.ESTOP

    def test_the_shared_button_stops_as_its_own_does_and_one_releases_nothing_for_the_other(self):
        controller, _ = acting()
        controller.on_estop_button(True, at(0.2), shared=True)
        assert controller.phase is Phase.ESTOP
        assert "the shared button is pressed" in controller.report(at(0.2)).reason
        controller.on_estop_button(False, at(0.3))
        assert controller.rearm(at(0.4)).message == "cannot re-arm: the shared button is pressed"
        controller.on_estop_button(False, at(0.5), shared=True)
        controller.on_estop_button(True, at(0.6))
        assert controller.rearm(at(0.7)).message == "cannot re-arm: the button is pressed"
        controller.on_estop_button(False, at(0.8))
        assert controller.rearm(at(0.9)).success

    @pytest.mark.parametrize("silent_is_shared", [False, True])
    def test_neither_button_speaks_for_the_other(self, silent_is_shared):
        config = ControllerConfig(estop_button_timeout_s=0.5, shared_estop_button_timeout_s=0.5)
        controller, _ = acting(config)
        controller.on_estop_button(False, at(0.2), shared=silent_is_shared)
        for second in (0.3, 0.5, 0.7, 0.9):
            controller.on_estop_button(False, at(second), shared=not silent_is_shared)
            controller.tick(at(second))
        assert controller.phase is Phase.ESTOP
        silent = "shared emergency stop button" if silent_is_shared else "the emergency stop button"
        assert silent in controller.rearm(at(0.9)).message

    def test_the_shared_button_is_not_waited_for_unless_it_is_said_to_be_there(self):
        controller = ready(ControllerConfig(estop_button_timeout_s=0.5))
        controller.on_estop_button(False, at(0.9))
        controller.tick(at(1.0))
        assert controller.phase is Phase.HOLD


def test_a_person_is_told_the_names_that_the_controller_has_in_the_graph():
    names = GraphNames("/left/magma/rearm", "/left/magma/hand_back", "/left/magma/instruction")
    controller = Controller(ControllerConfig(), at(0.0), names)
    texts = [controller.estop("test").message, controller.report(at(0.0)).reason]
    controller.rearm(at(0.1))
    controller.on_instruction("")
    texts += [controller.report(at(0.1)).reason]
    controller.fault("test")
    texts += [controller.report(at(0.2)).reason]
    assert ["/left/magma/instruction" in text or "/left/magma/rearm" in text for text in texts] == [True] * 4


class TestTakeOver:
    def test_the_speed_changes_gradually(self):
        controller, command = acting(ControllerConfig(max_takeover_speed_step_m_s=0.05))
        speeds = [command.delta[0] / 0.2]
        for k in range(6):
            seconds = 0.3 + 0.2 * k
            keep_state(controller, seconds)
            controller.on_operator(operator(seconds, (-0.04, 0, 0, 0, 0, 0, 1)), at(seconds))
            speeds.append(controller.tick(at(seconds)).delta[0] / 0.2)
        assert max(abs(np.diff(speeds))) <= 0.05 + 1e-9
        assert speeds[-1] == pytest.approx(-0.2)
        assert controller.report(at(2.0)).counts["clipped: take-over"] >= 5

    def test_two_operators_do_not_pull_at_once(self):
        controller = ready()
        one = EndEffectorDelta(np.array(FORWARD), at(0.1).ros_ns, "base", "keyboard")
        other = EndEffectorDelta(np.array(STILL), at(0.2).ros_ns, "base", "gamepad")
        assert controller.on_operator(one, at(0.1)) is None
        assert controller.on_operator(other, at(0.2)).code == "another operator has the arm"
        late = EndEffectorDelta(np.array(STILL), at(0.6).ros_ns, "base", "gamepad")
        assert controller.on_operator(late, at(0.6)) is None


class TestBringUp:
    def test_everything_is_smaller(self):
        _, command = acting(ControllerConfig(bring_up_scale=0.1))
        assert command.delta[0] == pytest.approx(0.1 * FORWARD[0])
        assert command.delta[6] == FORWARD[6]

    def test_the_table_is_part_of_the_box(self):
        controller = ready(ControllerConfig(table_height_m=0.28, table_clearance_m=0.01))
        controller.on_chunk(chunk(0.0, (0, 0, -0.05, 0, 0, 0, 1)), at(0.1))
        assert controller.tick(at(0.1)).delta[2] == pytest.approx(-0.01)

    def test_a_binary_gripper_sticks(self):
        controller = ready(ControllerConfig(gripper_mode="binary", gripper_sticky_steps=2))
        grippers = []
        for k, wish in enumerate((0.3, 0.9, 0.9)):
            seconds = 0.1 + 0.2 * k
            keep_state(controller, seconds)
            controller.on_chunk(chunk(seconds - 0.05, (0, 0, 0, 0, 0, 0, wish)), at(seconds))
            grippers.append(controller.tick(at(seconds)).delta[6])
        assert grippers == [0.0, 0.0, 1.0]


def test_an_arm_that_is_suddenly_elsewhere_is_not_moved_on_as_planned():
    controller, _ = acting()
    assert controller.on_chunk(chunk(0.2, FORWARD, FORWARD, FORWARD), at(0.25)) is None
    assert controller.on_state(state(0.3, (0.5, 0.0, 0.6)), at(0.3)) is None
    assert controller.phase is Phase.HOLD and "0.30 m away" in controller.report(at(0.3)).reason
    assert controller.tick(at(0.5)) is None
    # A frame from before it is not acted on, one from the same moment is: the world was reset, for instance.
    assert "from before the arm was moved" in controller.on_chunk(chunk(0.29), at(0.5)).text
    assert controller.on_chunk(chunk(0.3), at(0.5)) is None
    assert controller.tick(at(0.5)) is not None
    assert controller.report(at(0.5)).counts["arm state jumped"] == 1


def test_a_jump_leaves_the_arm_with_its_operator_and_lifts_no_later_gate():
    controller, _ = acting()
    assert controller.on_operator(operator(0.2), at(0.2)) is None
    controller.on_state(state(0.25, (0.5, 0.0, 0.6)), at(0.25))
    assert controller.phase is Phase.TELEOP and controller.tick(at(0.5)) is None
    controller.estop("test")
    controller.rearm(at(0.6))
    controller.on_state(state(0.55, (0.5, 0.0, 0.3)), at(0.65))
    assert "from before the re-arm" in controller.on_chunk(chunk(0.58), at(0.7)).text


class TestLife:
    """A controller that is not active: nobody moves the arm, and everybody is told why."""

    def test_it_refuses_everybody_with_the_reason(self):
        controller, _ = acting()
        controller.deactivate("asleep: wake it")
        assert controller.phase is Phase.HOLD and not controller.active
        assert controller.on_chunk(chunk(0.3), at(0.3)).text == "asleep: wake it"
        assert controller.on_operator(operator(0.3), at(0.3)).code == "inactive"
        assert controller.tick(at(0.35)) is None and controller.phase is Phase.HOLD
        assert controller.report(at(0.35)).reason == "asleep: wake it"
        assert controller.report(at(0.35)).counts["inactive"] == 2

    def test_after_the_activation_only_what_is_newer_counts_and_the_arm_is_where_it_is(self):
        controller, _ = acting()
        controller.deactivate("asleep")
        moved = state(0.5, target=(0.5, 0.0, 0.3), position=np.array([0.5, 0.03, 0.3]))
        controller.activate(at(0.45))
        assert controller.on_state(moved, at(0.5)) is None
        assert "from before the activation" in controller.on_chunk(chunk(0.44), at(0.5)).text
        assert controller.on_chunk(chunk(0.5), at(0.55)) is None
        command = controller.tick(at(0.55))
        # From the measured pose, 3 cm beside the arm's own target.
        assert command.delta[:3] == pytest.approx([0.02, 0.03, 0.0])

    @pytest.mark.parametrize("latch", ["estop", "fault"])
    def test_a_latch_outlives_everything(self, latch):
        controller, _ = acting()
        getattr(controller, latch)("test")
        phase = controller.phase
        controller.deactivate("asleep")
        controller.forget(at(0.3))
        assert controller.phase is phase
        refused = controller.rearm(at(0.35))
        assert not refused.success and refused.message == "cannot re-arm: asleep"
        controller.activate(at(0.4))
        assert controller.phase is phase and controller.tick(at(0.4)) is None
        assert controller.rearm(at(0.45)).success and controller.phase is Phase.HOLD

    def test_the_stop_and_its_button_are_heard_while_it_sleeps(self):
        controller = ready(ControllerConfig(estop_button_timeout_s=0.5))
        controller.deactivate("asleep")
        controller.on_estop_button(False, at(0.1))
        controller.tick(at(0.2))
        assert controller.phase is Phase.HOLD
        controller.tick(at(0.7))
        assert controller.phase is Phase.ESTOP, "a silent button counts as pressed"

    def test_it_forgets_only_while_it_sleeps(self):
        controller, _ = acting()
        with pytest.raises(RuntimeError, match="deactivate it first"):
            controller.forget(at(0.2))
        controller.deactivate("asleep")
        controller.forget(at(0.2))
        controller.activate(at(0.3))
        assert controller.on_chunk(chunk(0.4), at(0.4)).code == "no action spec"
        report = controller.report(at(0.4))
        assert report.instruction == "" and report.commands_sent == 1 and np.isnan(report.state_age_ms)
