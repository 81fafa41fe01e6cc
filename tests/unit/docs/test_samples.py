"""Programs that a page prints, copied out of it and run."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from pages import text_of

from magma_policy_client import PolicyClient


@pytest.fixture
def server(tmp_path):
    """The policy of docs/add_a_policy.md as a process of its own; its address."""
    (sample,) = re.findall(
        r"^```python\n(# my_policy\.py\n.*?)^```", text_of("docs/add_a_policy.md"), re.MULTILINE | re.DOTALL
    )
    script = tmp_path / "my_policy.py"
    script.write_text(sample)
    process = subprocess.Popen([sys.executable, str(script), "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.kill()
        process.wait()


def test_the_printed_policy_acts(server):
    with PolicyClient(server, timeout_s=30) as client:
        assert client.spec.policy == "my-policy"
        client.reset()
        result = client.act(np.zeros((128, 128, 3), np.uint8), "put the carrot on the plate", None, deadline_s=30)
    assert result.deltas.tolist() == [[0.0, 0.0, -0.005, 0.0, 0.0, 0.0, 1.0]]
