"""Where a robot's URDF text comes from, without ROS: files and installed packages. Topics are the node's business."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from magma_contracts.errors import ConfigError
from magma_contracts.files.digests import content_hash
from magma_contracts.files.small_files import read_text
from magma_contracts.text import brief, printable
from magma_control.robots.robot_config import DescriptionSection
from magma_control.robots.urdf_check import LARGEST_BYTES

TOPIC = "topic://"
MODULE = "module://"


@dataclass(frozen=True)
class RobotDescription:
    """A URDF and where its meshes are."""

    urdf: str
    package_dirs: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """Names the URDF by its content."""
        return content_hash(self.urdf)


def topic_of(section: DescriptionSection) -> str | None:
    """The topic on which the description is latched, or None when it is a file."""
    return section.source[len(TOPIC) :] if section.source.startswith(TOPIC) else None


def read_description(section: DescriptionSection) -> RobotDescription:
    """Reads a description from a file.

    Raises:
        ConfigError: no such file or package; or the source is a topic.
    """
    source = section.source
    if source.startswith(TOPIC):
        raise ConfigError(f"description.source {source} is a topic: wait for its message")
    if source.startswith(MODULE):
        package, _, inside = source[len(MODULE) :].partition("/")
        # A name with dots would have Python import, that is run, what stands before the last one.
        if not package.isidentifier() or PurePosixPath(inside).is_absolute() or ".." in PurePosixPath(inside).parts:
            raise ConfigError(
                f"description.source {brief(source)} is not module://PACKAGE/PATH of a top-level Python package and a "
                "file within it"
            )
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(
                f"description.source {source}: the Python package {package!r} is not installed here; "
                "give a file, or topic://robot_description"
            )
        path = Path(next(iter(spec.submodule_search_locations)), inside)
    else:
        path = Path(source).expanduser()
    try:
        there = path.is_file()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise ConfigError(f"description.source {brief(source)} cannot be read: {printable(error)}") from None
    if not there:
        raise ConfigError(f"description.source {printable(source)}: there is no file {printable(str(path))}")
    try:
        urdf = read_text(path, LARGEST_BYTES)
    except ConfigError as error:
        raise ConfigError(f"description.source {brief(source)} {error}") from None
    return RobotDescription(urdf, (*section.package_dirs, str(path.parent)))


def description_from_text(urdf: str, section: DescriptionSection) -> RobotDescription:
    """The content of a /robot_description message.

    Raises:
        ConfigError: it is no URDF.
    """
    if "<robot" not in urdf:
        raise ConfigError(f"the text on {section.source} is no URDF: it begins with {urdf[:60]!r}")
    return RobotDescription(urdf, tuple(section.package_dirs))
