"""A set of screens that was begun is gone on with, or told to be none."""

from __future__ import annotations

import pytest

from magma_policy.commands import screen_demos
from magma_policy.errors import CommandError
from magma_policy.screens.rows import ROWS, Row, append_rows


def test_a_set_without_a_row_yet_holds_no_episode(tmp_path):
    assert screen_demos._made(tmp_path) == set()
    (tmp_path / ROWS).touch()
    assert screen_demos._made(tmp_path) == set()


def test_a_damaged_set_is_a_sentence(tmp_path):
    (tmp_path / ROWS).write_text("{\n")
    with pytest.raises(CommandError, match="line 1"):
        screen_demos._made(tmp_path)


def test_a_set_is_gone_on_with_as_it_was_begun(tmp_path):
    def keep(others, begun):
        screen_demos._keep_settings(screen_demos.ScreenDemosConfig(tmp_path, others=others), begun)

    keep(6, begun=False)
    keep(6, begun=True)
    with pytest.raises(
        CommandError, match=r"demos\.json is of a set made with other settings \(others is 6 there, 0 here"
    ):
        keep(0, begun=True)
    (tmp_path / screen_demos.SETTINGS).write_text("[")
    with pytest.raises(CommandError, match=r"demos\.json: .*give a new OUT"):
        keep(6, begun=True)
    (tmp_path / screen_demos.SETTINGS).unlink()
    with pytest.raises(CommandError, match=r"holds rows but no demos\.json"):
        keep(6, begun=True)


def test_an_episodes_name_is_what_all_its_rows_share(tmp_path):
    (tmp_path / "p.png").write_bytes(b"")
    append_rows(
        tmp_path, [Row(f"click-tab-train-3-{row}", "p.png", "which?", "Mark: 0") for row in ("0.0", "0.1", "1.0")]
    )
    assert screen_demos._made(tmp_path) == {"click-tab-train-3"}
