"""What `magma-demos` makes, and how much noise is in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from magma_eval.policies.choice import PolicyChoice
from magma_eval.ray_option import RayOption, address_of
from magma_sim.registry import skill_of, suite_of, suite_tasks
from magma_sim.tasks.validation import VALIDATION_SEED


@dataclass(frozen=True)
class NoiseConfig:
    """Noise on executed actions. Probabilities are per step or per episode; a scale of 0 switches it off."""

    scale: float = 1.0
    """multiplies every magnitude and probability below"""
    clean_episodes: float = 0.2
    """share of episodes without any noise on actions"""
    translation_m: float = 0.006
    """standard deviation per axis and step"""
    rotation_rad: float = 0.03
    """standard deviation about the vertical; a third of it about the other axes"""
    burst_probability: float = 0.06
    """chance per step that a drift of 2 to 5 steps begins"""
    burst_m: float = 0.025
    """largest drift per step"""
    burst_rad: float = 0.15
    """largest drift about the vertical per step"""
    flip_probability: float = 0.02
    """chance per step that the gripper does the opposite for 1 to 3 steps"""
    random_starts: float = 0.3
    """share of episodes that begin with the tool anywhere over the table"""
    hovering_starts: float = 0.2
    """share of episodes that begin with the tool close above the source"""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"noise.{name} must be a number of at least 0, got {value}")
        if self.random_starts + self.hovering_starts > 1:
            raise ValueError(
                "noise.random_starts and noise.hovering_starts are shares of episodes; they add up to more than 1"
            )


@dataclass(frozen=True)
class DemonstrationConfig:
    """What `magma-demos` makes."""

    out: Path
    """directory to write to; episodes that are already there are kept"""
    tasks: tuple[str, ...] = suite_tasks()["tabletop"]
    """tasks to demonstrate, of one suite and one camera: widowx_put_eggplant_in_basket needs a folder of its own"""
    episodes: int = 200
    """episodes per task"""
    seed: int = 0
    """number of the first random layout; episode i uses seed + i"""
    workers: int = 1
    """parallel processes"""
    ray: RayOption = None
    """make them on a Ray cluster (docs/scale.md), with --workers on all its machines together: its HOST:PORT, or auto
    where RAY_ADDRESS or a node of this machine tells. Without either a cluster of this machine is started"""
    images: bool = True
    """render the camera; without images an episode takes a fraction of the time"""
    hold_steps: int = 5
    """steps recorded after the goal was reached"""
    actor: str | None = None
    """policy that acts while the expert only says what it would do: magma:CHECKPOINT, or the address of a server"""
    noise: NoiseConfig = field(default_factory=NoiseConfig)

    def __post_init__(self) -> None:
        if self.actor is not None and not (PolicyChoice(self.actor).remote and self.images):
            raise ValueError(f"an actor looks at pictures: magma:CHECKPOINT or ws://host:port, got {self.actor!r}")
        if address_of(self.ray) and self.actor is not None and not PolicyChoice(self.actor).on_server:
            raise ValueError(
                f"the machines of a cluster ask an actor by its address, ws://HOST:PORT; got {self.actor!r}"
            )
        if not self.tasks:
            raise ValueError("no task given")
        for task in self.tasks:
            skill_of(task)
        suites = {suite_of(task) for task in self.tasks}
        if len(suites) > 1:
            raise ValueError(f"one folder holds one suite, got tasks of {', '.join(sorted(suites))}")
        if self.seed + self.episodes > VALIDATION_SEED:
            raise ValueError(f"layouts from {VALIDATION_SEED} on are for validation: seed + episodes must stay below")
        for name, low in (("episodes", 1), ("seed", 0), ("workers", 1), ("hold_steps", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
