"""The demonstration format's version."""

from __future__ import annotations

import pytest

from magma_contracts.demonstrations import FORMAT_VERSION, NEEDED, READABLE_VERSIONS, SHAPES, check_version


def test_what_is_written_can_be_read_and_what_is_needed_has_a_shape():
    assert FORMAT_VERSION in READABLE_VERSIONS and set(NEEDED) <= set(SHAPES)


def test_cards_of_every_version_so_far_are_read_and_later_ones_refused_with_the_remedy():
    assert check_version({}) == 1
    assert [check_version({"format_version": version}) for version in READABLE_VERSIONS] == list(READABLE_VERSIONS)
    for version in (FORMAT_VERSION + 1, 0, "2", None, True, [1], 2.5, "x" * 5000):
        with pytest.raises(ValueError, match="this program reads") as refused:
            check_version({"format_version": version})
        assert len(str(refused.value)) < 300
