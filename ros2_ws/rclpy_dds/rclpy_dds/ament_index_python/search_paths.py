"""Where installed packages are looked for."""

from __future__ import annotations

import os
import sys

from .constants import AMENT_PREFIX_PATH_ENV_VAR


def get_search_paths() -> list[str]:
    """Return the existing prefixes of AMENT_PREFIX_PATH in order, then sys.prefix (the virtual environment).

    Unlike ROS 2's function, an unset AMENT_PREFIX_PATH is no error, because packages are installed into the
    environment itself.
    """
    paths = [path for path in os.environ.get(AMENT_PREFIX_PATH_ENV_VAR, "").split(os.pathsep) if os.path.isdir(path)]
    return [*paths, sys.prefix] if sys.prefix not in paths else paths
