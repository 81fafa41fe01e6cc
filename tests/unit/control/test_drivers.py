"""What each driver puts on the wire, and that each can stop without the control thread."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from action_msgs.msg import GoalInfo, GoalStatus, GoalStatusArray
from arm_builders import motion, panda
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.clock import Clock
from rclpy.task import Future
from unique_identifier_msgs.msg import UUID

from magma_contracts.errors import ConfigError
from magma_control.drivers import base
from magma_control.drivers.base import make_arm_driver, make_gripper_driver
from magma_control.robots.robot_config import DriverSection, GripperSection

ABORTED, SUCCEEDED, CANCELED = GoalStatus.STATUS_ABORTED, GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED
ACCEPTED, EXECUTING = GoalStatus.STATUS_ACCEPTED, GoalStatus.STATUS_EXECUTING
FORWARD = np.array([0.04, 0.0, 0.0, 0.0, 0.0, 0.1, 0.5])


class FakePublisher:
    def __init__(self, message_type, topic):
        self.message_type, self.topic, self.messages, self.subscribers = message_type, topic, [], 1

    def publish(self, message):
        assert isinstance(message, self.message_type)
        self.messages.append(message)

    def get_subscription_count(self):
        return self.subscribers


class FakeNode:
    """As much of a node as drivers use."""

    def __init__(self):
        self.publishers = []
        self.subscriptions = {}

    def create_subscription(self, message_type, topic, callback, profile):
        self.subscriptions[topic] = callback
        return topic

    def destroy_subscription(self, topic):
        del self.subscriptions[topic]

    def create_publisher(self, message_type, topic, profile):
        self.publishers.append(FakePublisher(message_type, topic))
        return self.publishers[-1]

    def destroy_publisher(self, publisher):
        self.publishers.remove(publisher)

    def get_clock(self):
        return Clock()


class FakeClient:
    def __init__(self, node, action, name):
        self.action, self.name, self.goals, self.ready, self.destroyed = action, name, [], True, False
        self.answers, self.ids = [], []

    def server_is_ready(self):
        return self.ready

    def destroy(self):
        self.destroyed = True

    def send_goal_async(self, goal, goal_uuid=None):
        assert isinstance(goal, self.action.Goal)
        self.goals.append(goal)
        self.ids.append(goal_uuid)
        self.answers.append(Future())
        return self.answers[-1]


@pytest.fixture
def node():
    return FakeNode()


def robot(**sections):
    return dataclasses.replace(panda(), **sections)


def commands(count):
    """Commands of an arm under way."""
    arm = motion()
    arm.move(FORWARD, 0.2)
    return [arm.tick(stamp_ns=5_000_000_007) for _ in range(count)]


def seconds(time):
    return time.sec + time.nanosec * 1e-9


class TestJointTrajectory:
    def test_each_message_holds_the_next_instant_and_the_brake(self, node):
        driver = make_arm_driver("joint_trajectory", node, panda())
        assert node.publishers[0].topic == "joint_trajectory_controller/joint_trajectory"
        command = commands(8)[-1]
        driver.send(command)
        message = node.publishers[0].messages[0]
        assert tuple(message.joint_names) == panda().joints.names
        assert (message.header.stamp.sec, message.header.stamp.nanosec) == (0, 0)
        first, last = message.points[0], message.points[-1]
        assert seconds(first.time_from_start) == pytest.approx(0.01)
        assert list(first.positions) == command.position.tolist()
        assert list(last.positions) == command.brake_positions[-1].tolist()
        assert not any(last.velocities)
        times = [seconds(point.time_from_start) for point in message.points]
        assert times == sorted(set(times)) and times[-1] == pytest.approx(0.01 * (1 + len(command.brake_positions)))

    def test_a_resting_arm_needs_no_brake(self, node):
        driver = make_arm_driver("joint_trajectory", node, panda())
        driver.send(motion().tick())
        assert len(node.publishers[0].messages[0].points) == 1

    def test_a_simulation_that_waits_is_answered(self, node):
        driver = make_arm_driver("joint_trajectory", node, panda(), answering=True)
        driver.send(commands(1)[0])
        assert node.publishers[0].messages[0].header.stamp.nanosec == 7
        with pytest.raises(ConfigError, match="tick_source joint_states needs"):
            make_arm_driver("position", node, panda(), answering=True)

    def test_stopping_needs_no_message(self, node):
        driver = make_arm_driver("joint_trajectory", node, panda())
        moving = commands(9)
        driver.send(moving[7])
        driver.stop()
        driver.send(moving[8])
        assert len(node.publishers[0].messages) == 1
        driver.resume()
        driver.send(moving[8])
        assert len(node.publishers[0].messages) == 2


def test_follow_joint_trajectory_collects_a_tenth_of_a_second(node, monkeypatch):
    from magma_control.drivers import follow_joint_trajectory

    monkeypatch.setattr(follow_joint_trajectory, "ActionClient", FakeClient)
    driver = make_arm_driver("follow_joint_trajectory", node, panda())
    for command in commands(20):
        driver.send(command)
    assert [len(goal.trajectory.points) > 10 for goal in driver._client.goals] == [True, True]
    times = [seconds(point.time_from_start) for point in driver._client.goals[0].trajectory.points]
    assert times[:10] == pytest.approx(np.arange(1, 11) * 0.01)
    assert not any(driver._client.goals[0].trajectory.points[-1].velocities)


class TestFollowJointTrajectory:
    @pytest.fixture
    def driver(self, node, monkeypatch):
        from magma_control.drivers import follow_joint_trajectory

        monkeypatch.setattr(follow_joint_trajectory, "ActionClient", FakeClient)
        driver = make_arm_driver("follow_joint_trajectory", node, panda())
        for command in commands(10):
            driver.send(command)
        return driver

    def answer(self, driver, goal=0, accepted=True, status=GoalStatus.STATUS_ABORTED, code=0, text=""):
        result = Future()
        driver._client.answers[goal].set_result(SimpleNamespace(accepted=accepted, get_result_async=lambda: result))
        wrapped = SimpleNamespace(status=status, result=SimpleNamespace(error_code=code, error_string=text))
        result.set_result(wrapped)

    def test_a_goal_that_is_done_or_replaced_by_the_next_is_no_trouble(self, driver):
        self.answer(driver, status=GoalStatus.STATUS_SUCCEEDED)
        assert (driver.trouble, driver.overruled) == (None, None)
        for command in commands(30)[10:]:
            driver.send(command)
        self.answer(driver, goal=1, code=driver._action.Result.INVALID_GOAL, text="preempted")
        assert (driver.trouble, driver.overruled) == (None, None)

    def test_a_newest_goal_that_is_replaced_was_replaced_by_somebody_else(self, driver):
        self.answer(driver, code=driver._action.Result.INVALID_GOAL, text="preempted")
        assert driver.trouble is None and driver.overruled.endswith("by somebody else: preempted")
        driver.stop()
        driver.resume()
        assert driver.overruled is None

    def statuses(self, node, driver, *entries):
        """The server's list: (goal, status) for ours by index, for others' by a name."""
        listed = []
        for goal, status in entries:
            named = driver._client.ids[goal] if isinstance(goal, int) else UUID(uuid=goal.encode().ljust(16))
            listed.append(GoalStatus(goal_info=GoalInfo(goal_id=named), status=status))
        (say,) = node.subscriptions.values()
        say(GoalStatusArray(status_list=listed))

    def test_a_foreign_goal_is_told_however_late_the_results_are(self, node, driver):
        for command in commands(30)[10:]:
            driver.send(command)
        self.statuses(node, driver, (0, ABORTED), (1, ABORTED), (2, EXECUTING))
        assert driver.overruled is None
        # It came and was replaced by our next goal before anybody looked, and no result has come at all.
        for command in commands(40)[30:]:
            driver.send(command)
        self.statuses(node, driver, (1, ABORTED), (2, ABORTED), ("theirs", ABORTED), (3, EXECUTING))
        assert "somebody else gave the arm a trajectory" in driver.overruled
        assert driver.trouble is None
        driver.stop()
        driver.resume()
        self.statuses(node, driver, ("theirs", ABORTED), (3, ABORTED))
        assert driver.overruled is None, "it is told once"
        self.statuses(node, driver, ("theirs", ABORTED), ("others", ACCEPTED))
        assert driver.overruled is not None

    def test_what_others_had_ended_before_is_theirs_but_what_is_under_way_counts(self, node, driver):
        self.statuses(node, driver, ("theirs", SUCCEEDED), ("others", CANCELED), (0, EXECUTING))
        assert driver.overruled is None
        other = make_arm_driver("follow_joint_trajectory", node, panda())
        other._on_status(GoalStatusArray(status_list=[]))
        ours = GoalStatus(goal_info=GoalInfo(goal_id=driver._client.ids[0]), status=EXECUTING)
        other._on_status(GoalStatusArray(status_list=[ours]))
        assert other.overruled is not None, "another controller's goals are not ours"

    def test_a_goal_that_another_cancels_is_told_once(self, node, driver):
        self.statuses(node, driver, (0, CANCELED))
        assert "cancelled by somebody else" in driver.overruled
        driver.stop()
        driver.resume()
        self.statuses(node, driver, (0, CANCELED))
        assert driver.overruled is None

    def test_everything_is_given_back(self, node, driver):
        driver.close()
        assert not node.subscriptions and driver._client.destroyed

    def test_a_goal_that_is_rejected_or_given_up_is(self, driver):
        self.answer(driver, accepted=False)
        assert "rejected" in driver.trouble
        driver.stop()
        driver.resume()
        assert driver.trouble is None

    def test_an_arm_that_did_not_follow_is(self, driver):
        self.answer(driver, code=driver._action.Result.PATH_TOLERANCE_VIOLATED, text="too far")
        assert driver.trouble.endswith("gave up a trajectory: too far")

    def test_after_a_stop_nothing_from_before_is_sent(self, driver):
        old, new = commands(15)[10:15], commands(10)
        for command in old:
            driver.send(command)
        driver.stop()
        driver.resume()
        for command in new:
            driver.send(command)
        first = driver._client.goals[-1].trajectory.points[0]
        assert list(first.positions) == new[0].position.tolist()


def test_positions_as_the_forward_command_controller_takes_them(node):
    driver = make_arm_driver("position", node, panda())
    assert node.publishers[0].topic == "forward_position_controller/commands"
    command = commands(8)[-1]
    driver.send(command)
    assert list(node.publishers[0].messages[0].data) == command.position.tolist()
    driver.stop()
    braked = [list(message.data) for message in node.publishers[0].messages[1:]]
    assert braked == [row.tolist() for row in command.brake_positions]


class TestServo:
    def test_twists(self, node):
        driver = make_arm_driver("servo", node, panda())
        command = commands(8)[-1]
        driver.send(command)
        message = node.publishers[0].messages[0]
        assert isinstance(message, TwistStamped) and message.header.frame_id == "panda_link0"
        assert message.twist.linear.x == pytest.approx(command.tool_twist[0]) and message.twist.linear.x > 0.05
        assert message.twist.angular.z == pytest.approx(command.tool_twist[5])
        assert message.header.stamp.sec > 0
        driver.stop()
        # A twist goes on until another one comes: it is brought down to zero, and zero is said.
        speeds = [message.twist.linear.x for message in node.publishers[0].messages]
        assert speeds[-1] == 0.0 and len(speeds) == 1 + len(command.brake_positions)
        assert np.abs(np.diff(speeds)).max() < 0.3 * speeds[0]

    def test_poses(self, node):
        driver = make_arm_driver("servo", node, robot(driver=DriverSection(servo_input="pose", name="/poses")))
        command = commands(8)[-1]
        driver.send(command)
        message = node.publishers[0].messages[0]
        assert isinstance(message, PoseStamped) and node.publishers[0].topic == "/poses"
        assert message.pose.position.x == pytest.approx(command.tool_position[0])
        assert message.pose.orientation.w == pytest.approx(command.tool_quaternion_xyzw[3])


class TestGuard:
    """Nothing leaves a driver that the guard does not let pass."""

    @pytest.fixture
    def driver(self, node):
        driver, arm = make_arm_driver("position", node, panda()), motion()
        driver.guard = arm.guard()
        driver.begin(arm.state.position)
        arm.move(FORWARD, 0.2)
        for _ in range(9):
            driver.send(arm.tick())
        self.arm, self.messages = arm, node.publishers[0].messages
        return driver

    def test_a_motion_passes(self, driver):
        assert len(self.messages) == 9 and driver.violation is None

    def test_what_does_not_pass_is_not_sent_and_the_brake_of_the_last_command_is_followed(self, driver):
        brake = driver._last.brake_positions
        command = self.arm.tick()
        driver.send(dataclasses.replace(command, position=command.position + 0.2))
        driver.stop()
        assert "speed limit" in driver.violation.text and driver.stopped
        assert [list(message.data) for message in self.messages[9:]] == [row.tolist() for row in brake]
        driver.send(command)
        assert len(self.messages) == 9 + len(brake)

    def test_a_new_stream_needs_a_beginning(self, driver):
        driver.stop()
        driver.resume()
        before = len(self.messages)
        driver.send(motion().tick())
        assert "without a beginning" in driver.violation.text and len(self.messages) == before
        driver.resume()
        driver.begin(motion().state.position)
        driver.send(motion().tick())
        assert driver.violation is None and len(self.messages) == before + 1

    def test_nothing_of_another_stream_is_sent_again(self, driver):
        """An arm that was moved by hand since must not be sent back by a stop or a re-arm."""
        driver.begin(motion().state.position + 0.1)
        before = len(self.messages)
        driver.resume()
        driver.begin(motion().state.position + 0.1)
        driver.stop()
        assert len(self.messages) == before

    def test_halting_does_not_wait_and_stopping_does(self, driver):
        last = driver._last
        driver.halt()
        driver.stop()
        assert list(self.messages[-1].data) == last.brake_positions[-1].tolist()

    def test_a_world_that_stands_still_is_answered_again(self, driver):
        driver.send(dataclasses.replace(driver._last, stamp_ns=9))
        assert driver.violation is None and len(self.messages) == 10


class TestInterbotix:
    section = DriverSection(name="/wx250s", group="arm")

    @pytest.fixture
    def installed(self, tmp_path, monkeypatch):
        """The message package as an installation of it looks."""
        share = tmp_path / "share" / "interbotix_xs_msgs" / "msg"
        share.mkdir(parents=True)
        (share / "JointGroupCommand.msg").write_text("string name\nfloat32[] cmd\n")
        (share / "JointSingleCommand.msg").write_text("string name\nfloat32 cmd\n")
        monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))

    def test_without_its_messages_the_package_is_named(self, node, monkeypatch):
        def missing(name):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        monkeypatch.setattr(base.importlib, "import_module", missing)
        with pytest.raises(ConfigError, match=r"needs the messages of interbotix_xs_msgs.*apt install ros-"):
            make_arm_driver("interbotix", node, robot(driver=self.section))

    def test_group_and_gripper(self, node, installed):
        fields = robot(
            driver=self.section,
            gripper=GripperSection(driver="interbotix", name="gripper", closed_target=0.015, open=0.037),
        )
        driver = make_arm_driver("interbotix", node, fields)
        gripper = make_gripper_driver(node, fields)
        command = commands(8)[-1]
        driver.send(command)
        group, single = node.publishers
        assert (group.topic, single.topic) == ("/wx250s/commands/joint_group", "/wx250s/commands/joint_single")
        assert group.messages[0].name == "arm"
        assert list(group.messages[0].cmd) == pytest.approx(command.position.tolist(), abs=1e-6)
        gripper.send(1.0)
        gripper.send(0.0)
        assert [(message.name, round(message.cmd, 4)) for message in single.messages] == [
            ("gripper", 0.037),
            ("gripper", 0.015),
        ]
        driver.stop()
        assert len(group.messages) == 1 + len(command.brake_positions)


class TestGrippers:
    def test_a_goal_per_change(self, node, monkeypatch):
        from magma_control.drivers import gripper_command

        monkeypatch.setattr(gripper_command, "ActionClient", FakeClient)
        gripper = make_gripper_driver(node, panda())
        gripper._client.ready = False
        gripper.send(1.0)
        gripper._client.ready = True
        for opening in (1.0, 1.0, 0.999, 0.0, 0.0, 0.5):
            gripper.send(opening)
        goals = gripper._client.goals
        assert gripper._client.name == "gripper_controller/gripper_cmd"
        assert [goal.command.position for goal in goals] == pytest.approx([0.04, -0.01, 0.015])
        assert goals[0].command.max_effort == 20.0
        gripper.forget()
        gripper.send(0.5)
        assert len(goals) == 4

    @pytest.mark.parametrize(
        ("accepted", "status", "stalled", "again"),
        [
            (False, None, False, True),
            (True, GoalStatus.STATUS_ABORTED, False, True),
            (True, GoalStatus.STATUS_ABORTED, True, False),
            (True, GoalStatus.STATUS_CANCELED, False, False),
            (True, GoalStatus.STATUS_SUCCEEDED, False, False),
        ],
        ids=["rejected", "given up", "holds something", "replaced", "done"],
    )
    def test_a_wish_that_is_not_taken_is_told_and_repeated(self, node, monkeypatch, accepted, status, stalled, again):
        from magma_control.drivers import gripper_action, gripper_command

        monkeypatch.setattr(gripper_command, "ActionClient", FakeClient)
        monkeypatch.setattr(gripper_action, "RETRY_S", 0.0)
        gripper = make_gripper_driver(node, panda())
        gripper.send(0.0)
        result = Future()
        gripper._client.answers[0].set_result(SimpleNamespace(accepted=accepted, get_result_async=lambda: result))
        if status is not None:
            result.set_result(
                SimpleNamespace(status=status, result=SimpleNamespace(stalled=stalled, reached_goal=False))
            )
        assert (gripper.trouble is not None) is again
        gripper.send(0.0)
        assert len(gripper._client.goals) == (2 if again else 1)

    def test_an_answer_to_an_older_wish_changes_nothing(self, node, monkeypatch):
        from magma_control.drivers import gripper_command

        monkeypatch.setattr(gripper_command, "ActionClient", FakeClient)
        gripper = make_gripper_driver(node, panda())
        gripper.send(0.0)
        gripper.send(1.0)
        gripper._client.answers[0].set_result(SimpleNamespace(accepted=False))
        gripper.send(1.0)
        assert gripper.trouble is None and len(gripper._client.goals) == 2

    def test_the_parallel_kind_names_its_joint(self, node, monkeypatch):
        from magma_control.drivers import parallel_gripper_command

        monkeypatch.setattr(parallel_gripper_command, "ActionClient", FakeClient)
        section = dataclasses.replace(panda().gripper, driver="parallel_gripper_command")
        gripper = make_gripper_driver(node, robot(gripper=section))
        gripper.send(0.0)
        command = gripper._client.goals[0].command
        assert (list(command.name), list(command.position)) == (["panda_finger_joint1"], [-0.01])
        assert list(command.effort) == [20.0]

    def test_by_position_once_somebody_listens(self, node):
        section = dataclasses.replace(panda().gripper, driver="position", name="/gripper/commands")
        gripper = make_gripper_driver(node, robot(gripper=section))
        publisher = node.publishers[0]
        publisher.subscribers = 0
        gripper.send(1.0)
        publisher.subscribers = 1
        gripper.send(1.0)
        assert [list(message.data) for message in publisher.messages] == [[0.04]]

    def test_none(self, node):
        make_gripper_driver(node, robot(gripper=dataclasses.replace(panda().gripper, driver="none"))).send(1.0)
        assert node.publishers == []


@pytest.mark.parametrize("kind", ["joint_trajectory", "position", "servo"])
def test_a_driver_that_is_closed_leaves_nothing_on_the_node(node, kind):
    driver = make_arm_driver(kind, node, panda())
    driver.send(commands(8)[-1])
    publisher = node.publishers[0]
    driver.close()
    assert node.publishers == [] and driver.stopped
    sent = len(publisher.messages)
    driver.send(commands(1)[0])
    assert len(publisher.messages) == sent


def test_a_gripper_that_is_closed_leaves_nothing_on_the_node(node, monkeypatch):
    from magma_control.drivers import gripper_command

    monkeypatch.setattr(gripper_command, "ActionClient", FakeClient)
    gripper = make_gripper_driver(node, panda())
    gripper.close()
    assert gripper._client.destroyed


def test_unknown_kinds(node):
    with pytest.raises(ConfigError, match="no arm driver 'rope'"):
        make_arm_driver("rope", node, panda())
    with pytest.raises(ConfigError, match="no gripper driver 'magnet'"):
        make_gripper_driver(node, SimpleNamespace(gripper=SimpleNamespace(driver="magnet")))
