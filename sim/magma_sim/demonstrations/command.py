"""`magma-demos`: demonstrations of the scripted expert, with noise-injected recoveries, written to disk.

Every step is labelled with the expert's clean action for the state that was visited, while a noisy action is executed
(Laskey et al., "DART: Noise Injection for Robust Imitation Learning", 2017). With an actor it is the policy's action
that is executed (Ross et al., "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning", 2011, DAgger): what the expert would do in the places where the policy gets to. Only layouts of the variant
"random" occur, never one that is for evaluation (see `layouts.py` of the suite's backend).

On disk, a LeRobot dataset of version 3.0, which lerobot and its tools read as any other:
    OUT/meta/info.json, stats.json, tasks.parquet, episodes/    features, clock, statistics, instructions, episodes
    OUT/data/chunk-…/file-….parquet                             a row for each of the T steps of an episode:
        observation.images.third_person    PNG, without loss, as `Observation.image` in an evaluation; absent without
        images observation.state float32 (16,)    `ArmState.as_vector`
        action float32 (7,)                the expert's clean EndEffectorDelta
        magma.executed float32 (7,)        what was executed
        magma.points float32 (4, 3)        base frame, m: source centre, source tip, rest point of the target, tool
        magma.marks float32 (4, 2)         the same points as pixels (u, v) of the 128 px frame
        magma.object_positions float32 (N, 3)  origins of the episode's objects, base frame, m; NaN beyond their number
    OUT/meta/magma.json                    the data card: configuration, counts, camera, versions
    OUT/meta/magma_episodes.jsonl          of each episode: name (<task>-<seed>), task, success at the last step, and
                                           object_names, every object of the scene, distractors too
"""

from __future__ import annotations

import sys

import tyro

from magma_contracts.files.outputs import explained
from magma_contracts.interruption import ends_on_interrupt
from magma_eval.policies.interface import PolicyFailedError
from magma_eval.pools.ray_cluster import RayError
from magma_sim.demonstrations.config import DemonstrationConfig
from magma_sim.demonstrations.generation import generate
from magma_sim.tasks.interface import SimulatorUnavailableError


def main() -> None:
    """Command line entry point of `magma-demos`."""
    config = tyro.cli(DemonstrationConfig, prog="magma-demos", description=__doc__)
    try:
        with ends_on_interrupt("magma-demos", "run the same command again to go on"):
            rows = generate(config)
    except (ValueError, OSError, SimulatorUnavailableError, PolicyFailedError, RayError) as error:
        sys.exit(f"magma-demos: {explained(error)}")
    for task, row in rows.items():
        print(f"{task:20s} {row['episodes']} episodes, {row['steps']} steps, {row['successes']} successes")


if __name__ == "__main__":
    main()
