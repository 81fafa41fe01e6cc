"""What a model of robots does stays while it learns to talk.

Answers and actions go through one language model, so learning one alone undoes the other. Every step therefore also
shows pictures, instructions and states of demonstrations, and what is said then is kept near what the checkpoint said
that the run began from (after Li and Hoiem 2016, "Learning without Forgetting", arXiv 1606.09282). The demonstrations'
own actions teach nothing, so any that look as the robot's world does will do, few and old ones too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from magma_contracts.errors import ConfigError
from magma_policy.demonstrations.reader import read_demonstrations
from magma_policy.embodiments import robots
from magma_policy.embodiments.registry import make_adapter
from magma_policy.embodiments.robots import Robot
from magma_policy.families.magma import Magma, MagmaTokenizer, choose_grid
from magma_policy.inference.action_tokens import ActionTokens
from magma_policy.marks.geometry import Cameras
from magma_policy.training.config import TrainConfig
from magma_policy.training.recipes.robot_actions.batches import Batches, Prompts
from magma_policy.training.starting_point import StartingPoint


@dataclass(frozen=True)
class HeldBatch:
    """Steps of demonstrations, B of them: `tiles` of their pictures; int64 `instruction` and `robot` (B,);
    `proprioception` (B, 16); the recorded action's `ids` (B, 7), behind whose beginnings the rest is compared."""

    tiles: Tensor
    instruction: Tensor
    robot: Tensor
    proprioception: Tensor
    ids: Tensor


class HeldActions:
    """Compares what a model does with what the checkpoint does that it began from.

    Args:
        sets: folders of demonstrations with pictures, of robots that the checkpoint knows.
        config: of the model.
        start: the checkpoint.
        tokenizer: its own.
        device: where both compute.

    Raises:
        DemonstrationError: a set cannot be used.
        ConfigError: the checkpoint knows no robot, or not that of a set; or no episode has pictures.
    """

    def __init__(
        self,
        sets: tuple[Path, ...],
        config: TrainConfig,
        start: StartingPoint,
        tokenizer: MagmaTokenizer,
        device: torch.device,
    ) -> None:
        self._config, self._device = start.config, device
        demos = read_demonstrations(sets)
        if not len(demos.frames):
            raise ConfigError(f"actions are held on pictures, and {', '.join(map(str, sets))} has none")
        self.identity = demos.identity
        known = [_robot(start, card.robot, sets) for card in demos.cards]
        values = np.zeros(demos.actions.shape)
        for number, robot in enumerate(known):
            own = demos.robot == number
            values[own] = robot.statistics.normalise(make_adapter(robot.spec.adapter).encode(demos.actions[own]))
        self._data = Batches(demos, np.arange(len(demos)), config, values)
        self._prompts = Prompts(tokenizer, demos.instructions, start.config.image_markers, device)
        cameras = [robot.camera for robot in known if robot.camera is not None]
        self._cameras = Cameras.of(cameras, device) if start.config.geometry is not None else None
        height, width = demos.frames.shape[1:3]
        image = start.config.image
        self._grid = choose_grid(width, height, image.base_size, image.max_num_crops)
        self._codec = ActionTokens(start.config.tokens.base_vocab_size)
        self._before = start.build(device).float().requires_grad_(False).eval()

    def draw(self, count: int, generator: torch.Generator) -> HeldBatch:
        """Steps by chance, their pictures a little changed in colour."""
        data = self._data
        rows = data.draw(count, True, generator)
        tiles, _ = data.images(rows, self._config.image, self._device, generator)
        ids = torch.from_numpy(self._codec.encode(data.values[rows].numpy()))
        columns = (data.instruction[rows], data.robot[rows], data.proprioception[rows], ids)
        return HeldBatch(tiles, *(column.to(self._device) for column in columns))

    def loss(self, model: Magma, batch: HeldBatch) -> Tensor:
        """How far a model is from the checkpoint: mean divergence of actions, and of where its marks point; 0 for the
        checkpoint itself."""
        with torch.no_grad():
            before = self._said(self._before, batch)
        divergences = [
            F.kl_div(now.log_softmax(dim=1), then.log_softmax(dim=1), reduction="batchmean", log_target=True)
            for now, then in zip(self._said(model, batch), before, strict=True)
        ]
        return torch.stack(divergences).sum()

    def _said(self, model: Magma, batch: HeldBatch) -> list[Tensor]:
        """Logits (N, choices): of the bins of actions, and of the cells of marks where a model points."""
        visual, levels = model.encode_image(batch.tiles, *self._grid)
        ids, attention = self._prompts.ids[batch.instruction], self._prompts.attention[batch.instruction]
        kv_cache, grounded = model.prefill(ids, visual, levels, attention, model.read_head(self._prompts.head))
        state: Tensor | None = None
        if model.state_encoder is not None:
            measured = batch.proprioception if self._config.proprioception else None
            cameras = self._cameras.select(batch.robot) if self._cameras is not None else None
            # Detached, as when actions are taught: marks stay marks.
            marks = None if grounded is None else grounded.marks.detach()
            state = model.state_tokens(kv_cache.last_hidden, marks, measured, cameras)
        said = [model.teacher_forced_action_logits(kv_cache, state, batch.ids).flatten(0, 1)]
        return said if grounded is None else [*said, grounded.logits.flatten(2).flatten(0, 1)]


def _robot(start: StartingPoint, name: str, sets: tuple[Path, ...]) -> Robot:
    """A robot of the checkpoint by the name on a set's card. Raises ConfigError."""
    home = start.directory
    if home is None or not (home / robots.ACTION_SPEC).is_file():
        raise ConfigError(f"the checkpoint knows no robot whose actions {', '.join(map(str, sets))} could hold")
    default = robots.read(home)
    if name in ("", default.spec.statistics_key):
        return default
    if name not in robots.names_in(home):
        there = ", ".join([default.spec.statistics_key, *robots.names_in(home)])
        raise ConfigError(f"{', '.join(map(str, sets))}: of the robot {name!r}; the checkpoint knows {there}")
    return robots.read(robots.find(home, name))
