"""Plays a suite of the evaluator through the whole robot graph: simulator, camera, policy, controller.

ros2 launch magma_bringup simpler_eval.launch.py suite:=simpler-bridge policy:=expert
ros2 launch magma_bringup simpler_eval.launch.py suite:=tabletop policy:=magma-tiny clock:=realtime latency_ms:=200

The results are the evaluator's own: `magma-eval report OUT`. Everything ends with the last episode, or with a node.
"""

import os
import shlex
import sys
import time

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from magma_bringup.launching.launch_arguments import check_words
from magma_bringup.launching.namespaces import NONE, files_in_namespace, full_namespace
from magma_bringup.launching.simulated_tasks import first_task

ARGUMENTS = [
    DeclareLaunchArgument(
        "suite", default_value="simpler-bridge", description="A suite of `magma-eval list` whose tasks take no options."
    ),
    DeclareLaunchArgument(
        "tasks", default_value="", description="Tasks of the suite to play, with commas between them; empty = all."
    ),
    DeclareLaunchArgument(
        "limit", default_value="0", description="Play the first so many episodes of each task; 0 = all."
    ),
    DeclareLaunchArgument(
        "policy",
        default_value="magma-tiny",
        description="Name or folder of a checkpoint; ws://host:port of a policy server; expert, hold or random.",
    ),
    DeclareLaunchArgument(
        "device", default_value="auto", choices=["auto", "cuda", "cpu"], description="Where the policy runs."
    ),
    DeclareLaunchArgument(
        "clock",
        default_value="lockstep",
        choices=["lockstep", "realtime"],
        description="The world waits for the policy, or not.",
    ),
    DeclareLaunchArgument(
        "latency_ms", default_value="0", description="Real time: the policy answers so many milliseconds later."
    ),
    DeclareLaunchArgument(
        "image_size", default_value="", description="Camera of simpler-bridge: HEIGHTxWIDTH; empty = 128x128."
    ),
    DeclareLaunchArgument(
        "training", default_value="", description="How the policy was trained, for the report: in words."
    ),
    DeclareLaunchArgument("out", default_value="", description="Folder of the run; empty = runs/simpler_eval/<time>."),
    DeclareLaunchArgument(
        "step_timeout_s", default_value="60.0", description="Give up when no step comes for so many seconds."
    ),
    DeclareLaunchArgument("config", default_value="", description="YAML file with parameters of any node."),
    DeclareLaunchArgument(
        "namespace",
        default_value="",
        description="Namespace of every node, such as left, beside another robot's graph.",
    ),
]


def evaluation(context):
    def value(name):
        return LaunchConfiguration(name).perform(context).strip()

    check_words(sys.argv, __file__, [argument.name for argument in ARGUMENTS])
    if value("clock") == "lockstep" and float(value("latency_ms")):
        raise RuntimeError("in lock-step the world waits, so latency_ms means nothing: use clock:=realtime")
    namespace = full_namespace(value("namespace"), context.launch_configurations.get("ros_namespace") or "")
    tasks = [task.strip() for task in value("tasks").split(",") if task.strip()]
    try:
        first = first_task(value("suite"), tasks)
    except ValueError as error:
        raise RuntimeError(str(error)) from None
    out = value("out") or os.path.join("runs", "simpler_eval", time.strftime("%Y%m%d-%H%M%S"))
    # Nodes may be started in another folder.
    out = os.path.abspath(out)
    share = get_package_share_directory("magma_bringup")
    robot = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(os.path.join(share, "launch", "robot.launch.py")),
        launch_arguments={
            "task": first,
            "policy": value("policy"),
            "device": value("device"),
            "clock": value("clock"),
            "latency_ms": value("latency_ms"),
            "image_size": value("image_size"),
            "config": value("config"),
            "namespace": namespace,
            "records": os.path.join(out, "episodes"),
            "after_episode": "stop",
            "instruction": "none",
            "end_with_node": "true",
        }.items(),
    )
    runner = Node(
        package="magma_bringup",
        executable="episode_runner",
        name="episode_runner",
        namespace=namespace if namespace != NONE else None,
        output="screen",
        parameters=[
            {
                "suite": value("suite"),
                **({"suite_tasks": tasks} if tasks else {}),
                "suite_limit": int(value("limit")),
                "clock": value("clock"),
                "policy": value("policy"),
                "arm": "sim_delta",
                "teleop": "none",
                "latency_ms": float(value("latency_ms")),
                "training": value("training"),
                "command": shlex.join(["ros2", *sys.argv[1:]]),
                "out": out,
                "videos": False,
                "step_timeout_s": float(value("step_timeout_s")),
            },
            *files_in_namespace([value("config")] if value("config") else [], namespace),
        ],
        on_exit=Shutdown(reason="the evaluation has ended"),
    )
    return [robot, runner]


def generate_launch_description():
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=evaluation)])
