"""Two nodes with a life cycle, and the less common actions. Runs on ROS 2's launch and on rclpy_dds' alike."""

import asyncio
import sys

from launch import LaunchDescription
from launch.actions import (
    EmitEvent,
    GroupAction,
    LogInfo,
    OpaqueCoroutine,
    RegisterEventHandler,
    ResetEnvironment,
    SetEnvironmentVariable,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessStart
from launch.events import IncludeLaunchDescription
from launch.substitutions import EnvironmentVariable
from launch_ros.actions import LifecycleNode, LifecycleTransition, ROSTimer, SetParameter, SetROSLogDir
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.events.matchers import matches_node_name
from launch_ros.substitutions import Parameter
from lifecycle_msgs.msg import Transition

NODE = """
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import Node, TransitionCallbackReturn

class Managed(Node):
    def on_configure(self, state):
        print("configuring", flush=True)
        return TransitionCallbackReturn.SUCCESS

rclpy.init()
try:
    rclpy.spin(Managed("managed"))
except (KeyboardInterrupt, ExternalShutdownException):
    pass
"""
reached: list = []


def managed(name: str) -> LifecycleNode:
    return LifecycleNode(
        executable=sys.executable,
        arguments=["-c", NODE],
        name=name,
        namespace="/lab",
        exec_name=name,
        output="screen",
    )


def change(name: str, transition: int) -> EmitEvent:
    return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_node_name(name), transition_id=transition))


async def coroutine(context, text: str) -> None:
    await asyncio.sleep(0.01)
    context.launch_configurations["text"] = text
    print(f"a coroutine with {text}", flush=True)


def generate_launch_description() -> LaunchDescription:
    arm, wrist = managed("arm"), managed("wrist")

    def both_active(event, context):
        reached.append(event.action.node_name)
        return Shutdown(reason="both are active") if len(reached) == 2 else None

    return LaunchDescription(
        [
            SetEnvironmentVariable("LAUNCH_TEST_VARIABLE", "set"),
            ResetEnvironment(),
            LogInfo(msg=["the variable is ", EnvironmentVariable("LAUNCH_TEST_VARIABLE", default_value="unset")]),
            GroupAction(
                [
                    SetParameter("gripper", 0.5),
                    LogInfo(
                        msg=["the gripper is ", Parameter("gripper"), " of ", Parameter("range", default="unknown")]
                    ),
                    SetROSLogDir("below"),
                    LogInfo(msg=["log directory ends in ", EnvironmentVariable("ROS_LOG_DIR")]),
                ]
            ),
            EmitEvent(
                event=IncludeLaunchDescription(LaunchDescription([LogInfo(msg="included by an event")])),
            ),
            OpaqueCoroutine(coroutine=coroutine, args=["an argument"]),
            ROSTimer(period=0.1, actions=[LogInfo(msg="the timer by ROS time has elapsed")]),
            arm,
            wrist,
            RegisterEventHandler(
                OnStateTransition(
                    target_lifecycle_node=arm,
                    goal_state="inactive",
                    entities=[
                        LogInfo(msg="arm is inactive"),
                        change("/lab/arm", Transition.TRANSITION_ACTIVATE),
                    ],
                )
            ),
            RegisterEventHandler(
                OnStateTransition(
                    target_lifecycle_node=arm, goal_state="active", entities=[LogInfo(msg="arm is active")]
                )
            ),
            RegisterEventHandler(
                OnStateTransition(
                    target_lifecycle_node=wrist, goal_state="active", entities=[LogInfo(msg="wrist is active")]
                )
            ),
            RegisterEventHandler(OnProcessStart(target_action=arm, on_start=[change("lab/arm", 1)])),
            LifecycleTransition(
                lifecycle_node_names=["/lab/wrist"],
                transition_ids=[Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE],
            ),
            RegisterEventHandler(_OnActive(both_active)),
            TimerAction(period=60.0, actions=[Shutdown(reason="it took too long")]),
        ]
    )


class _OnActive(OnStateTransition):
    """Calls a function for every node that has become active."""

    def __init__(self, function) -> None:
        super().__init__(goal_state="active", entities=[])
        self._active_function = function

    def handle(self, event, context):
        super().handle(event, context)
        return self._active_function(event, context)
