"""All packages have one version, and the newest entry of the changes is of that version."""

from __future__ import annotations

import re

from pages import text_of, tracked

VERSION = re.compile(r"""(?:^version = "|^ *version="|<version>|^__version__ = ")(\d+\.\d+\.\d+)""", re.MULTILINE)


def versions() -> dict[str, str]:
    """Every place that gives a package's version."""
    found = {}
    for name in sorted(tracked()):
        if "/tests/" in name:
            continue
        if name.endswith(("pyproject.toml", "/setup.py", "/package.xml", "/rclpy_dds/__init__.py")):
            given = VERSION.search(text_of(name))
            if given is not None:
                found[name] = given[1]
    return found


def test_all_packages_have_one_version():
    found = versions()
    assert len(found) >= 23
    assert set(found.values()) == {newest()}, found


def test_every_distribution_says_its_version():
    silent = {"pyproject.toml", "ros2_ws/rclpy_dds/pyproject.toml"}  # no package; the version stands in the package
    files = {name for name in tracked() if name.endswith(("pyproject.toml", "/setup.py", "/package.xml"))}
    assert {name for name in files if "/tests/" not in name} - silent <= set(versions())


def newest() -> str:
    entry = re.search(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert entry is not None
    return entry[1]
