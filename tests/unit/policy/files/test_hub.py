"""Checkpoints by name: only data is fetched, and a missing network is said."""

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

import magma_policy
from magma_policy.errors import CheckpointError
from magma_policy.files.hub import HubError, resolve


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Calls of snapshot_download, which answers with a directory."""
    calls = []

    def download(repository, **options):
        calls.append((repository, options))
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return calls


def test_only_data_files_are_fetched(asked, tmp_path):
    assert resolve("microsoft/Magma-8B") == tmp_path / "snapshot"
    assert resolve("microsoft/Magma-8B@refs/pr/3") == tmp_path / "snapshot"
    assert [(name, options["revision"]) for name, options in asked] == [
        ("microsoft/Magma-8B", None),
        ("microsoft/Magma-8B", "refs/pr/3"),
    ]
    assert asked[0][1]["allow_patterns"] == ["*.json", "*.safetensors"]


def test_a_directory_wins_and_other_names_are_paths(asked, tmp_path, monkeypatch):
    (tmp_path / "microsoft" / "Magma-8B").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve("microsoft/Magma-8B").is_dir()
    for path in ("/no/such/folder", "runs/a/b", "checkpoint", tmp_path / "x" / "y"):
        assert str(resolve(path)) == str(path)
    assert not asked
    with pytest.raises(CheckpointError, match="no such checkpoint directory"):
        magma_policy.load(tmp_path / "nothing", device="cpu")


def test_no_network_is_said_with_what_to_do(monkeypatch):
    def download(*_, **__):
        raise LocalEntryNotFoundError("Cannot find an appropriate cached snapshot folder.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(HubError, match=r"could not be fetched from the Hub: .*hf download microsoft/Magma-8B"):
        magma_policy.load("microsoft/Magma-8B", device="cpu")
