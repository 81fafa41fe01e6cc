"""Everything about the console that can be set."""

from __future__ import annotations

from dataclasses import dataclass

from magma_common.settings.config import HIGHER, LOWER, NodeConfig, parameter
from magma_common.transforms.frames import FRAME_PREFIX_HELP, FRAME_PREFIX_OF_NAMESPACE
from magma_contracts.errors import ConfigError
from magma_contracts.hosts import is_loopback

FIRST_PORT = 8090
"""Where a free port is looked for."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class ConsoleConfig(NodeConfig):
    """Who may open the page, how fast an operator may move the arm with it, and where the data lie."""

    host: str = parameter(
        "127.0.0.1",
        "Address to listen on. Any other than loopback needs a token, and a proxy with TLS before it.",
        read_only=True,
    )
    port: int = parameter(
        0, f"Port of the page; 0 = the first free one from {FIRST_PORT} on.", minimum=0, maximum=65535, read_only=True
    )
    token_file: str = parameter(
        "",
        "File with the token that opens the page; empty = the variable MAGMA_CONSOLE_TOKEN; neither = no token, on "
        "loopback only.",
        read_only=True,
    )
    allowed_hosts: tuple[str, ...] = parameter(
        (), "Further host names by which the page may be called, such as that of a proxy with TLS.", read_only=True
    )
    max_viewers: int = parameter(
        8, "Pages that may be open at the same time.", minimum=1, maximum=64, tighter=LOWER, read_only=True
    )
    step_period_s: float = parameter(
        0.2, "Time between two commands in seconds: the arm's step period.", minimum=0.01, maximum=2.0, read_only=True
    )
    max_speed_m_s: float = parameter(
        0.15, "Speed at full deflection and full scale, metres per second.", minimum=0.001, maximum=1.0, tighter=LOWER
    )
    max_angular_speed_rad_s: float = parameter(
        0.8, "The same for turning, radians per second.", minimum=0.01, maximum=5.0, tighter=LOWER
    )
    expiry_s: float = parameter(
        0.3,
        "What the page knew of this robot when an operator moved may be this old, seconds: after a longer stall the "
        "arm holds until everything was let go.",
        minimum=0.1,
        maximum=1.0,
        tighter=LOWER,
    )
    rearm_hold_s: float = parameter(
        1.0, "How long the re-arm button has to be held, seconds.", minimum=0.3, maximum=5.0, tighter=HIGHER
    )
    state_timeout_s: float = parameter(
        2.0, "Controller and arm count as silent after this long, seconds.", minimum=0.2, maximum=30.0, tighter=LOWER
    )
    picture_rate_hz: float = parameter(
        15.0, "Pictures per second that are made for the pages, at most.", minimum=1.0, maximum=60.0
    )
    jpeg_quality: int = parameter(80, "Quality of these pictures.", minimum=20, maximum=95)
    presets: tuple[str, ...] = parameter((), "Instructions to choose from, beside the latest ones.", read_only=True)
    recordings: str = parameter("recordings", "Folder of recordings.", read_only=True)
    runs: str = parameter("runs", "Folder of evaluations.", read_only=True)
    robot: str = parameter(
        "",
        "Joint-level arms, for the view of the arm: name or YAML file of the robot, as the controller has it; empty = "
        "the description on the topic robot_description.",
        read_only=True,
    )
    base_frame: str = parameter("base", "Frame in which the arm takes deltas.", read_only=True)
    camera_frame: str = parameter("camera_optical", "Name of the camera's optical frame.", read_only=True)
    frame_prefix: str = parameter(FRAME_PREFIX_OF_NAMESPACE, FRAME_PREFIX_HELP, read_only=True)

    def check(self) -> None:
        if not self.host:
            raise ConfigError("host is empty: give an address such as 127.0.0.1")
        for name in self.allowed_hosts:
            if not name or "/" in name or ":" in name:
                raise ConfigError(f"allowed_hosts takes names without scheme and port, got {name!r}")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the page."""
        return is_loopback(self.host)
