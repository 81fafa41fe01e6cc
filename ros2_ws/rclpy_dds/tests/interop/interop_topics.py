"""Nodes with topics alone, which is what stacks on Cyclone DDS and on Fast DDS share. Runs unchanged on any rclpy.

`talk`: says ``ready``, publishes everything after a line on standard input, says ``done``, and ends after another line.
`hear`: says ``ready``, ends with ``done`` when everything has come byte for byte, and with an error after a minute.
"""

import array
import sys
import time

import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import String

PATIENCE_S = 60.0
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SMALL, LARGE = (2, 3), (480, 640)


def make_image(height: int, width: int) -> Image:
    """An rgb8 image of a pattern."""
    data = array.array("B", (index % 251 for index in range(height * width * 3)))
    image = Image(height=height, width=width, encoding="rgb8", step=width * 3, data=data)
    image.header.frame_id = "camera"
    image.header.stamp.sec, image.header.stamp.nanosec = 12, 345
    return image


def make_target() -> PoseStamped:
    target = PoseStamped()
    target.header.frame_id = "base"
    target.pose.position.x, target.pose.orientation.w = 0.25, 1.0
    return target


# Topic: type, quality of service, what is said.
TOPICS = {
    "words": (String, 10, String(data="hello, wörld")),
    "task": (String, LATCHED, String(data="put the carrot on the plate")),
    "target": (PoseStamped, 10, make_target()),
    "frames": (Image, qos_profile_sensor_data, make_image(*SMALL)),
    "large": (Image, 10, make_image(*LARGE)),
}


def make_node(name: str) -> Node:
    return Node(name, namespace="/topics", cli_args=[], enable_rosout=False, start_parameter_services=False)


def talk(names: list[str]) -> None:
    node = make_node("talker")
    publishers = {name: node.create_publisher(TOPICS[name][0], name, TOPICS[name][1]) for name in names}
    if "task" in publishers:
        publishers["task"].publish(TOPICS["task"][2])  # before anybody is there
    print("ready", flush=True)
    sys.stdin.readline()
    for name, publisher in publishers.items():
        if name != "task":
            publisher.publish(TOPICS[name][2])
    # From Fast DDS, which sends a heartbeat between the fragments, Cyclone DDS does not take a writer's first one.
    for _ in range(3 if "large" in publishers else 0):
        time.sleep(0.5)
        publishers["large"].publish(TOPICS["large"][2])
    print("done", flush=True)
    sys.stdin.readline()


def hear(names: list[str]) -> None:
    node = make_node("listener")
    heard: dict = {}
    for name in names:
        kind, quality, _ = TOPICS[name]
        node.create_subscription(kind, name, lambda message, name=name: heard.update({name: message}), quality)
    print("ready", flush=True)
    deadline = time.monotonic() + PATIENCE_S
    while len(heard) < len(names):
        if time.monotonic() > deadline:
            raise RuntimeError(f"heard only {sorted(heard)}")
        rclpy.spin_once(node, timeout_sec=0.1)
    for name, message in heard.items():
        if message != TOPICS[name][2]:
            raise RuntimeError(f"{name} came otherwise")
    print("done", flush=True)


def main() -> None:
    role, *names = sys.argv[1:]
    rclpy.init(args=[])
    (talk if role == "talk" else hear)(names or list(TOPICS))
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
