"""rclpy's experimental parts, none of which is covered."""


def __getattr__(name: str) -> None:
    if name == "EventsExecutor":
        raise NotImplementedError(
            "rclpy_dds has no rclpy.experimental.EventsExecutor: use rclpy.executors.SingleThreadedExecutor, which "
            "does not poll here"
        )
    raise AttributeError(f"rclpy_dds has no rclpy.experimental.{name}")
