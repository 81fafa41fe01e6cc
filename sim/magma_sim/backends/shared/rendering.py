"""Choice of the device that renders: a GPU when there is one, else Mesa's software Vulkan driver (lavapipe)."""

from __future__ import annotations

import sapien

from magma_sim.tasks.interface import SimulatorUnavailableError

REMEDY = (
    "No Vulkan device can render. On a machine without a GPU install Mesa's software driver, version 23.1 or newer: "
    "`./run setup` does it, or `apt-get install mesa-vulkan-drivers` (Debian 12's own Mesa 22.3 is too old: take it "
    "from bookworm-backports). On a machine with an NVIDIA GPU check that the driver's Vulkan part is installed "
    "(`vulkaninfo --summary`; in a container NVIDIA_DRIVER_CAPABILITIES must include graphics)."
)


class RenderingUnavailableError(SimulatorUnavailableError):
    """No Vulkan device can render; the message says what to do."""


def use_fast_shader() -> None:
    """Cameras made from now on use SAPIEN's forward shader: one pass, no shadows, 8-bit colour."""
    sapien.render.set_camera_shader_dir("minimal")
    sapien.render.set_picture_format("Color", "r8g8b8a8unorm")
    sapien.render.set_picture_format("ColorRaw", "r8g8b8a8unorm")
    sapien.render.set_picture_format("PositionSegmentation", "r16g16b16a16sint")


def choose_render_device() -> sapien.Device:
    """The device to render on.

    ManiSkill's `render_backend` knows CUDA devices and "cpu", which SAPIEN takes as "do not render". Lavapipe is a
    Vulkan device on no CUDA and no real bus: SAPIEN names it "pci:0".

    Raises:
        RenderingUnavailableError: there is none; the message names the remedy.
    """
    reasons = []
    for name in ("cuda", "pci:0"):
        try:
            device = sapien.Device(name)
        except RuntimeError as error:
            reasons.append(f"{name}: {error}")
            continue
        if device.can_render():
            return device
        reasons.append(f"{name}: cannot render")
    raise RenderingUnavailableError(f"{REMEDY} Tried: {'; '.join(reasons)}.")
