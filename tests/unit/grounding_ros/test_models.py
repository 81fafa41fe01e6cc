"""Which models a node takes, before anything is loaded."""

import pytest

from magma_contracts.errors import ConfigError
from magma_grounding_ros.models import is_gone, loader
from magma_policy_client import ConnectionLostError, PolicyChangedError


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("", "names no model that points"),
        ("carrot", "give kosmos2:FOLDER"),
        ("kosmos2: ", "names no model that points"),
        ("kosmos2:nowhere", "no checkpoint 'nowhere'"),
        ("kosmos2:EMPTY", "there is no config.json"),
        ("ws://", "looks like ws://host:port"),
        ("ws://gpu-box", "names no port"),
    ],
)
def test_what_is_no_model_is_told(model, told, tmp_path):
    with pytest.raises(ConfigError, match=told):
        loader(model.replace("EMPTY", str(tmp_path)), "cpu", 1, "", 1.0)


def test_a_token_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        loader("ws://gpu-box:8765", "cpu", 1, str(tmp_path / "none"), 1.0)


def test_only_another_model_ends_a_connection_for_good():
    assert is_gone(PolicyChangedError("x")) and not is_gone(ConnectionLostError("x"))
