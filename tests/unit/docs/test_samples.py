"""Programs that a page prints, copied out of it and run."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
from pages import text_of

from magma_policy_client import PolicyClient, RefusedError
from magma_policy_client.foreign.model_file import ModelFile


def printed(kind, name):
    """A file as docs/add_a_policy.md prints it."""
    pattern = rf"^```{kind}\n(# {re.escape(name)}\n.*?)^```"
    (sample,) = re.findall(pattern, text_of("docs/add_a_policy.md"), re.MULTILINE | re.DOTALL)
    return sample


@pytest.fixture
def server(tmp_path):
    """The policy of docs/add_a_policy.md as a process of its own; its address."""
    script = tmp_path / "my_policy.py"
    script.write_text(printed("python", script.name))
    process = subprocess.Popen([sys.executable, str(script), "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.kill()
        process.wait()


def test_the_printed_policy_acts(server):
    assert len([line for line in printed("python", "my_policy.py").splitlines() if line.strip()]) <= 30
    with PolicyClient(server, timeout_s=30) as client:
        assert client.spec.policy == "my-policy" and client.identity == "c0ffee"
        client.reset()
        result = client.act(np.zeros((128, 128, 3), np.uint8), "put the carrot on the plate", None, deadline_s=30)
        with pytest.raises(RefusedError, match="the policy takes"):
            client.act(np.zeros((64, 64, 3), np.uint8), "put the carrot on the plate", None, deadline_s=30)
    assert result.deltas.tolist() == [[0.0, 0.0, -0.005, 0.0, 0.0, 0.0, 1.0]]
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(server.replace("ws", "http"), timeout=30)


def test_the_printed_model_file_is_whole(tmp_path):
    path = tmp_path / "my_model.toml"
    path.write_text(printed("toml", path.name))
    model = ModelFile.read(path)
    assert model.spec.horizon == 8 and model.spec.proprioception
