"""Which code played an episode."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from pathlib import Path

import magma_sim

_PRESENTATION = (
    "charts.py",
    "clips.py",
    "command.py",
    "compare.py",
    "merge.py",
    "published.py",
    "report.py",
    "summary.py",
)
"""files of this folder that have no say in how an episode goes"""


@functools.cache
def code_version() -> str:
    """The distribution's version and a hash of its sources that decide how an episode goes, such as 0.1.0+1a2b3c4d."""
    root = Path(magma_sim.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if path.parent == Path(__file__).parent and path.name in _PRESENTATION:
            continue
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return f"{importlib.metadata.version('magma-sim')}+{digest.hexdigest()[:8]}"


def versions() -> dict[str, str]:
    """Versions of what else may change a result."""
    names = ("mani_skill", "sapien", "numpy", "opencv-python", "magma-policy-client")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
