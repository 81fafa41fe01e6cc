"""`magma-init`: write a randomly initialised checkpoint, for trying the graph before any training."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import check_folder
from magma_policy.commands.options import run_command
from magma_policy.errors import CommandError
from magma_policy.families import magma, openvla

MOST_MEGABYTES = 1_000_000


@dataclass(frozen=True)
class InitialiseConfig:
    """Write a randomly initialised checkpoint; its actions are meaningless but within the bounds."""

    output: Path
    """Directory to write."""
    layout: Literal["magma-tiny", "published", "openvla"] = "magma-tiny"
    """magma-tiny: this project's small model and files. published: a plain Magma of few parameters in the files, shards
    and tensor names of microsoft/Magma-8B, with an action spec and statistics beside them. openvla: the same of
    openvla/openvla-7b."""
    seed: int = 0
    step_period_s: float = 0.2
    max_translation_m: float = 0.01
    """Bound of every translation component of its actions; of rotations too, in rad."""
    shard_megabytes: float = 2.0
    """Largest shard of the published layouts."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"--seed must be from 0 to 2^63 - 1, got {self.seed}")
        if not 0.001 <= self.shard_megabytes <= MOST_MEGABYTES:
            raise ConfigError(f"--shard-megabytes must be from 0.001 to {MOST_MEGABYTES}, got {self.shard_megabytes}")


def main() -> None:
    """Entry point of `magma-init`."""
    sys.exit(run_command("magma-init", lambda: write(tyro.cli(InitialiseConfig, prog="magma-init"))))


def write(config: InitialiseConfig) -> int:
    """Writes the checkpoint. Raises CommandError when that would overwrite something."""
    if config.output.is_dir() and any(config.output.iterdir()):
        raise CommandError(f"--output {config.output} is not empty; give a new folder, nothing is overwritten")
    check_folder(config.output, "--output")
    shard_bytes = int(config.shard_megabytes * 1e6)
    if config.layout == "openvla":
        name, count = openvla.write_random(
            config.output, config.seed, config.step_period_s, config.max_translation_m, shard_bytes
        )
    else:
        wanted = magma.RandomCheckpoint(
            config.layout, config.seed, config.step_period_s, config.max_translation_m, shard_bytes
        )
        name, count = magma.write_random(config.output, wanted)
    print(f"wrote {config.output}: {name}, {count / 1e6:.2f} M parameters, random")
    return 0


if __name__ == "__main__":
    main()
