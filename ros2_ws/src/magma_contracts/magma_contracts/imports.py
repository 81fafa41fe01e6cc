"""What to say when a library that only some uses need cannot be imported."""

from __future__ import annotations


def import_problem(error: ImportError, remedy: str, *packages: str) -> str:
    """Continues a sentence that names what the packages are needed for.

    Args:
        error: what importing them raised.
        remedy: how to install them, for when one of them is not there.
        packages: their names as they are imported.

    Returns:
        Which package is missing, and the remedy; or what the import said, when they are there (a system library that
        they lack, a version that does not fit), since installing them would not help.
    """
    if isinstance(error, ModuleNotFoundError) and error.name in packages:
        return f"{error.name} is not installed: {remedy}"
    return f"importing {' and '.join(packages)} failed: {error}"
