"""What a server of vla-eval declares of its conventions, held against a model file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magma_contracts.errors import ConfigError
from magma_contracts.text import brief
from magma_policy_client.foreign.model_file import ActionKeys, ModelFile

UNDECLARED = "raw"
"""The word of vla-eval for numbers of which nothing is said."""
KINDS = {"delta_xyz": "delta", "absolute_xyz": "absolute"}
ROTATIONS = {
    "euler_xyz": "euler_xyz",
    "axis_angle": "axis_angle",
    "quaternion_xyzw": "quaternion_xyzw",
    "rot6d_interleaved": "rotation_6d_rows",
}
GRIPPERS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "binary_close_positive": ((1.0, -1.0),),
    "binary_close_negative": ((-1.0, 1.0),),
    "binary_close_01": ((1.0, 0.0),),
    # It does not say which end is which.
    "continuous_01": ((0.0, 1.0), (1.0, 0.0)),
}
"""The numbers of a closed and an open gripper."""
OF_ACTIONS = ("position", "rotation", "gripper", "actions", "raw")
OF_OBSERVATIONS = ("image", "language", "state", "raw")


def check_declared(address: str, model: ModelFile, hello: Mapping[str, Any]) -> None:
    """Raises ConfigError where the server declares what it is not, or what this client does not know."""
    actions, observations = _specs(address, hello, "action_spec"), _specs(address, hello, "observation_spec")
    for name, declared in actions.items():
        _check_action(address, model.action, name, declared)
    for name, declared in observations.items():
        if name not in OF_OBSERVATIONS:
            raise ConfigError(
                f"{address} asks for {brief(name)} in every observation, which is not known here; "
                f"{', '.join(OF_OBSERVATIONS)} are"
            )
        if name == "state" and model.state is None:
            raise ConfigError(f"{address} asks for the arm's state ({brief(declared)}); add [state] to its model file")


def _check_action(address: str, action: ActionKeys, name: str, declared: str) -> None:
    if name not in OF_ACTIONS:
        raise ConfigError(f"{address} answers {brief(name)}, which is not known here; {', '.join(OF_ACTIONS)} are")
    if declared == UNDECLARED or name in ("actions", "raw"):
        return
    if name == "gripper":
        mine = (action.gripper_closed, action.gripper_open)
        entry, shown = "gripper_closed and gripper_open", f"{mine[0]:g} and {mine[1]:g}"
        agrees = mine in GRIPPERS.get(declared, ())
        instead = " or ".join(f"{closed:g} and {opened:g}" for closed, opened in GRIPPERS.get(declared, ()))
    else:
        rotation = "declared_rotation" if action.declared_rotation else "rotation_form"
        entry, table = ("kind", KINDS) if name == "position" else (rotation, ROTATIONS)
        shown, instead = getattr(action, entry), table.get(declared, "")
        agrees = shown == instead
    if not instead:
        raise ConfigError(f"{address} declares the {name} {brief(declared)}, which is not known here")
    if not agrees:
        raise ConfigError(
            f"{address} declares the {name} {declared}; its model file has {entry} {shown} under [action], not "
            f"{instead}"
        )


def _specs(address: str, hello: Mapping[str, Any], name: str) -> dict[str, str]:
    """Formats by component. Raises ConfigError."""
    specs = hello.get(name)
    if specs is None:
        return {}
    if not isinstance(specs, Mapping) or not all(
        isinstance(key, str) and isinstance(spec, Mapping) and isinstance(spec.get("format"), str)
        for key, spec in specs.items()
    ):
        raise ConfigError(f"{address} declares {name} {brief(specs)}, which names no formats")
    return {key: spec["format"] for key, spec in specs.items()}
