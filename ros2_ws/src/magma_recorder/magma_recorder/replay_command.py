"""`magma-replay`: runs a recording through the safety stage again, compares, and draws what was asked and done."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from magma_contracts.files.outputs import OutputError, check_file, explained
from magma_control.journal import JournalError
from magma_recorder.plots import draw
from magma_recorder.recordings.recording import RecordingError
from magma_recorder.replay import replay


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Ends with 0 when every recorded command came out again bit for bit, with 1 otherwise."""
    parser = argparse.ArgumentParser(prog="magma-replay", description=__doc__)
    parser.add_argument("path", type=Path, help="MCAP file, or the folder that holds it")
    parser.add_argument("--plot", type=Path, help="PNG to write; default: replay.png beside the recording")
    parser.add_argument("--no-plot", action="store_true", help="compare only")
    parser.add_argument("--namespace", help="of the robot, such as /left, where a recording holds several")
    options = parser.parse_args(arguments)
    try:
        folder = options.path if options.path.is_dir() else options.path.parent
        picture = options.plot or folder / "replay.png"
        if not options.no_plot and options.path.exists():
            check_file(picture, "--plot")
        result = replay(options.path, options.namespace)
        print(result.text())
        if not options.no_plot:
            draw(result, picture)
            print(f"drawn: {picture}")
    except (RecordingError, JournalError, OutputError, OSError) as error:
        print(explained(error), file=sys.stderr)
        return 1
    return 0 if result.exact else 1


if __name__ == "__main__":
    sys.exit(main())
