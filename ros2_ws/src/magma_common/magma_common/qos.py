"""Quality of service of every topic in the graph, as named profiles.

A publisher and a subscription that use the same profile always match. Depth 1 wherever one sends: a robot acts on the
newest value, and a queue of old ones is latency. Where several send on one topic, what one says must not overwrite what
another has said before it was heard.
"""

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

COMMAND_LIFESPAN_S = 0.5
"""Seconds after which an action or a command that nobody took is thrown away by the middleware."""


def _keep_last(
    reliability: ReliabilityPolicy, durability: DurabilityPolicy, depth: int = 1, **others: Duration
) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability, **others
    )


SENSOR = _keep_last(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
"""What drivers publish: /camera/image_raw, /camera/camera_info."""

FRAME = _keep_last(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
"""Model-ready pictures: /magma/frame. A lost picture is replaced by the next one, never sent again."""

COMMAND = _keep_last(
    ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, lifespan=Duration(seconds=COMMAND_LIFESPAN_S)
)
"""What moves the arm: /magma/action_chunk, /teleop/command, /magma/command. Expires: nothing old is acted on."""

JOINT_STATES = _keep_last(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, depth=20)
"""For a subscription to /joint_states, which the drivers of arm, gripper and wheels share, each with a message of its
own."""

EVERY_COMMAND = _keep_last(
    ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, depth=10, lifespan=Duration(seconds=COMMAND_LIFESPAN_S)
)
"""For a subscription to a COMMAND topic on which several may speak: operators, or another controller."""

ROBOT_STATE = _keep_last(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
"""Measurements of the arm: /magma/end_effector_state, /joint_states."""

JOINT_COMMAND = _keep_last(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
"""Joint-level commands to arm drivers, many per second: the newest counts."""

HEARTBEAT = _keep_last(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, depth=10)
"""Signs of life: /magma/policy_heartbeat, and /magma/teleop_heartbeat of all operators. A lost one is followed by the
next."""

SAFETY_INPUT = _keep_last(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, depth=10)
"""magma/estop_button: no press is lost, and none is overwritten by the release that follows it."""

JOURNAL = _keep_last(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, depth=600)
"""magma/controller_journal: a recorder that starts up to a minute late still gets it from its beginning."""

JOY = _keep_last(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, depth=10)
"""/joy: drivers differ in what they offer, and a press between two others must not be overwritten."""

STATE = _keep_last(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)
"""What a latecomer must know at once: /magma/instruction_in_force, /magma/action_spec, /magma/controller_state,
/magma/episode_status."""

EVERY_STATE = _keep_last(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, depth=100)
"""For a subscription to a STATE topic that must hear everything that is said, one after the other, also from publishers
which keep nothing for latecomers, such as `ros2 topic pub` without options."""

ACTION_STATUS = _keep_last(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, depth=10)
"""For a subscription to <action>/_action/status: one status must not overwrite another before it was looked at."""

DIAGNOSTICS = _keep_last(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, depth=10)
"""/diagnostics, shared by several publishers, as the ROS diagnostic tools expect it."""

TRANSFORMS = _keep_last(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, depth=100)
"""/tf, as tf2_ros has it."""

TRANSFORMS_STATIC = _keep_last(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)
"""/tf_static, as tf2_ros publishes it."""

TRANSFORMS_STATIC_ALL = _keep_last(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, depth=100)
"""For a subscription to /tf_static: each of its many publishers has something to tell a latecomer."""
