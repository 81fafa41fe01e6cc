"""Everything about recording that can be set."""

from __future__ import annotations

from dataclasses import dataclass

from magma_common.settings.config import NodeConfig, parameter
from magma_contracts.errors import ConfigError


@dataclass(frozen=True)
class RecorderConfig(NodeConfig):
    """Where, what, and how much memory and disk it may take."""

    directory: str = parameter("recordings", "Folder that recordings are put into.", read_only=True)
    name: str = parameter(
        "", "Name of the recording, a new folder in `directory`; empty = the time of its start.", read_only=True
    )
    topics: tuple[str, ...] = parameter(
        (), "Further topics to record, beside those of this stack; their types are looked up.", read_only=True
    )
    pictures: bool = parameter(True, "Record camera pictures and frames.", read_only=True)
    camera_transport: str = parameter(
        "raw",
        "raw: /camera/image_raw is compressed here; compressed: the driver's /camera/image_raw/compressed is taken.",
        choices=("raw", "compressed"),
        read_only=True,
    )
    camera_encoding: str = parameter(
        "jpeg", "Compression of /camera/image_raw: jpeg (small) or png (exact).", choices=("jpeg", "png")
    )
    frame_encoding: str = parameter(
        "png", "Compression of /magma/frame, what the policy saw: png (exact) or jpeg.", choices=("jpeg", "png")
    )
    jpeg_quality: int = parameter(90, "Quality of JPEG pictures.", minimum=1, maximum=100)
    flush_period_s: float = parameter(
        0.5,
        "How often what was received is written to the file: what a killed recorder loses.",
        minimum=0.05,
        maximum=10.0,
    )
    sync_period_s: float = parameter(
        5.0, "How often the disk is asked to keep it for good: what a power cut loses.", minimum=0.5, maximum=300.0
    )
    queue_mb: float = parameter(
        64.0,
        "Memory for messages that wait for the disk; pictures are dropped when half of it is full, all when all is.",
        minimum=0.1,
        maximum=4096.0,
        read_only=True,
    )
    min_free_mb: float = parameter(
        200.0, "Recording pauses when the disk has less space than this left.", minimum=0.0, maximum=1e6
    )
    retry_s: float = parameter(
        2.0, "After the disk was full or failed: how often it is tried again.", minimum=0.1, maximum=60.0
    )

    def check(self) -> None:
        if not self.directory:
            raise ConfigError("parameter directory is empty: name the folder that recordings are put into")
        if "/" in self.name or self.name in (".", ".."):
            raise ConfigError(f"parameter name is the name of one folder, got {self.name!r}")
        for topic in self.topics:
            if not topic.startswith("/"):
                raise ConfigError(f"parameter topics takes full names such as /joint_states, got {topic!r}")
