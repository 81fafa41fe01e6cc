"""Finding packages and resources in prefixes."""

import sys

import pytest

from rclpy_dds.ament_index_python import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
    get_packages_with_prefixes,
    get_resource,
    get_resources,
    get_search_paths,
    has_resource,
)

_INDEX = "share/ament_index/resource_index"


@pytest.fixture
def two_prefixes(tmp_path, monkeypatch):
    """Prefixes `over` and `under`; both have the package `both`, each has one of its own."""
    for prefix, packages in (("over", ["both", "only_over"]), ("under", ["both", "only_under"])):
        folder = tmp_path / prefix / _INDEX / "packages"
        folder.mkdir(parents=True)
        for package in packages:
            (folder / package).write_text(prefix)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'over'}:{tmp_path / 'missing'}:{tmp_path / 'under'}")
    return tmp_path


def test_the_first_prefix_that_has_a_package_wins(two_prefixes):
    assert get_package_prefix("both") == str(two_prefixes / "over")
    assert get_package_prefix("only_under") == str(two_prefixes / "under")
    assert get_package_share_directory("both") == str(two_prefixes / "over/share/both")
    found = get_packages_with_prefixes()
    assert found["both"] == str(two_prefixes / "over")
    assert found["only_under"] == str(two_prefixes / "under")


def test_sys_prefix_is_searched_last_and_missing_folders_are_skipped(two_prefixes):
    assert get_search_paths() == [str(two_prefixes / "over"), str(two_prefixes / "under"), sys.prefix]


def test_an_unknown_package_says_where_it_was_looked_for_and_what_was_meant(two_prefixes):
    with pytest.raises(PackageNotFoundError) as caught:
        get_package_prefix("only_ovr")
    assert "did you mean 'only_over'" in str(caught.value)
    assert str(two_prefixes / "over") in str(caught.value)


def test_bad_names_are_refused(two_prefixes):
    with pytest.raises(ValueError, match="not a valid package name"):
        get_package_prefix("../both")
    with pytest.raises(ValueError, match="without / and"):
        has_resource("packages", "a/b")


def test_resources(two_prefixes):
    assert get_resource("packages", "both") == ("over", str(two_prefixes / "over"))
    assert has_resource("packages", "nothing") is None
    assert get_resources("no_such_type") == {}
    with pytest.raises(LookupError, match="nothing"):
        get_resource("packages", "nothing")
