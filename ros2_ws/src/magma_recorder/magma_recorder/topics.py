"""What is recorded: topics, their types, and how each is treated.

Topics are known by the names that they have in no namespace, and recorded under those that they have in the graph: in a
recording of the namespace `/left` what is known as `/magma/command` is `/left/magma/command`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

LATCHED_QOS = """\
- history: 1
  depth: 1
  reliability: 1
  durability: 1
  deadline: {sec: 9223372036, nsec: 854775807}
  lifespan: {sec: 9223372036, nsec: 854775807}
  liveliness: 1
  liveliness_lease_duration: {sec: 9223372036, nsec: 854775807}
  avoid_ros_namespace_conventions: false
"""
"""The profile of a latched topic as rosbag2 writes it up to metadata version 8, so that playing it back latches it
again: numbers of rmw (keep last, reliable, transient local, automatic), which Humble needs and later ones still
read."""


@dataclass(frozen=True)
class Topic:
    """One recorded topic."""

    name: str
    """by which it is known"""
    type_name: str
    latched: bool = False
    """late joiners get the last message (transient local)"""
    best_effort: bool = False
    """published best effort, so that it can only be received so"""
    stamped: bool = True
    """the message begins with a std_msgs/Header"""
    picture: bool = False
    """a raw sensor_msgs/Image: compressed before it is written"""
    namespace: str = ""
    """of the robot that it is about, such as /left; empty = none, or the whole graph's"""

    def of_robot(self, namespace: str) -> Topic:
        """The same topic of the robot in that namespace; one that the robots of a graph share stays as it is."""
        return self if self.name in GLOBAL else replace(self, namespace=namespace)

    @property
    def known_name(self) -> str:
        """The name by which it is known in a recording; pictures are written as image_transport names compressed
        ones."""
        return self.name + "/compressed" if self.picture else self.name

    @property
    def recorded_name(self) -> str:
        """Its name in the recording."""
        return self.namespace + self.known_name

    @property
    def recorded_type(self) -> str:
        return "sensor_msgs/msg/CompressedImage" if self.picture else self.type_name


CAMERA = "/camera/image_raw"
FRAME = "/magma/frame"
INSTRUCTION = "/magma/instruction"
"""What was asked for; in recordings without INSTRUCTION_IN_FORCE also what was in force."""
INSTRUCTION_IN_FORCE = "/magma/instruction_in_force"
ACTION_SPEC = "/magma/action_spec"
ACTION_CHUNK = "/magma/action_chunk"
COMMAND = "/magma/command"
TELEOP_COMMAND = "/teleop/command"
TELEOP_STATUS = "/teleop/status"
END_EFFECTOR_STATE = "/magma/end_effector_state"
CONTROLLER_STATE = "/magma/controller_state"
JOURNAL = "/magma/controller_journal"
EPISODE_STATUS = "/magma/episode_status"
CAMERA_INFO = "/camera/camera_info"
TRANSFORMS = "/tf"
TRANSFORMS_STATIC = "/tf_static"
EPISODE_TAG = "/magma/episode_tag"
"""What a person said about an episode: success, failure, a note."""
INTERVENTIONS = "/magma/interventions"
"""Written by the recorder itself; nobody publishes it."""
INTERVENTION_TYPE = "magma_interfaces/msg/Intervention"

TOPICS = (
    Topic(CAMERA, "sensor_msgs/msg/Image", best_effort=True, picture=True),
    Topic(CAMERA_INFO, "sensor_msgs/msg/CameraInfo", best_effort=True),
    Topic(FRAME, "sensor_msgs/msg/Image", best_effort=True, picture=True),
    # Requests come also from publishers that keep nothing for latecomers.
    Topic(INSTRUCTION, "std_msgs/msg/String", stamped=False),
    Topic(INSTRUCTION_IN_FORCE, "magma_interfaces/msg/Instruction", latched=True),
    Topic(ACTION_SPEC, "magma_interfaces/msg/ActionSpec", latched=True, stamped=False),
    Topic(ACTION_CHUNK, "magma_interfaces/msg/ActionChunk"),
    Topic(TELEOP_COMMAND, "magma_interfaces/msg/EndEffectorDelta"),
    Topic(TELEOP_STATUS, "magma_interfaces/msg/TeleopStatus"),
    Topic(EPISODE_TAG, "magma_interfaces/msg/EpisodeTag"),
    Topic(COMMAND, "magma_interfaces/msg/EndEffectorDelta"),
    Topic(CONTROLLER_STATE, "magma_interfaces/msg/ControllerState", latched=True),
    Topic(JOURNAL, "magma_interfaces/msg/ControllerJournal", latched=True),
    Topic(END_EFFECTOR_STATE, "magma_interfaces/msg/EndEffectorState"),
    Topic(EPISODE_STATUS, "magma_interfaces/msg/EpisodeStatus", latched=True),
    Topic("/joint_states", "sensor_msgs/msg/JointState"),
    Topic("/joint_trajectory_controller/joint_trajectory", "trajectory_msgs/msg/JointTrajectory"),
    Topic(TRANSFORMS, "tf2_msgs/msg/TFMessage", stamped=False),
    Topic(TRANSFORMS_STATIC, "tf2_msgs/msg/TFMessage", latched=True, stamped=False),
    Topic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray"),
    Topic("/rosout", "rcl_interfaces/msg/Log", latched=True, stamped=False),
)
"""Everything that our graph says. A topic that nobody publishes costs nothing."""

SHOWN_TOO = (
    Topic("/magma/detections", "vision_msgs/msg/Detection2DArray", latched=True),
    Topic("/magma/image_marker", "visualization_msgs/msg/ImageMarker", latched=True),
    Topic("/magma/marked_frame", "sensor_msgs/msg/Image", latched=True),
    Topic("/magma/markers", "visualization_msgs/msg/MarkerArray"),
    Topic("/robot_description", "std_msgs/msg/String", latched=True),
)
"""What people look at and nobody records: each follows from what is recorded."""
GLOBAL = frozenset({TRANSFORMS, TRANSFORMS_STATIC, "/diagnostics", "/rosout"})
"""Topics that the robots of a graph share."""
_KNOWN = sorted({topic.known_name for topic in TOPICS} - GLOBAL | {INTERVENTIONS}, key=len, reverse=True)
_ONLY_OURS = "/magma/"
"""Nobody but this stack publishes such topics: whoever has one in a namespace is one of our robots."""


@dataclass(frozen=True)
class RecordedName:
    """What the name of a recorded topic says."""

    known: str
    """by which the topic is known"""
    namespace: str
    """of the robot that it is about, such as /left; empty = none"""
    shared: bool
    """whether the robots of a graph share it"""

    @property
    def tells_a_robot(self) -> bool:
        """Whether there is one of our robots in this namespace."""
        return self.known.startswith(_ONLY_OURS)


@lru_cache(maxsize=1024)
def recorded_name(name: str) -> RecordedName | None:
    """Which topic a recorded one is; None for one that is none of ours."""
    if name in GLOBAL:
        return RecordedName(name, "", shared=True)
    known = next((known for known in _KNOWN if name.endswith(known)), None)
    return RecordedName(known, name[: -len(known)], shared=False) if known is not None else None
