"""The command `magma-train`."""

from __future__ import annotations

import dataclasses
import json
import shlex
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


def check_output(config: TrainConfig) -> None:
    """ConfigError when the output is no folder, belongs to a run with other settings, or holds somebody else's
    checkpoint. Writes nothing: until a run can begin, it claims no folder."""
    path = config.output / "train.json"
    if config.output.exists() and not config.output.is_dir():
        raise ConfigError(f"--output {config.output} is a file; give a folder")
    if path.is_file():
        mine = _as_json(config)
        # A setting that was not known yet had what is now its default.
        defaults = _as_json(TrainConfig(config.demonstrations, config.output))
        stored = defaults | json.loads(path.read_text(encoding="utf-8"))
        different = {k: (stored[k], v) for k, v in mine.items() if k not in CHANGEABLE and stored[k] != v}
        if different:
            raise ConfigError(f"{path} is of a run with other settings {different}; choose another output")
        return
    theirs = [name for name in ("checkpoint", "adapter", "config.json") if (config.output / name).exists()]
    if theirs and not (config.output / "training").is_dir():
        raise ConfigError(f"{config.output} holds {theirs[0]}, but of no training run; choose another output")


def check_same_command(config: TrainConfig) -> None:
    """Store the command beside the run; ConfigError as `check_output`."""
    check_output(config)
    config.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_as_json(config), indent=2)
    (config.output / "train.json").write_text(text + "\n", encoding="utf-8")


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
            check_output(config)
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
        if processes.rank() == 0:
            check_same_command(config)
    except KeyboardInterrupt:
        print("magma-train: interrupted before the first step; nothing was written", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        sys.exit(f"magma-train: {error}")
    except (
        ConfigError, DemonstrationError, SavedRunError, CheckpointError, CheckpointNotFoundError, HubError,
    ) as error:  # fmt: skip
        sys.exit(f"magma-train: {error}")
    if processes.rank() == 0:
        state = f"continued at step {trainer.step}" if continued else "new run"
        print(f"{describe(trainer.demos)}; {state}", flush=True)
    interrupted_by = trainer.run()
    processes.leave()
    if interrupted_by:
        if processes.rank() == 0:
            again = shlex.join(["magma-train", *sys.argv[1:]])
            print(f"interrupted at step {trainer.step} of {config.steps}; what was learnt is saved. To go on: {again}")
        # As shells tell of a program that a signal has ended.
        sys.exit(128 + interrupted_by)


if __name__ == "__main__":
    main()
