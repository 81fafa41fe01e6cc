"""Node camera_source: publishes a webcam or a video file as a camera driver would."""

from __future__ import annotations

import array
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from magma_camera.video_source import SourceUnavailableError, VideoSource, VideoSourceSettings
from magma_common.diagnostics import ERROR, OK, DiagnosticsPublisher, Report
from magma_common.process.node_main import run_node
from magma_common.qos import SENSOR
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_contracts.errors import ConfigError


@dataclass(frozen=True)
class CameraSourceConfig(NodeConfig):
    """Parameters of the node."""

    device: str = parameter("0", "V4L2 number (0) or path (/dev/video0), video file, or stream URL.", read_only=True)
    width: int = parameter(0, "Pixels to ask a camera for; 0 = its default.", minimum=0, maximum=8192, read_only=True)
    height: int = parameter(0, "Pixels to ask a camera for; 0 = its default.", minimum=0, maximum=8192, read_only=True)
    fps: float = parameter(
        0.0, "Pictures per second to ask a camera for, or pace of a file; 0 = its own.", minimum=0.0, maximum=1000.0,
        read_only=True,
    )  # fmt: skip
    loop: bool = parameter(True, "Start a video file again at its end.", read_only=True)
    frame_id: str = parameter("camera_optical", "Frame of the pictures.", read_only=True)
    retry_s: float = parameter(1.0, "Seconds between attempts to reconnect.", minimum=0.05, maximum=60.0)

    def check(self) -> None:
        try:
            self.source_settings()
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def source_settings(self) -> VideoSourceSettings:
        """The part that the source uses."""
        return VideoSourceSettings(self.device, self.width, self.height, self.fps, self.loop)


class CameraSource(Node):
    """Publishes camera/image_raw (bgr8) with the time at which each picture was taken from the device."""

    def __init__(self) -> None:
        super().__init__("camera_source", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, CameraSourceConfig)
        self._source = VideoSource(self._node_parameters.config.source_settings())
        self._published = 0
        self._trouble: str | None = "not opened yet"
        self._ended = False
        self._stop = threading.Event()
        self._image = self.create_publisher(Image, "camera/image_raw", SENSOR)
        self._diagnostics = DiagnosticsPublisher(self, self._report, hardware_id=self._node_parameters.config.device)
        # Reading blocks for as long as the camera likes; the executor must keep answering meanwhile.
        self._thread = threading.Thread(target=self._capture, name="capture", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops the capture thread."""
        self._stop.set()
        # A camera that hangs inside its driver is left to the daemon thread.
        self._thread.join(timeout=1.0)

    def _capture(self) -> None:
        next_s = time.monotonic()
        while not self._stop.is_set():
            try:
                pixels = self._source.read()
            except SourceUnavailableError as error:
                self._trouble = str(error)
                self._stop.wait(self._node_parameters.config.retry_s)
                next_s = time.monotonic()
                continue
            if pixels is None:
                self._ended = True
                break
            self._trouble = None
            self._publish(pixels, self.get_clock().now().to_msg())
            period_s = self._source.period_s
            if period_s:
                # A late file skips waiting but does not rush to make up for more than one period.
                next_s = max(next_s + period_s, time.monotonic() - period_s)
                self._stop.wait(max(0.0, next_s - time.monotonic()))
        self._source.close()

    def _publish(self, pixels: np.ndarray, stamp: object) -> None:
        height, width = pixels.shape[:2]
        data = array.array("B")
        data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
        message = Image(height=height, width=width, encoding="bgr8", is_bigendian=0, step=3 * width, data=data)
        message.header.stamp = stamp
        message.header.frame_id = self._node_parameters.config.frame_id
        self._image.publish(message)
        self._published += 1

    def _report(self) -> Report:
        values = {"published": self._published, "device": self._node_parameters.config.device}
        if self._trouble is not None:
            return Report(ERROR, self._trouble, values)
        return Report(OK, "end of the video file" if self._ended else "publishing pictures", values)


def main() -> int:
    """Entry point."""
    return run_node(CameraSource)


if __name__ == "__main__":
    sys.exit(main())
