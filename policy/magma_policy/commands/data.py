"""`magma-data info|check|view|convert|mapping SET`: demonstration sets and anybody's LeRobot datasets, looked at,
judged, shown as a page and converted.

    magma-data info SET                  what is in it: episodes, steps, instructions, features with their statistics
    magma-data check SET                 everything is read; what is missing, not finite, damaged or out of step is told
    magma-data view SET --out FOLDER     a page with pictures, marks and actions over time
    magma-data convert OLD NEW           a set of today's format, of any that is read; --video stores films
    magma-data mapping SET               a mapping file to fill in, for a set that is not of this project
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import check_folder
from magma_data.errors import DatasetError
from magma_data.reader import Dataset, is_dataset
from magma_policy.commands.options import run_command
from magma_policy.demonstrations import mapping as mapping_files
from magma_policy.demonstrations.converting import convert
from magma_policy.demonstrations.episode_file import DemonstrationError
from magma_policy.demonstrations.mapping import Mapping
from magma_policy.demonstrations.sources import find_set, open_set
from magma_policy.demonstrations.survey import check, described
from magma_policy.demonstrations.view import write_page
from magma_policy.errors import CommandError


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit status: 1 where a check found something, or something could not be read or written."""
    given = _parser().parse_args(arguments)
    return run_command("magma-data", lambda: _run(given))


def _run(given: argparse.Namespace) -> int:
    try:
        return int(given.run(given))
    except (DatasetError, DemonstrationError) as error:
        raise CommandError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="magma-data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="info|check|view|convert|mapping")
    for name, run, text in (
        ("info", _info, "what is in a set"),
        ("check", _check, "reads everything and tells what is wrong; status 1 where something is"),
        ("view", _view, "writes a page"),
        ("convert", _convert, "writes a set of today's format"),
        ("mapping", _mapping, "prints a mapping file to fill in"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.set_defaults(run=run)
        verb.add_argument("set", type=Path, help="folder, folder of the Hub's cache, or owner/name of what is in there")
        if name == "view":
            verb.add_argument("--out", type=Path, required=True, help="folder of the page")
            verb.add_argument("--episodes", type=int, default=6, help="so many, evenly spaced")
        if name == "convert":
            verb.add_argument("new", type=Path, help="new folder")
            verb.add_argument(
                "--video", action="store_true", help="films (H.264) in place of PNG: smaller, not lossless"
            )
            verb.add_argument(
                "--ray",
                nargs="?",
                const="",
                metavar="HOST:PORT|auto",
                help="episodes are read and decoded on a Ray cluster (docs/scale.md), which finds SET at the same "
                "place; without an address one of this machine is started",
            )
            verb.add_argument("--workers", type=int, default=1, help="on all machines of the cluster together")
        if name in ("view", "convert", "check"):
            verb.add_argument(
                "--mappings",
                type=Path,
                nargs="+",
                default=[],
                help="mapping files, for sets that are not of this project",
            )
    return parser


def _info(given: argparse.Namespace) -> int:
    print("\n".join(described(find_set(given.set))))
    return 0


def _check(given: argparse.Namespace) -> int:
    found = 0
    for problem in check(find_set(given.set), _read(given.mappings)):
        found += 1
        print(problem)
    print(f"{given.set}: {found} problems" if found else f"{given.set}: nothing wrong was found")
    return int(found > 0)


def _view(given: argparse.Namespace) -> int:
    if given.episodes < 1:
        raise ConfigError(f"--episodes must be at least 1, got {given.episodes}")
    check_folder(given.out, "--out")
    print(write_page(open_set(given.set, _read(given.mappings)), given.out, given.episodes))
    return 0


def _convert(given: argparse.Namespace) -> int:
    if given.new.exists() and (not given.new.is_dir() or any(given.new.iterdir())):
        raise ConfigError(f"{given.new} is there already; give a new folder")
    check_folder(given.new, "NEW")
    if given.workers < 1 or (given.ray is None and given.workers != 1):
        raise ConfigError(f"--workers are of a cluster, --ray, and at least 1; got {given.workers}")
    mappings = _read(given.mappings)
    opened = open_set(given.set, mappings)
    read = None
    if given.ray is not None:
        # Ray is an extra.
        from magma_policy.demonstrations.on_cluster import read_on_cluster

        read = read_on_cluster(opened, mappings, given.workers, given.ray)
    episodes, steps = convert(opened, given.new, given.video, read)
    print(f"{given.new}: {episodes} episodes, {steps} steps")
    return 0


def _mapping(given: argparse.Namespace) -> int:
    folder = find_set(given.set)
    if not is_dataset(folder):
        raise ConfigError(f"{folder}: is no LeRobot dataset, and needs no mapping")
    info = Dataset(folder).info
    features = {
        name: f"{feature.dtype} {list(feature.shape)} {', '.join(feature.names or ())}".strip()
        for name, feature in info.features.items()
    }
    print(mapping_files.template(info.robot_type, info.fps, features, info.cameras), end="")
    return 0


def _read(paths: Sequence[Path]) -> list[Mapping]:
    return [Mapping.read(path) for path in paths]


if __name__ == "__main__":
    sys.exit(main())
