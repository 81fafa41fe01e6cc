"""The command `magma-train`."""

from __future__ import annotations

import dataclasses
import json
import sys

import tyro

from magma_policy.config import ConfigError
from magma_policy.training import processes
from magma_policy.training.config import CHANGEABLE, TrainConfig
from magma_policy.training.demonstrations import DemonstrationError
from magma_policy.training.saved_run import SavedRunError
from magma_policy.training.trainer import Trainer


def check_same_command(config: TrainConfig) -> None:
    """Store the command beside the run; ConfigError when the output belongs to a run with other settings."""
    path = config.output / "train.json"
    mine = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        different = {k: (stored.get(k), v) for k, v in mine.items() if k not in CHANGEABLE and stored.get(k) != v}
        if different:
            raise ConfigError(f"{path} is of a run with other settings {different}; choose another output")
    config.output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(mine, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Entry point of `magma-train`."""
    try:
        config = tyro.cli(TrainConfig, prog="magma-train")
        processes.join()
        if processes.rank() == 0:
            check_same_command(config)
        trainer = Trainer(config)
        continued = trainer.restore()
    except (ConfigError, DemonstrationError, SavedRunError) as error:
        sys.exit(f"magma-train: {error}")
    if processes.rank() == 0:
        demos = trainer.demos
        parameters = sum(p.numel() for p in trainer.model.parameters()) / 1e6
        state = f"continued at step {trainer.step}" if continued else "new run"
        print(
            f"{len(demos.episode_names)} episodes of {len(demos.cards)} robots, {len(demos)} steps, "
            f"{len(demos.frames)} frames; instructions {list(demos.instructions)}; "
            f"{parameters:.2f} M parameters; {state}",
            flush=True,
        )
    trainer.run()
    processes.leave()


if __name__ == "__main__":
    main()
