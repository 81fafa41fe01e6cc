import pytest

from magma_policy_client.checkpoint_paths import ENVIRONMENT_VARIABLE, CheckpointNotFoundError, find_checkpoint


def test_by_path_and_by_name(tmp_path):
    (tmp_path / "mine").mkdir()
    environment = {ENVIRONMENT_VARIABLE: f"/does/not/exist:{tmp_path}"}
    assert find_checkpoint(str(tmp_path / "mine"), environment) == tmp_path / "mine"
    assert find_checkpoint("mine", environment) == tmp_path / "mine"


def test_a_missing_one_says_where_it_looked_and_what_is_there(tmp_path):
    (tmp_path / "mine").mkdir()
    environment = {ENVIRONMENT_VARIABLE: str(tmp_path)}
    with pytest.raises(CheckpointNotFoundError, match="no checkpoint 'other'") as caught:
        find_checkpoint("other", environment)
    assert str(tmp_path) in str(caught.value) and "mine" in str(caught.value)
    for bad in ["", " ", "/no/such/folder"]:
        with pytest.raises(CheckpointNotFoundError, match="no checkpoint"):
            find_checkpoint(bad, environment)
