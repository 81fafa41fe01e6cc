"""The command `magma-train`."""

from __future__ import annotations

import dataclasses
import json
import sys

import tyro

from magma_policy.checkpoint import CheckpointError
from magma_policy.checkpoint_paths import CheckpointNotFoundError
from magma_policy.config import ConfigError
from magma_policy.hub import HubError
from magma_policy.training import processes, success
from magma_policy.training.config import CHANGEABLE, TrainConfig
from magma_policy.training.demonstrations import DemonstrationError, Demonstrations, read_demonstrations
from magma_policy.training.saved_run import SavedRunError
from magma_policy.training.starting_point import StartingPoint
from magma_policy.training.trainer import Trainer, memory


def check_same_command(config: TrainConfig) -> None:
    """Store the command beside the run; ConfigError when the output belongs to a run with other settings."""
    path = config.output / "train.json"
    mine = _as_json(config)
    if path.is_file():
        # A setting that was not known yet had what is now its default.
        defaults = _as_json(TrainConfig(config.demonstrations, config.output))
        stored = defaults | json.loads(path.read_text(encoding="utf-8"))
        different = {k: (stored[k], v) for k, v in mine.items() if k not in CHANGEABLE and stored[k] != v}
        if different:
            raise ConfigError(f"{path} is of a run with other settings {different}; choose another output")
    config.output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(mine, indent=2) + "\n", encoding="utf-8")


def _as_json(config: TrainConfig) -> dict[str, object]:
    return dict(json.loads(json.dumps(dataclasses.asdict(config), default=str)))


def describe(demos: Demonstrations) -> str:
    """The demonstrations in one line."""
    return (
        f"{len(demos.episode_names)} episodes of {len(demos.cards)} robots, {len(demos)} steps, {len(demos.frames)} "
        f"frames of {demos.frames.shape[2]}x{demos.frames.shape[1]}, contents {demos.identity}; instructions "
        f"{list(demos.instructions)}"
    )


def main() -> None:
    """Entry point of `magma-train`."""
    try:
        config = tyro.cli(TrainConfig, prog="magma-train")
        if config.dry_run:
            start = StartingPoint.of(config)
            print(describe(read_demonstrations(config.demonstrations)))
            print(f"{start.config.name}: {memory(start, config)}")
            return
        processes.join(config.device)
        if processes.rank() == 0:
            check_same_command(config)
        start = StartingPoint.of(config)
        needed = memory(start, config)
        if processes.rank() == 0:
            # Before anything is allocated, so that it can be read when there is too little.
            print(f"{start.config.name}: {needed}", flush=True)
        if config.success_suites:
            success.find_evaluator()
            if processes.count() > 1:
                # While one process plays episodes the others would wait longer than their exchange allows.
                raise ConfigError("success_suites are for a run of one process; evaluate the checkpoint afterwards")
        trainer = Trainer(config, start)
        continued = trainer.restore()
    except (
        ConfigError, DemonstrationError, SavedRunError, CheckpointError, CheckpointNotFoundError, HubError,
    ) as error:  # fmt: skip
        sys.exit(f"magma-train: {error}")
    if processes.rank() == 0:
        state = f"continued at step {trainer.step}" if continued else "new run"
        print(f"{describe(trainer.demos)}; {state}", flush=True)
    trainer.run()
    processes.leave()


if __name__ == "__main__":
    main()
