"""Measured state (and marks) as tokens, one for each action dimension: what one image cannot show.

The controller's target leads the arm by centimetres, which a single frame does not reveal; and the small model gets the
marks as metric positions from the calibrated camera when `geometry` is on. Both are inputs that Magma does not have.
While the seven ids are decoded, each step reads its state token together with the previous id.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from magma_contracts.actions import DELTA_SIZE
from magma_contracts.arm_state import (
    GRIPPER,
    GRIPPER_TARGET,
    POSITION,
    QUATERNION,
    STATE_SIZE,
    TARGET_POSITION,
    TARGET_QUATERNION,
)
from magma_policy.families.magma.config import MagmaConfig
from magma_policy.marks.geometry import Cameras

# The longest wavelength of the Fourier features, in metres (or fractions of the image without geometry).
LONGEST_WAVELENGTH = 0.8
# Softens the direction of a long axis for objects that have none (tip = centre); metres.
AXIS_SOFTENING = 0.01


def fourier(values: Tensor, bands: int) -> Tensor:
    """(B, N) to (B, N * (1 + 2 * bands)): the scaled values, and sines and cosines at octave wavelengths."""
    parts = [values * (4.0 / LONGEST_WAVELENGTH)]
    for band in range(bands):
        angle = values * (2.0 * math.pi * 2.0**band / LONGEST_WAVELENGTH)
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, dim=-1)


def tool_axes(quaternion: Tensor) -> tuple[Tensor, Tensor]:
    """Unit quaternions xyzw (B, 4) to the tool's x axis and z axis in the base frame, (B, 3) each."""
    x, y, z, w = quaternion.unbind(-1)
    x_axis = torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)], dim=-1)
    z_axis = torch.stack([2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)], dim=-1)
    return x_axis, z_axis


def double_angle(direction: Tensor, softening: float) -> Tensor:
    """(B, 2) direction to (cos, sin) of twice its angle: an axis without a sign, as a two-finger gripper sees it."""
    dx, dy = direction.unbind(-1)
    norm = dx * dx + dy * dy + softening**2
    return torch.stack([(dx * dx - dy * dy) / norm, 2 * dx * dy / norm], dim=-1)


class StateEncoder(nn.Module):
    """Features of marks and proprioception and the decoder's reading of the prompt, then a residual network."""

    def __init__(self, config: MagmaConfig) -> None:
        super().__init__()
        if config.state is None:
            raise ValueError("state encoder needs config.state")
        self.config = config
        self.state = config.state
        # On the CPU whatever the default device is: only the number of features is wanted here.
        with torch.no_grad(), torch.device("cpu"):
            marks = torch.zeros(1, config.grounding.num_marks, 2) if config.grounding is not None else None
            proprioception = torch.zeros(1, STATE_SIZE) if config.proprioception else None
            above = Cameras(torch.ones(1, 3), torch.eye(3)[None], torch.zeros(1)) if config.geometry else None
            width = self.features(marks, proprioception, above).shape[-1]
        hidden = config.state.hidden_size
        self.enter = nn.Linear(width, hidden)
        self.instruction = nn.Linear(config.text.hidden_size, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden))
            for _ in range(config.state.num_blocks)
        )
        self.leave = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, DELTA_SIZE * config.text.hidden_size))

    def features(self, marks: Tensor | None, proprioception: Tensor | None, cameras: Cameras | None) -> Tensor:
        """Marks (B, K, 2) as fractions of the images of `cameras`, and proprioception (B, 16), to features (B, F),
        float32."""
        parts: list[Tensor] = []
        yaw: Tensor | None = None
        if proprioception is not None:
            yaw = self._proprioception_features(proprioception.float(), parts)
        if marks is not None:
            self._mark_features(marks.float(), proprioception, cameras, yaw, parts)
        return torch.cat(parts, dim=-1)

    def _proprioception_features(self, p: Tensor, parts: list[Tensor]) -> Tensor:
        bands = self.state.fourier_bands
        measured, target = p[:, POSITION], p[:, TARGET_POSITION]
        x_axis, z_axis = tool_axes(p[:, TARGET_QUATERNION])
        measured_x_axis, measured_z_axis = tool_axes(p[:, QUATERNION])
        yaw = double_angle(x_axis[:, :2], 0.0001)
        parts += [fourier(target, bands), fourier(measured, bands), (target - measured) * 20.0]
        parts += [x_axis, z_axis, (x_axis - measured_x_axis) * 5.0, (z_axis - measured_z_axis) * 5.0, yaw]
        parts += [p[:, GRIPPER_TARGET], p[:, GRIPPER] - p[:, GRIPPER_TARGET], fourier(p[:, GRIPPER] * 0.4, 4)]
        return yaw

    def _mark_features(
        self,
        marks: Tensor,
        proprioception: Tensor | None,
        cameras: Cameras | None,
        yaw: Tensor | None,
        parts: list[Tensor],
    ) -> None:
        bands = self.state.fourier_bands
        points = cameras.project(marks) if cameras is not None else marks - 0.5
        parts.append(points.flatten(1) * 2.0)
        # Every mark as seen from the last one, the gripper's: near zero for what is in the fingers, at any height.
        parts.append(fourier((points[:, :-1] - points[:, -1:]).flatten(1), bands))
        if cameras is not None and proprioception is not None:
            p = proprioception.float()
            target, measured = p[:, TARGET_POSITION], p[:, POSITION]
            parts.append(fourier((points[:, :-1] - target[:, None, :2]).flatten(1), bands))
            parts.append(fourier((points[:, :-1] - measured[:, None, :2]).flatten(1), bands))
            # A lifted source is off the table: cast to the tool's own height its offset in the fingers is metric too.
            lifted = cameras.project(marks[:, :1], measured[:, 2])
            parts.append(fourier((lifted - measured[:, None, :2]).flatten(1), bands))
        if marks.shape[1] < 3:
            return
        axis = points[:, 1] - points[:, 0]
        parts += [fourier(axis, bands), fourier(points[:, 2] - points[:, 0], bands)]
        direction = double_angle(axis, AXIS_SOFTENING)
        parts += [direction, double_angle(direction, 0.1)]
        if yaw is not None:
            (c, s), (cy, sy) = direction.unbind(-1), yaw.unbind(-1)
            turned = torch.stack([c * cy + s * sy, s * cy - c * sy], dim=-1)
            # Twice again: four-fold symmetry, for blocks.
            parts += [turned, double_angle(turned, 0.1)]

    def forward(
        self, prompt_hidden: Tensor, marks: Tensor | None, proprioception: Tensor | None, cameras: Cameras | None
    ) -> Tensor:
        """The prompt's last hidden state (B, H) and the inputs of `features` to tokens (B, 7, H)."""
        features = self.features(marks, proprioception, cameras).to(self.enter.weight.dtype)
        x = F.gelu(self.enter(features) + self.instruction(prompt_hidden))
        for block in self.blocks:
            x = x + block(x)
        tokens: Tensor = self.leave(x)
        return tokens.unflatten(-1, (DELTA_SIZE, -1))
