"""Where the picture of a recording begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from magma_control.phases import Phase
from magma_recorder.plots import LEAD_NS, draw, shown_from
from magma_recorder.replay import Replay, TimedState

MINUTE_NS = 60_000_000_000


def test_a_picture_leaves_out_the_minute_in_which_everything_starts(tmp_path):
    begin = 1_700_000_000_000_000_000
    result = Replay(Path("a.mcap"), phases=[(begin, Phase.HOLD)], end_ns=begin + 2 * MINUTE_NS)
    assert shown_from(result) == begin, "nothing ever happened"
    result.phases.append((begin + MINUTE_NS, Phase.AUTONOMOUS))
    assert shown_from(result) == begin + MINUTE_NS - LEAD_NS
    result.phases[1] = (begin + 10, Phase.AUTONOMOUS)
    assert shown_from(result) == begin
    result.phases[1] = (begin + MINUTE_NS, Phase.AUTONOMOUS)
    result.states = [TimedState(begin + n * MINUTE_NS // 10, np.zeros(3), np.zeros(3), 1.0, 1.0) for n in range(20)]
    draw(result, tmp_path / "replay.png")
    assert (tmp_path / "replay.png").read_bytes()[1:4] == b"PNG"
