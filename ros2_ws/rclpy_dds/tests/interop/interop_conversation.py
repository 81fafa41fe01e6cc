"""Nodes that use everything rclpy puts on the wire, in a fixed order. Runs unchanged on rclpy_dds and on ROS 2.

It says ``ready`` when all endpoints exist, holds the conversation after a line on standard input, says ``done``, and
ends after another line. With the argument ``robot`` it only serves, with ``operator`` it only asks, so that the two
sides can run on different stacks.
"""

import sys
import threading
import time

import rclpy
from action_msgs.srv import CancelGoal
from example_interfaces.action import Fibonacci
from example_interfaces.srv import AddTwoInts
from geometry_msgs.msg import PoseStamped
from interop_topics import make_image
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, GetParameterTypes, ListParameters, SetParameters
from rclpy.action import ActionClient, ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import Node as LifecycleNode
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import String
from unique_identifier_msgs.msg import UUID

PATIENCE_S = 60.0
GOAL_ID = UUID(uuid=list(range(1, 17)))
CANCELLED_GOAL_ID = UUID(uuid=list(range(101, 117)))
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Robot(Node):
    """The serving side."""

    def __init__(self) -> None:
        super().__init__("robot", namespace="/golden", cli_args=[])
        group = ReentrantCallbackGroup()
        self.declare_parameter("speed", 0.5)
        self.declare_parameter("joints", ["a", "b"])
        self.words = self.create_publisher(String, "words", 10)
        self.frames = self.create_publisher(Image, "frames", qos_profile_sensor_data)
        self.task = self.create_publisher(String, "task", LATCHED)
        self.create_subscription(PoseStamped, "target", lambda _: None, 10)
        self.create_service(AddTwoInts, "add", self.add, callback_group=group)
        self.cancelling = threading.Event()
        self.server = ActionServer(
            self,
            Fibonacci,
            "count",
            self.count,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=group,
        )

    def add(self, request, response):
        response.sum = request.a + request.b
        return response

    def count(self, goal: ServerGoalHandle):
        sequence = [0, 1]
        for _ in range(1, goal.request.order):
            sequence.append(sequence[-1] + sequence[-2])
        goal.publish_feedback(Fibonacci.Feedback(sequence=sequence))
        if bytes(goal.goal_id.uuid) == bytes(CANCELLED_GOAL_ID.uuid):
            while not goal.is_cancel_requested:
                self.cancelling.wait(0.01)
            goal.canceled()
        else:
            goal.succeed()
        return Fibonacci.Result(sequence=sequence)


class Arm(LifecycleNode):
    """The node with a life cycle."""

    def __init__(self) -> None:
        super().__init__("arm", namespace="/golden", cli_args=[])

    def on_configure(self, state):
        return TransitionCallbackReturn.SUCCESS


class Operator(Node):
    """The asking side."""

    def __init__(self) -> None:
        super().__init__("operator", namespace="/golden", cli_args=[])
        self.target = self.create_publisher(PoseStamped, "target", 10)
        self.heard: dict = {}
        self.create_subscription(String, "words", lambda message: self.heard.update(words=message.data), 10)
        self.create_subscription(String, "task", lambda message: self.heard.update(task=message.data), LATCHED)
        self.adder = self.create_client(AddTwoInts, "add")
        self.counter = ActionClient(self, Fibonacci, "count")
        self.ask = {
            (owner, name): self.create_client(kind, f"{owner}/{name}")
            for owner, name, kind in (
                ("robot", "list_parameters", ListParameters),
                ("robot", "describe_parameters", DescribeParameters),
                ("robot", "get_parameters", GetParameters),
                ("robot", "get_parameter_types", GetParameterTypes),
                ("robot", "set_parameters", SetParameters),
                ("arm", "get_state", GetState),
                ("arm", "change_state", ChangeState),
                ("arm", "get_available_states", GetAvailableStates),
                ("arm", "get_available_transitions", GetAvailableTransitions),
            )
        }


