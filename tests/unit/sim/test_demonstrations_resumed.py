"""A folder of demonstrations that is gone on with: what is damaged in it is named, and what to do."""

from __future__ import annotations

import numpy as np
import pytest

from magma_sim.demonstrations.config import DemonstrationConfig
from magma_sim.demonstrations.generation import _counted, generate


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b"3", b"\xff\xfe{}", b"[" * 100_000])
def test_a_damaged_card_is_one_sentence(tmp_path, text):
    (tmp_path / "card.json").write_bytes(text)
    with pytest.raises(ValueError, match="does not tell how its episodes were recorded") as caught:
        generate(DemonstrationConfig(out=tmp_path))
    assert str(caught.value).isprintable()


def test_a_damaged_episode_is_one_sentence(tmp_path):
    path = tmp_path / "carrot_on_plate-3.npz"
    np.savez_compressed(path, actions=np.zeros((5, 7)), success=np.array(True))
    whole = path.read_bytes()
    assert _counted(path) == (5, True)
    rng = np.random.default_rng(0)
    for cut in (b"", whole[:20], whole[: len(whole) // 2], whole[:-5], b"PK" + whole[2:][::-1]):
        path.write_bytes(cut)
        with pytest.raises(ValueError, match="delete it"):
            _counted(path)
    for _ in range(300):
        changed = bytearray(whole)
        changed[rng.integers(len(changed))] = rng.integers(256)
        path.write_bytes(bytes(changed))
        try:
            _counted(path)
        except ValueError as error:
            assert str(error).isprintable()
