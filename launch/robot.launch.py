"""The whole robot: camera, policy, controller, and the simulator when there is no arm.

ros2 launch magma_bringup robot.launch.py
ros2 launch magma_bringup robot.launch.py policy:=expert instruction:="put the spoon on the towel"
ros2 launch magma_bringup robot.launch.py sim:=none camera:=/dev/video0 policy:=/data/my-checkpoint
ros2 launch magma_bringup robot.launch.py namespace:=left
ros2 launch magma_bringup robot.launch.py console:=true
"""

import os
import shutil
import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from magma_bringup.launching.domain import check_alone, domain_id
from magma_bringup.launching.launch_arguments import check_words
from magma_bringup.launching.namespaces import NONE, files_in_namespace, full_namespace
from magma_bringup.launching.parameter_file import check_parameter_file
from magma_bringup.launching.simulated_tasks import parameter_files, robot_of
from magma_bringup.launching.slow_policies import waiting_bounds
from magma_common.process.node_main import EXIT_CONFIGURATION

SCRIPTED = ("expert", "hold", "random")
POLICY_NOT_LOADED = 1
"""Exit status of the policy node."""
DEVICES = ("gamepad", "spacemouse", "leader")

ARGUMENTS = [
    DeclareLaunchArgument(
        "namespace",
        default_value="",
        description="Namespace of every node, such as left: each of several arms in one graph has its own.",
    ),
    DeclareLaunchArgument(
        "frame_prefix",
        default_value="auto",
        description="Before the names of frames in /tf; auto = the namespace and a slash, none = nothing.",
    ),
    DeclareLaunchArgument(
        "sim", default_value="tabletop", choices=["tabletop", "none"], description="Simulated camera and arm, or none."
    ),
    DeclareLaunchArgument(
        "task",
        default_value="carrot_on_plate",
        description="Simulated task, of the suites tabletop or simpler-bridge; `./run demo --help` lists them.",
    ),
    DeclareLaunchArgument(
        "variant", default_value="eval", choices=["eval", "random"], description="Set of layouts of the simulated task."
    ),
    DeclareLaunchArgument("layout", default_value="0", description="Number of the layout."),
    DeclareLaunchArgument(
        "clock",
        default_value="lockstep",
        choices=["lockstep", "realtime"],
        description="Simulation: wait for each command, or go on in real time.",
    ),
    DeclareLaunchArgument(
        "after_episode",
        default_value="continue",
        choices=["continue", "stop", "reset"],
        description="Simulation after success or the last step: go on, stand still, or begin the next layout.",
    ),
    DeclareLaunchArgument(
        "success_hold_steps",
        default_value="0",
        description="Simulation: end an episode when the goal held at so many steps in a row; 0 = play all steps.",
    ),
    DeclareLaunchArgument(
        "image_size",
        default_value="",
        description="Simulated camera of the tasks of simpler-bridge: HEIGHTxWIDTH, such as 480x640; empty = 128x128.",
    ),
    DeclareLaunchArgument(
        "records",
        default_value="",
        description="Simulation: folder for what was executed in each episode; empty = none.",
    ),
    DeclareLaunchArgument(
        "latency_ms", default_value="0", description="Experiment: the policy answers so many milliseconds later."
    ),
    DeclareLaunchArgument(
        "task_server",
        default_value="false",
        choices=["false", "true"],
        description="Simulation: serve the action magma/execute_task.",
    ),
    DeclareLaunchArgument(
        "end_with_node",
        default_value="false",
        choices=["false", "true"],
        description="Whether the whole graph ends when one of its nodes ends.",
    ),
    DeclareLaunchArgument(
        "policy",
        default_value="magma-tiny",
        description="Name or folder of a checkpoint, with magma: before it or not; ws://host:port, "
        "openpi://host:port?model=FILE or vla-eval://host:port?model=FILE of a policy server; expert, hold or random; "
        "none = only the operator moves the arm.",
    ),
    DeclareLaunchArgument(
        "device", default_value="auto", choices=["auto", "cuda", "cpu"], description="Where the policy runs."
    ),
    DeclareLaunchArgument(
        "control",
        default_value="none",
        choices=["none", "blind", "deaf"],
        description="Control experiment: a policy that cannot see, or one that cannot read.",
    ),
    DeclareLaunchArgument(
        "instruction",
        default_value="",
        description="First instruction; empty = the simulated task's own; none = wait for one on magma/instruction.",
    ),
    DeclareLaunchArgument(
        "teleop",
        default_value="none",
        choices=["none", "keyboard", *DEVICES, "scripted"],
        description="Operator's device: keyboard opens a terminal window; the others listen to their drivers' topics; "
        "scripted = in simulation the expert corrects the policy.",
    ),
    DeclareLaunchArgument(
        "record", default_value="none", description="Folder to record everything into; none = do not record."
    ),
    DeclareLaunchArgument(
        "grounding",
        default_value="none",
        description="Model that points, for clicks and phrases: kosmos2: and the folder or name of a checkpoint, or "
        "ws://host:port of a magma-serve that serves one; none = no services.",
    ),
    DeclareLaunchArgument(
        "view",
        default_value="none",
        description="Port on 127.0.0.1 for a page with the camera's picture and the controller's state, such as 8088.",
    ),
    DeclareLaunchArgument(
        "console",
        default_value="false",
        choices=["false", "true"],
        description="The operator's page in the browser, whose address is printed; docs/console.md.",
    ),
    DeclareLaunchArgument(
        "console_port",
        default_value="0",
        description="Port of that page; 0 = the first free one from 8090 on, so that each of several arms has one.",
    ),
    DeclareLaunchArgument(
        "foxglove",
        default_value="false",
        choices=["false", "true"],
        description="Serve the live graph to the Foxglove app on 127.0.0.1, for reading, with markers of what the "
        "robot means to do; by foxglove_bridge where a ROS 2 has it. A layout for it: launch/foxglove_layout.json.",
    ),
    DeclareLaunchArgument("foxglove_port", default_value="8765", description="Port for the Foxglove app."),
    DeclareLaunchArgument(
        "arm",
        default_value="sim_delta",
        choices=["sim_delta", "joint_trajectory", "follow_joint_trajectory", "position", "servo", "interbotix"],
        description="Driver of the arm: sim_delta takes end-effector deltas; the others are told joint by joint.",
    ),
    DeclareLaunchArgument(
        "robot", default_value="", description="Joint-level arms: name or YAML file of the robot; simulation: panda."
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="true",
        choices=["true", "false"],
        description="Whether the controller, a lifecycle node, configures and activates itself; false: a lifecycle "
        "manager does, or `ros2 lifecycle set /controller configure` and `activate`.",
    ),
    DeclareLaunchArgument(
        "camera",
        default_value="none",
        description="Camera to open without a driver of its own: 0, /dev/video0, a video file or a stream's URL.",
    ),
    DeclareLaunchArgument(
        "camera_topic",
        default_value="camera/image_raw",
        description="Where the camera's driver publishes; without a slash in front: in the namespace.",
    ),
    DeclareLaunchArgument(
        "config", default_value="", description="YAML file with parameters of any node; goes before the defaults."
    ),
]


