"""`magma-demos`: demonstrations of the scripted expert, with noise-injected recoveries, written to disk.

Every step is labelled with the expert's clean action for the state that was visited, while a noisy action is executed
(Laskey et al., "DART: Noise Injection for Robust Imitation Learning", 2017). With an actor it is the policy's action
that is executed (Ross et al., "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning", 2011, DAgger): what the expert would do in the places where the policy gets to. Only layouts of the variant
"random" occur, never one that is for evaluation (see `layouts.py` of the suite's backend).

On disk (no pickle):
    OUT/card.json                    the data card: configuration, counts, camera, versions
    OUT/episodes/<task>-<seed>.npz   one episode of T steps:
        frames uint8 (T, 128, 128, 3)      RGB, as `Observation.image` in an evaluation; absent without images
        proprioception float32 (T, 16)     `ArmState.as_vector`
        actions float32 (T, 7)             the expert's clean EndEffectorDelta
        executed float32 (T, 7)            what was executed
        points float32 (T, 4, 3)           base frame, m: source centre, source tip, rest point of the target, tool
        marks float32 (T, 4, 2)            the same points as pixels (u, v) of the 128 px frame
        object_names (N,)                  strings: every object of the scene, distractors too
        object_positions float32 (T, N, 3) their origins, base frame, m
        instruction, task                  strings;  success: bool, at the last step
"""

from __future__ import annotations

import sys

import tyro

from magma_contracts.interruption import ends_on_interrupt
from magma_contracts.outputs import explained
from magma_eval.policies.interface import PolicyFailedError
from magma_sim.demonstrations.config import DemonstrationConfig
from magma_sim.demonstrations.generation import generate
from magma_sim.tasks.interface import SimulatorUnavailableError


def main() -> None:
    """Command line entry point of `magma-demos`."""
    config = tyro.cli(DemonstrationConfig, prog="magma-demos", description=__doc__)
    try:
        with ends_on_interrupt("magma-demos", "run the same command again to go on"):
            rows = generate(config)
    except (ValueError, OSError, SimulatorUnavailableError, PolicyFailedError) as error:
        sys.exit(f"magma-demos: {explained(error)}")
    for task, row in rows.items():
        print(f"{task:20s} {row['episodes']} episodes, {row['steps']} steps, {row['successes']} successes")


if __name__ == "__main__":
    main()
