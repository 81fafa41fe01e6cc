"""`magma-export`: demonstrations and corrections out of recordings, for magma-train."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import explained
from magma_recorder.export import UNPLACED, ExportOptions, export
from magma_recorder.marked_points import read_marked_points
from magma_recorder.recordings.recording import RecordingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    defaults = ExportOptions()
    parser = argparse.ArgumentParser(prog="magma-export", description=__doc__)
    parser.add_argument("recordings", type=Path, nargs="+", help="MCAP files, or the folders that hold them")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    parser.add_argument("--operator-weight", type=float, default=defaults.operator_weight)
    parser.add_argument(
        "--policy-weight", type=float, default=defaults.policy_weight, help="0 leaves the policy's own steps out"
    )
    parser.add_argument(
        "--before-takeover-s",
        type=float,
        default=defaults.before_takeover_s,
        help="the policy's steps of so long before a take-over weigh nothing",
    )
    parser.add_argument("--table-height-m", type=float, default=defaults.table_height_m)
    parser.add_argument("--step-period-s", type=float, default=defaults.step_period_s)
    parser.add_argument(
        "--robot",
        default=defaults.robot,
        help="name of arm and camera set-up, as in the card of the demonstrations that these are to go with",
    )
    parser.add_argument(
        "--marked-points",
        type=Path,
        help="YAML file: which frames of /tf are the objects of each instruction, for their marks",
    )
    parser.add_argument(
        "--base-frame",
        default=defaults.base_frame,
        help="frame of the arm's base in /tf; otherwise the one that the end effector's state names",
    )
    parser.add_argument(
        "--camera-frame",
        default=defaults.camera_frame,
        help="the camera's optical frame in /tf; otherwise the one that its CameraInfo names",
    )
    parser.add_argument("--namespace", help="of the robot, such as /left, where a recording holds several")
    options = parser.parse_args(arguments)
    try:
        counts = export(
            options.recordings,
            options.out,
            ExportOptions(
                operator_weight=options.operator_weight,
                policy_weight=options.policy_weight,
                before_takeover_s=options.before_takeover_s,
                table_height_m=options.table_height_m,
                step_period_s=options.step_period_s,
                robot=options.robot,
                base_frame=options.base_frame,
                camera_frame=options.camera_frame,
                namespace=options.namespace,
                marked_points=read_marked_points(options.marked_points) if options.marked_points else {},
            ),
        )
    except (RecordingError, ConfigError, OSError) as error:
        print(explained(error), file=sys.stderr)
        return 1
    print(
        f"{options.out}: {counts['episodes']} episodes, {counts['steps']} steps, of which {counts['operator_steps']} "
        f"the operator's; {counts['left_out']} commands had no frame, {counts['damaged']} a damaged one, "
        f"{counts['without_instruction']} steps no instruction"
    )
    for reason, count in counts.items():
        if reason.startswith(UNPLACED):
            print(f"{count} times {reason}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