def terminal():
    """Command that opens a terminal window: launched nodes have no keyboard of their own."""
    program = next((name for name in ("xterm", "x-terminal-emulator") if shutil.which(name)), None)
    if program is None or not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise RuntimeError(
            "teleop:=keyboard opens a terminal window, and there is no xterm or no display here; "
            "run `ros2 run magma_teleop keyboard_teleop` in a second terminal instead"
        )
    return program + " -e"


def is_installed(package):
    """Whether the ROS 2 in use has a package."""
    try:
        get_package_share_directory(package)
    except PackageNotFoundError:
        return False
    return True


def robot_file(value, simulated):
    """The arm's file or name; empty where nobody says, and the arm is no simulated one."""
    return value("robot") or ("panda" if simulated else "")


def joint_level_arm(value, simulated):
    """Parameters of the controller for an arm that is told joint by joint."""
    robot = robot_file(value, simulated)
    if not robot:
        raise RuntimeError(f"arm:={value('arm')} needs robot:=NAME or robot:=FILE.yaml; see docs/own_arm.md")
    if simulated and value("arm") not in ("joint_trajectory", "follow_joint_trajectory"):
        raise RuntimeError(f"the simulated arm takes trajectories; arm:={value('arm')} needs sim:=none")
    waits = simulated and value("clock") == "lockstep"
    if waits and value("arm") != "joint_trajectory":
        raise RuntimeError(f"a world that waits takes trajectories by topic; arm:={value('arm')} needs clock:=realtime")
    return {"arm": value("arm"), "robot": robot, "tick_source": "joint_states" if waits else "clock"}


