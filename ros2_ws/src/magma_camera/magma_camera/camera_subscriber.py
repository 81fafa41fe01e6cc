"""Node camera_subscriber: a camera driver's pictures in, model-ready frames out."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial

from magma_interfaces.msg import ActionSpec, EndEffectorState
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from magma_camera.frame_preparation import FramePreparation, FrameSettings, PreparedFrame
from magma_camera.frozen_camera import FrozenCameraSettings
from magma_camera.image_decoding import FrameRefusedError
from magma_common.compressed_images import MAX_SIDE_PX
from magma_common.conversions import image_to_msg, pose_to_arrays, stamp_to_ns
from magma_common.diagnostics import ERROR, OK, WARN, DiagnosticsPublisher, Report
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.message_sizes import SMALL, TEXT
from magma_common.process.node_main import run_node
from magma_common.qos import FRAME, ROBOT_STATE, SENSOR, STATE
from magma_common.settings.config import LOWER, NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_contracts.errors import ConfigError
from magma_contracts.text import printable

SPEC_TOPIC = "magma/action_spec"
REPORTED_AFTER = 3
"""So many refused pictures in a row are trouble; a single stray one is only counted."""
_REPORTED_AT_ONCE = frozenset({"frozen", "size_unknown", "bit_depth"})


@dataclass(frozen=True)
class CameraSubscriberConfig(NodeConfig):
    """Parameters of the node."""

    compressed: bool = parameter(
        False, "Take JPEG or PNG pictures from camera/image_raw/compressed instead.", read_only=True
    )
    image_height: int = parameter(
        0, "Pixels of the frame; 0 = what magma/action_spec says.", minimum=0, maximum=MAX_SIDE_PX, read_only=True
    )
    image_width: int = parameter(
        0, "Pixels of the frame; 0 = what magma/action_spec says.", minimum=0, maximum=MAX_SIDE_PX, read_only=True
    )
    max_age_s: float = parameter(
        1.0,
        "Refuse pictures captured longer ago, in seconds; 0 = any age.",
        minimum=0.0,
        tighter=LOWER,
        off=0.0,
    )
    max_future_s: float = parameter(
        0.1,
        "Refuse pictures stamped further ahead of the clock, in seconds.",
        minimum=0.0,
        tighter=LOWER,
    )
    bit_depth: int = parameter(
        0,
        "Bits that the sensor uses of a 16-bit encoding, 9 ... 16; 0 = not known: 16-bit pictures darker than a "
        "quarter everywhere are then refused, since they may be of a sensor of 10, 12 or 14 bits.",
        minimum=0,
        maximum=16,
    )
    frozen_after_s: float = parameter(
        1.0,
        "Identical pictures for so many seconds mean a frozen camera; 0 = off (a simulator at rest).",
        minimum=0.0,
        tighter=LOWER,
        off=0.0,
    )
    frozen_after_motion_m: float = parameter(
        0.02,
        "Identical pictures while the arm moved so many metres mean a frozen camera; 0 = off.",
        minimum=0.0,
        tighter=LOWER,
        off=0.0,
    )
    silent_after_s: float = parameter(
        2.0,
        "Report an error when no picture came for so many seconds.",
        minimum=0.1,
        tighter=LOWER,
    )

    def check(self) -> None:
        if bool(self.image_height) != bool(self.image_width):
            raise ConfigError("image_height and image_width must both be given, or both be 0")
        if 0 < self.bit_depth < 9:
            raise ConfigError(f"bit_depth must be 0 (not known) or lie between 9 and 16, not {self.bit_depth}")

    def frame_settings(self) -> FrameSettings:
        """The part that the checks use."""
        frozen = FrozenCameraSettings(after_s=self.frozen_after_s, after_motion_m=self.frozen_after_motion_m)
        return FrameSettings(
            max_age_s=self.max_age_s, max_future_s=self.max_future_s, bit_depth=self.bit_depth, frozen=frozen
        )


class CameraSubscriber(Node):
    """Publishes magma/frame from camera/image_raw; see the package's README for topics and parameters."""

    def __init__(self) -> None:
        super().__init__("camera_subscriber", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, CameraSubscriberConfig, self._configure)
        config = self._node_parameters.config
        self._preparation = FramePreparation(config.frame_settings())
        if config.image_height:
            self._preparation.set_size(config.image_height, config.image_width)
        self._last_image_s = time.monotonic()
        self._trouble: str | None = None
        self._refused_in_a_row = 0

        self._frame = self.create_publisher(Image, "magma/frame", FRAME)
        self._diagnostics = DiagnosticsPublisher(self, self._report)
        arm, hear = "magma/end_effector_state", partial(ForeignSubscription, self)
        hear(ActionSpec, SPEC_TOPIC, self._on_spec, STATE, most_bytes=TEXT)
        hear(EndEffectorState, arm, self._on_state, ROBOT_STATE, most_bytes=SMALL)
        if config.compressed:
            self.create_subscription(CompressedImage, "camera/image_raw/compressed", self._on_compressed, SENSOR)
        else:
            self.create_subscription(Image, "camera/image_raw", self._on_image, SENSOR)

    def _configure(self, config: CameraSubscriberConfig) -> None:
        self._preparation.configure(config.frame_settings())

    def _on_spec(self, spec: ActionSpec) -> None:
        wanted = (int(spec.image_height), int(spec.image_width))
        if wanted == self._preparation.size:
            return
        policy = printable(spec.policy)
        if self._preparation.size is not None:
            self.get_logger().warning(f"policy {policy} takes frames of {wanted[1]}x{wanted[0]}; changing to that")
        try:
            self._preparation.set_size(*wanted)
        except ValueError as error:
            self.get_logger().error(f"ActionSpec of policy {policy}: {error}; ignored")

    def _on_state(self, state: EndEffectorState) -> None:
        self._preparation.note_position(pose_to_arrays(state.pose)[0], stamp_to_ns(state.header.stamp))

    def _on_image(self, image: Image) -> None:
        try:
            frame = self._preparation.from_image(
                stamp_ns=stamp_to_ns(image.header.stamp),
                now_ns=self.get_clock().now().nanoseconds,
                encoding=image.encoding,
                height=image.height,
                width=image.width,
                step=image.step,
                data=image.data,
                is_bigendian=bool(image.is_bigendian),
            )
        except FrameRefusedError as refusal:
            self._after_image(refusal)
        else:
            self._forward(frame, image.header.frame_id)

    def _on_compressed(self, image: CompressedImage) -> None:
        try:
            frame = self._preparation.from_compressed(
                stamp_ns=stamp_to_ns(image.header.stamp),
                now_ns=self.get_clock().now().nanoseconds,
                format_name=image.format,
                data=image.data,
            )
        except FrameRefusedError as refusal:
            self._after_image(refusal)
        else:
            self._forward(frame, image.header.frame_id)

    def _forward(self, frame: PreparedFrame, frame_id: str) -> None:
        self._frame.publish(image_to_msg(frame.pixels, frame.stamp_ns, frame_id))
        self._after_image(None)

    def _after_image(self, refusal: FrameRefusedError | None) -> None:
        self._last_image_s = time.monotonic()
        self._refused_in_a_row = 0 if refusal is None else self._refused_in_a_row + 1
        if refusal is None:
            self._trouble = None
        elif refusal.reason in _REPORTED_AT_ONCE or self._refused_in_a_row >= REPORTED_AFTER:
            self._trouble = refusal.reason
        self._diagnostics.update()

    def _report(self) -> Report:
        preparation = self._preparation
        values: dict[str, object] = {"forwarded": preparation.accepted}
        values.update({f"refused {reason}": count for reason, count in sorted(preparation.refusals.items())})
        if preparation.size is not None:
            values["frame size"] = f"{preparation.size[1]}x{preparation.size[0]}"
        silent_s = time.monotonic() - self._last_image_s
        if silent_s > self._node_parameters.config.silent_after_s:
            return Report(ERROR, "no picture from the camera", {**values, "silent for s": f"{silent_s:.1f}"})
        if self._trouble == "size_unknown":
            topic = self.resolve_topic_name(SPEC_TOPIC)
            return Report(WARN, f"waiting for a policy to announce its frame size on {topic}", values)
        if self._trouble is not None:
            values["last refusal"] = preparation.last_refusal
            return Report(ERROR, f"pictures are refused ({self._trouble})", values)
        if not preparation.accepted:
            return Report(WARN, "waiting for the first picture", values)
        return Report(OK, "forwarding frames", values)


def main() -> int:
    """Entry point."""
    return run_node(CameraSubscriber)


if __name__ == "__main__":
    sys.exit(main())
