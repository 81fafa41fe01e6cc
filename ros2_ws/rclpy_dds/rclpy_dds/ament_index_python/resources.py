"""Resources that packages register in the ament index: small files, named after the package, sorted by type."""

from __future__ import annotations

import os

from .constants import RESOURCE_INDEX_SUBFOLDER
from .search_paths import get_search_paths


class InvalidResourceTypeNameError(ValueError):
    """A resource type is empty or holds a path separator."""


class InvalidResourceNameError(ValueError):
    """A resource name is empty or holds a path separator."""


def _check(resource_type: str, resource_name: str | None = None) -> None:
    if not resource_type or "/" in resource_type or "\\" in resource_type:
        raise InvalidResourceTypeNameError(f"resource type {resource_type!r} must be a name without / and \\")
    if resource_name is not None and (not resource_name or "/" in resource_name or "\\" in resource_name):
        raise InvalidResourceNameError(f"resource name {resource_name!r} must be a name without / and \\")


def has_resource(resource_type: str, resource_name: str) -> str | None:
    """Return the prefix that has the resource, or None."""
    _check(resource_type, resource_name)
    for prefix in get_search_paths():
        if os.path.isfile(os.path.join(prefix, RESOURCE_INDEX_SUBFOLDER, resource_type, resource_name)):
            return prefix
    return None


def get_resource(resource_type: str, resource_name: str) -> tuple[str, str]:
    """Return (content, prefix) of a resource. Raises LookupError when no prefix has it."""
    prefix = has_resource(resource_type, resource_name)
    if prefix is None:
        raise LookupError(f"Could not find the resource '{resource_name}' of type '{resource_type}'")
    path = os.path.join(prefix, RESOURCE_INDEX_SUBFOLDER, resource_type, resource_name)
    with open(path, encoding="utf-8") as file:
        return file.read(), prefix


def get_resources(resource_type: str) -> dict[str, str]:
    """Return {name: prefix} of all resources of a type; the first prefix that has a name wins."""
    _check(resource_type)
    resources: dict[str, str] = {}
    for prefix in get_search_paths():
        folder = os.path.join(prefix, RESOURCE_INDEX_SUBFOLDER, resource_type)
        if not os.path.isdir(folder):
            continue
        for name in os.listdir(folder):
            if not name.startswith(".") and os.path.isfile(os.path.join(folder, name)):
                resources.setdefault(name, prefix)
    return resources


def get_resource_types() -> set[str]:
    """Return the types of which some resource is registered."""
    types: set[str] = set()
    for prefix in get_search_paths():
        folder = os.path.join(prefix, RESOURCE_INDEX_SUBFOLDER)
        if os.path.isdir(folder):
            types.update(name for name in os.listdir(folder) if os.path.isdir(os.path.join(folder, name)))
    return types