def image_size(text):
    """Parameter of the simulator from HEIGHTxWIDTH; none when empty."""
    if not text:
        return {}
    height, cross, width = text.partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise RuntimeError(f"image_size:={text} is not HEIGHTxWIDTH, such as 480x640")
    return {"image_size": [int(height), int(width)]}


def number(name, text, kind=int):
    """An argument that is a number."""
    try:
        return kind(text)
    except ValueError:
        raise RuntimeError(f"{name}:={text} is not a {'whole ' if kind is int else ''}number") from None


def when_it_ends(name, ends_all):
    """What the launch does when a node ends: one that refuses its settings would leave the others waiting for it."""
    refusals = (POLICY_NOT_LOADED, EXIT_CONFIGURATION) if name == "policy" else (EXIT_CONFIGURATION,)

    def act(event, context):
        if event.returncode in refusals and not context.is_shutdown:
            raise RuntimeError(f"{name} cannot run with what it was given; it says why above")
        return [Shutdown(reason=f"the {name} node has ended")] if ends_all else None

    return act


def robot(context):
    """Nodes for the arguments given; an error when they contradict each other or another graph runs here."""

    def value(name):
        return LaunchConfiguration(name).perform(context).strip()

    check_words(sys.argv, __file__, [argument.name for argument in ARGUMENTS])
    domain_id()  # before any node stumbles over it
    namespace = full_namespace(value("namespace"), context.launch_configurations.get("ros_namespace") or "")
    simulated = value("sim") != "none"
    camera = value("camera")
    if simulated and camera != "none":
        raise RuntimeError(f"the simulator is the camera: camera:={camera} needs sim:=none")
    share = get_package_share_directory("magma_bringup")
    defaults = f"{value('clock')}.yaml" if simulated else "robot.yaml"
    files = [os.path.join(share, "config", defaults)]
    if simulated:
        files += map(str, parameter_files(value("task"), Path(share, "config")))
    built_in = len(files)
    if value("config"):
        check_parameter_file(Path(value("config")), namespace)
        files.append(value("config"))
    files = files_in_namespace(files, namespace)
    prefix = {"frame_prefix": "" if value("frame_prefix") == "none" else value("frame_prefix")}

    names = []

    def node(package, executable, name=None, parameters=None, **rest):
        # A file given by the user stands after the arguments: the last definition counts.
        settings = [*files[:built_in], *([parameters] if parameters else []), *files[built_in:]]
        name = name or executable
        names.append(name)
        ended = when_it_ends(name, value("end_with_node") == "true")
        return Node(
            package=package,
            executable=executable,
            name=name,
            namespace=namespace if namespace != NONE else None,
            parameters=settings,
            on_exit=ended,
            **rest,
        )

    topic = value("camera_topic")
    arm = joint_level_arm(value, simulated) if value("arm") != "sim_delta" else {}
    latency_ms = number("latency_ms", value("latency_ms"), float)
    # A world that waits for the policy has bounds of its own.
    bounds = waiting_bounds(latency_ms) if latency_ms and not (simulated and value("clock") == "lockstep") else {}
    controller = {"autostart": value("autostart") == "true", **arm, **bounds}
    from_camera = [("camera/image_raw", topic), ("camera/image_raw/compressed", topic + "/compressed")]
    nodes = [
        node("magma_camera", "camera_subscriber", remappings=from_camera),
        node("magma_control", "controller", parameters=controller),
        node("magma_bringup", "instruction_keeper", parameters={"instruction": value("instruction")}),
    ]
    if simulated:
        world = {
            "task": value("task"),
            "variant": value("variant"),
            "layout": number("layout", value("layout")),
            "after_episode": value("after_episode"),
            "success_hold_steps": number("success_hold_steps", value("success_hold_steps")),
            "record": value("records"),
            **image_size(value("image_size")),
            **prefix,
        }
        program = "joint_simulator" if arm else "simulator"
        nodes.append(node("magma_sim_ros", program, "simulator", parameters=world, remappings=from_camera))
        if value("task_server") == "true":
            nodes.append(node("magma_bringup", "task_server"))
    elif camera != "none":
        nodes.append(node("magma_camera", "camera_source", parameters={"device": camera}, remappings=from_camera))
    policy = value("policy")
    if policy in SCRIPTED:
        if not simulated and policy == "expert":
            raise RuntimeError("policy:=expert needs sim:=tabletop, which knows where the objects are")
        if value("control") != "none":
            raise RuntimeError(f"control:={value('control')} is for policies that see and read; {policy} does neither")
        settings = {"kind": policy, "injected_latency_ms": latency_ms, **prefix}
        nodes.append(node("magma_sim_ros", "scripted_policy", parameters=settings))
    elif policy != "none":
        settings = {
            "checkpoint": policy,
            "task_robot": robot_of(value("task")) if simulated else "",
            "device": value("device"),
            "control": value("control"),
            "injected_latency_ms": latency_ms,
        }
        nodes.append(node("magma_policy_ros", "policy", parameters=settings))
    if value("grounding") != "none":
        settings = {"model": value("grounding"), "device": value("device")}
        nodes.append(node("magma_grounding_ros", "grounding", parameters=settings))
    device = value("teleop")
    if device == "keyboard":
        nodes.append(node("magma_teleop", "keyboard_teleop", prefix=terminal()))
    elif device == "scripted":
        if not simulated:
            raise RuntimeError("teleop:=scripted needs sim:=tabletop, which knows where the objects are")
        nodes.append(node("magma_sim_ros", "scripted_operator", parameters=prefix))
    elif device != "none":
        program = "leader_teleop" if device == "leader" else "joy_teleop"
        joy = [("joy", "spacenav/joy")] if device == "spacemouse" else []
        nodes.append(node("magma_teleop", program, parameters={"profile": device, **prefix}, remappings=joy))
    if value("record") != "none":
        recorded = {"directory": value("record")}
        nodes.append(node("magma_recorder", "recorder", parameters=recorded, remappings=from_camera))
    if value("view") != "none":
        settings = {"port": number("view", value("view"))}
        nodes.append(node("magma_bringup", "live_view", parameters=settings, remappings=from_camera))
    if value("console") == "true":
        port = number("console_port", value("console_port"))
        settings = {"port": port, "robot": robot_file(value, simulated), **prefix}
        # The address is for whoever started the launch: on the terminal, and with its token in no file.
        told = {"stdout": "screen", "stderr": {"screen", "log"}}
        nodes.append(node("magma_console", "console", parameters=settings, remappings=from_camera, output=told))
    if value("foxglove") == "true":
        port = number("foxglove_port", value("foxglove_port"))
        nodes.append(node("magma_console", "markers", parameters=prefix))
        if is_installed("foxglove_bridge"):
            # Reading alone: whoever reaches the port could otherwise publish commands.
            settings = {"address": "127.0.0.1", "port": port, "capabilities": ["connectionGraph"]}
            bridge = "foxglove_bridge"
            nodes.append(Node(package=bridge, executable=bridge, name=bridge, parameters=[settings]))
        else:
            nodes.append(node("magma_recorder", "foxglove_server", parameters={"port": port}))
    check_alone(names, namespace)
    return nodes


def generate_launch_description():
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=robot)])
