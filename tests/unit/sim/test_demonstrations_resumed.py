"""A folder of demonstrations that is gone on with: what is damaged in it is named, and what to do."""

from __future__ import annotations

import json

import numpy as np
import pytest

from magma_data.demonstrations import add_episode, form_of, open_set
from magma_sim.demonstrations.config import DemonstrationConfig
from magma_sim.demonstrations.files import recording_settings
from magma_sim.demonstrations.generation import _begun


@pytest.fixture
def begun(tmp_path):
    """A set of one episode, and the configuration that it was made with."""
    config = DemonstrationConfig(out=tmp_path / "set", images=False)
    state = np.zeros((4, 16), np.float32)
    arrays = {
        "proprioception": state, "actions": np.zeros((4, 7)), "marks": np.zeros((4, 4, 2)),
        "instruction": np.array("put it down"), "task": np.array("stack_blocks"), "success": np.array(True),
    }  # fmt: skip
    form = form_of(arrays)
    writer = open_set(config.out, form, 5.0, "panda")
    add_episode(writer, form, "stack_blocks-0", arrays)
    writer.flush({"format_version": 2, "recording": recording_settings(config)})
    return config


def test_what_was_begun_is_found_with_its_episodes(begun):
    there = _begun(begun, recording_settings(begun))
    assert there is not None and [episode.name for episode in there.episodes] == ["stack_blocks-0"]
    assert there.episodes[0].more["success"] is True
    new = DemonstrationConfig(out=begun.out.parent / "new")
    assert _begun(new, recording_settings(new)) is None


DAMAGED = {
    "empty": b"",
    "cut off": b"{",
    "a list": b"[]",
    "without a field": b"{}",
    "a number": b"3",
    "not UTF-8": b"\xff\xfe{}",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("file", ["info.json", "magma.json", "magma_episodes.jsonl"])
@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_one_sentence(begun, file, text):
    path = begun.out / "meta" / file
    path.write_bytes(text)
    if file == "magma_episodes.jsonl" and not text:
        return  # nothing is told of the episodes: their names are then their numbers
    with pytest.raises(ValueError) as caught:
        _begun(begun, recording_settings(begun))
    assert str(caught.value).isprintable() and str(begun.out) in str(caught.value)


def test_other_settings_and_an_earlier_format_are_refused_with_the_remedy(begun):
    card = begun.out / "meta" / "magma.json"
    data = json.loads(card.read_text())
    card.write_text(json.dumps(data | {"recording": {}}))
    with pytest.raises(ValueError, match="choose another --out"):
        _begun(begun, recording_settings(begun))
    (begun.out / "card.json").write_text("{}")
    with pytest.raises(ValueError, match="magma-data convert"):
        _begun(begun, recording_settings(begun))
