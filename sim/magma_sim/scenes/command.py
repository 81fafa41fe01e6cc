"""`magma-scenes`: pictures of simulated scenes and what stands where in them, written to disk.

For a model that points (`magma-train --recipe grounding`). In half of the scenes two things look alike, so that only
words of place tell them apart. A scene follows from its simulator, split and number alone; none is that of an
evaluation.

On disk (no pickle):
    OUT/card.json                 simulator, split, versions
    OUT/scenes/<first>-<n>.npz    n scenes from number <first> on, see `magma_contracts.scenes`
"""

from __future__ import annotations

import sys

import tyro

from magma_contracts.files.outputs import explained
from magma_sim.scenes.config import ScenesConfig
from magma_sim.scenes.generation import generate
from magma_sim.tasks.interface import SimulatorUnavailableError


def main() -> None:
    """Command line entry point of `magma-scenes`."""
    config = tyro.cli(ScenesConfig, prog="magma-scenes", description=__doc__)
    try:
        count = generate(config)
    except (ValueError, OSError, SimulatorUnavailableError) as error:
        sys.exit(f"magma-scenes: {explained(error)}")
    except KeyboardInterrupt:
        sys.exit("magma-scenes: interrupted; run the same command again to go on")
    print(f"{config.out}: {count} scenes of {config.simulator} for {config.split}")


if __name__ == "__main__":
    main()
