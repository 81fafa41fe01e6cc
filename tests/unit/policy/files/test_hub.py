"""Checkpoints by name: only data is fetched, and a missing network is said."""

import json
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

import magma_policy
from magma_contracts.errors import ConfigError
from magma_policy.commands.options import LoadOptions
from magma_policy.errors import CheckpointError, CommandError
from magma_policy.families import registry
from magma_policy.files.hub import HubError, resolve


def listing(monkeypatch, *names):
    """What the Hub says of a repository's files."""
    siblings = [SimpleNamespace(rfilename=name) for name in names]
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=siblings))


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Calls of snapshot_download, which answers with a directory."""
    calls = []
    listing(monkeypatch, "config.json", "model.safetensors")

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

    def unreachable(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    with pytest.raises(HubError, match=r"could not be fetched from the Hub: .*hf download microsoft/Magma-8B"):
        magma_policy.load("microsoft/Magma-8B", device="cpu")


@pytest.mark.parametrize("part", ["action_head--150000_checkpoint.pt", "proprio_projector--150000_checkpoint.pt"])
def test_half_of_a_model_is_not_taken_for_one(asked, monkeypatch, part):
    listing(monkeypatch, "config.json", part, "model.safetensors")
    with pytest.raises(HubError, match=f"'somebody/openvla-oft' holds {part}, as OpenVLA-OFT does"):
        resolve("somebody/openvla-oft")
    assert not asked


@pytest.mark.parametrize("error", [ConnectionError("no route"), HTTPError("no proxy"), OfflineModeIsEnabled("offline")])
def test_where_the_hub_cannot_be_asked_a_snapshot_of_before_is_taken(asked, monkeypatch, tmp_path, error):
    def unreachable(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    assert resolve("microsoft/Magma-8B") == tmp_path / "snapshot"


@pytest.mark.parametrize(
    ("family", "use", "said"),
    [
        ("openvla", LoadOptions().load_text_model, "of openvla, which acts and does not talk"),
        ("openvla", lambda name: registry.load_grounder(name, "cpu", None), "of openvla, which does not point"),
        ("openvla", lambda name: registry.resolve_family(name, "magma"), "of openvla, and one of magma is wanted here"),
        ("kosmos-2", lambda name: magma_policy.load(name, device="cpu"), "of kosmos-2, which points and does not act"),
    ],
)
def test_what_a_model_cannot_do_is_told_before_its_weights_are_fetched(asked, tmp_path, family, use, said):
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "config.json").write_text(json.dumps({"model_type": family}))
    with pytest.raises((ConfigError, CommandError, CheckpointError), match=said):
        use("somebody/some-model")
    assert [options["allow_patterns"] for _, options in asked] == [["config.json"]]
    assert registry.points("somebody/some-model") == (family == "kosmos-2")
    assert [options["allow_patterns"] for _, options in asked] == [["config.json"]] * 2
