"""`magma-act picture.png "put the carrot on the plate"`: what a checkpoint would do, by hand. Nothing moves."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from magma_contracts.errors import ConfigError
from magma_contracts.policies import is_server
from magma_policy.commands.options import LoadOptions, run_command
from magma_policy.errors import CommandError
from magma_policy.files.image_files import check_image_file, described, read_image, resize, write_image
from magma_policy.marks.drawing import draw_point_marks

DRAWN_SIDE = 512
"""A drawing's smaller side is at least so many pixels: a policy's own image is too small to look at."""
TOOL_DOWN_XYZW = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class ActConfig(LoadOptions):
    """Print the action that a policy takes on an image. Nothing is moved."""

    picture: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PICTURE")]
    """Image file; it is stretched to the size the policy wants."""
    instruction: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="INSTRUCTION")]
    """What the robot should do."""
    checkpoint: str = "magma-tiny"
    """Folder, name of a shipped checkpoint, owner/name on the Hugging Face Hub, or the address of a policy's server:
    ws://host:port, openpi://host:port?model=FILE or vla-eval://host:port?model=FILE (its token is taken from
    MAGMA_SERVE_TOKEN)."""
    position: tuple[float, float, float] = (0.45, 0.0, 0.2)
    """For policies that need the arm's state: where the tool is, in metres in the base frame; it points down."""
    gripper: float = 1.0
    """The same: opening of the gripper, 0 closed to 1 open."""
    draw: Path | None = None
    """Where to save the image with the places the policy pointed at, for policies that point."""
    json: bool = False
    """Print JSON instead of a table."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not np.isfinite(self.position).all():
            raise ConfigError(f"--position must be three finite numbers, got {self.position}")
        if not 0.0 <= self.gripper <= 1.0:
            raise ConfigError(f"--gripper must be from 0 (closed) to 1 (open), got {self.gripper}")


def main() -> None:
    """Entry point."""
    sys.exit(run_command("magma-act", lambda: act(tyro.cli(ActConfig))))


def act(config: ActConfig) -> int:
    """Acts once and prints it. Raises CommandError."""
    if config.draw is not None:
        check_image_file(config.draw, "--draw")
    picture = read_image(config.picture)
    print(f"{config.picture}: {described(picture)}", file=sys.stderr)
    remote = is_server(config.checkpoint)
    answer, spec, pixels = _ask_server(config, picture) if remote else _ask_checkpoint(config, picture)
    if spec.proprioception:
        place = " ".join(f"{value:g}" for value in config.position)
        print(f"assumed: tool at {place} m, pointing down, gripper {config.gripper:g}", file=sys.stderr)
    if picture.shape != pixels.shape:
        print(f"stretched: {_size(picture)} to {_size(pixels)}", file=sys.stderr)
    _print(answer, spec, config.json)
    if config.draw is not None:
        if answer.marks is None:
            raise CommandError(f"--draw: {spec.policy} does not point at places")
        write_image(config.draw, _drawn(picture, pixels, answer.marks))
        print(f"drawn: {config.draw}", file=sys.stderr)
    return 0


def _drawn(picture: np.ndarray, pixels: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """The image as it was given, enlarged where it is small, with the marks found in the policy's pixels."""
    height, width = picture.shape[:2]
    zoom = max(1, -(-DRAWN_SIDE // min(height, width)))
    large = resize(picture, width * zoom, height * zoom)
    share = np.array([large.shape[1] / pixels.shape[1], large.shape[0] / pixels.shape[0]])
    return draw_point_marks(large, dict(enumerate((np.asarray(marks) * share).tolist())))


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _state(config: ActConfig) -> Mapping[str, Any]:
    place, down = np.array(config.position), np.array(TOOL_DOWN_XYZW)
    return {
        "position": place,
        "quaternion_xyzw": down,
        "target_position": place,
        "target_quaternion_xyzw": down,
        "gripper": config.gripper,
        "gripper_target": config.gripper,
    }


def _ask_checkpoint(config: ActConfig, picture: np.ndarray) -> tuple[Any, Any, np.ndarray]:
    policy = config.load(config.checkpoint)
    from magma_policy.errors import InstructionError, ObservationError
    from magma_policy.families.interface import Proprioception

    pixels = resize(picture, policy.spec.image_width, policy.spec.image_height)
    state = Proprioception(**_state(config)) if policy.spec.proprioception else None
    try:
        return policy.act(pixels, config.instruction, state), policy.spec, pixels
    except (ObservationError, InstructionError) as error:
        raise CommandError(str(error)) from error


def _ask_server(config: ActConfig, picture: np.ndarray) -> tuple[Any, Any, np.ndarray]:
    from magma_contracts.arm_state import ArmState
    from magma_contracts.files.server_tokens import TOKEN_VARIABLE
    from magma_policy_client import PolicyClientError
    from magma_policy_client.addresses import open_policy

    try:
        with open_policy(config.checkpoint, os.environ.get(TOKEN_VARIABLE), timeout_s=60.0) as client:
            pixels = resize(picture, client.spec.image_width, client.spec.image_height)
            state = ArmState(**_state(config)) if client.spec.proprioception else None
            return client.act(pixels, config.instruction, state), client.spec, pixels
    except (PolicyClientError, ValueError) as error:
        raise CommandError(str(error)) from error


def _print(answer: Any, spec: Any, as_json: bool) -> None:
    if as_json:
        ids = getattr(answer, "ids", None)
        print(
            json.dumps(
                {
                    "policy": spec.policy,
                    "deltas": answer.deltas.tolist(),
                    "ids": None if ids is None else [int(id_) for id_ in ids],
                    "marks": None if answer.marks is None else answer.marks.tolist(),
                    "stage_ms": {name: round(float(value), 3) for name, value in answer.stage_ms.items()},
                }
            )
        )
        return
    print(f"{spec.policy}: {len(answer.deltas)} step(s) of {spec.step_period_s:g} s in frame {spec.frame}")
    for delta in answer.deltas:
        move = "  ".join(f"{axis} {1e3 * value:+7.1f}" for axis, value in zip("xyz", delta[:3], strict=True))
        turn = "  ".join(f"{axis} {np.rad2deg(value):+6.1f}" for axis, value in zip("xyz", delta[3:6], strict=True))
        print(f"  move mm   {move}\n  turn deg  {turn}\n  gripper   {delta[6]:.2f} (0 closed, 1 open)")
    if getattr(answer, "ids", None) is not None:
        print(f"  ids       {' '.join(str(int(id_)) for id_ in answer.ids)}")
    print("  ms        " + ", ".join(f"{name} {value:.1f}" for name, value in answer.stage_ms.items()))


if __name__ == "__main__":
    main()