def finished(future):
    """Wait for a future that an executor in another thread completes."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(PATIENCE_S):
        raise RuntimeError("no answer")
    return future.result()


def call(client, request):
    if not client.wait_for_service(PATIENCE_S):
        raise RuntimeError(f"no service {client.srv_name}")
    return finished(client.call_async(request))


def tell(robot: Robot, image: Image) -> None:
    robot.words.publish(String(data="hello, wörld"))
    robot.task.publish(String(data=""))
    robot.frames.publish(image)


def listen(operator: Operator) -> None:
    """Wait for every topic of the robot and check what comes."""
    frames = []
    operator.create_subscription(Image, "frames", frames.append, qos_profile_sensor_data)
    deadline = time.monotonic() + PATIENCE_S
    while not (frames and len(operator.heard) == 2):
        if time.monotonic() > deadline:
            raise RuntimeError(f"heard only {operator.heard} and {len(frames)} frames")
        time.sleep(0.02)
    expected = make_image(frames[0].height, frames[0].width)
    if operator.heard != {"words": "hello, wörld", "task": ""} or bytes(frames[0].data) != bytes(expected.data):
        raise RuntimeError(f"heard something else: {operator.heard}")
    frames[0].data = expected.data
    if frames[0] != expected:
        raise RuntimeError("the frame differs")


def converse(operator: Operator) -> None:
    pose = PoseStamped()
    pose.pose.position.x, pose.pose.orientation.w = 0.25, 1.0
    operator.target.publish(pose)
    call(operator.adder, AddTwoInts.Request(a=2, b=-3))
    call(operator.adder, AddTwoInts.Request(a=1 << 40, b=1))

    ask = operator.ask
    names = ["speed", "joints"]
    call(ask["robot", "list_parameters"], ListParameters.Request(prefixes=["speed"], depth=1))
    call(ask["robot", "describe_parameters"], DescribeParameters.Request(names=names))
    call(ask["robot", "get_parameters"], GetParameters.Request(names=names))
    call(ask["robot", "get_parameter_types"], GetParameterTypes.Request(names=names))
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=1.5)
    call(ask["robot", "set_parameters"], SetParameters.Request(parameters=[Parameter(name="speed", value=value)]))

    if not operator.counter.wait_for_server(PATIENCE_S):
        raise RuntimeError("no action server")
    goal = finished(operator.counter.send_goal_async(Fibonacci.Goal(order=4), goal_uuid=GOAL_ID))
    finished(goal.get_result_async())
    goal = finished(operator.counter.send_goal_async(Fibonacci.Goal(order=2), goal_uuid=CANCELLED_GOAL_ID))
    answer = finished(goal.cancel_goal_async())
    if answer.return_code != CancelGoal.Response.ERROR_NONE:
        raise RuntimeError(f"cancelling failed with {answer.return_code}")
    finished(goal.get_result_async())

    call(ask["arm", "get_state"], GetState.Request())
    call(ask["arm", "get_available_states"], GetAvailableStates.Request())
    call(ask["arm", "get_available_transitions"], GetAvailableTransitions.Request())
    change = ChangeState.Request()
    change.transition.id, change.transition.label = 1, "configure"
    call(ask["arm", "change_state"], change)
    call(ask["arm", "get_state"], GetState.Request())


def main() -> None:
    sides = sys.argv[1:] or ["robot", "operator"]
    rclpy.init(args=[])
    robot = Robot() if "robot" in sides else None
    nodes = [robot, Arm()] if robot is not None else []
    operator = Operator() if "operator" in sides else None
    nodes += [operator] if operator is not None else []
    executor = MultiThreadedExecutor(4)
    for node in nodes:
        executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    if robot is not None and operator is not None:
        tell(robot, make_image(2, 3))
    elif robot is not None:
        image = make_image(480, 640)
        robot.create_timer(0.1, lambda: tell(robot, image))
    elif operator is not None:
        listen(operator)
    if operator is not None:
        converse(operator)
    print("done", flush=True)
    sys.stdin.readline()
    executor.shutdown()
    thread.join(5.0)
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
