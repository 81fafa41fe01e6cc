"""Commands that take a checkpoint take an OpenVLA: what `magma-init` writes acts, is served, and does not talk."""

import json

import numpy as np
import pytest
from PIL import Image

from magma_contracts.errors import ConfigError
from magma_eval.policies.choice import PolicyChoice
from magma_policy.commands import act, chat, init, serve
from magma_policy.errors import CheckpointError, CommandError
from magma_policy.families import magma
from magma_policy_client import PolicyClient
from magma_policy_client.checkpoint_paths import find_checkpoint
from tests.running_server import running
from tests.unit.policy.families.openvla.conftest import frame


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "openvla-small"
    assert init.write(init.InitialiseConfig(folder, "openvla", max_translation_m=0.02)) == 0
    return folder


def test_it_acts_by_hand_within_its_bounds(small, run, tmp_path):
    Image.fromarray(frame(0, 120, 90)).save(tmp_path / "picture.png")
    question = [tmp_path / "picture.png", "Put the carrot on the plate", "--json", "--checkpoint"]
    status, out, _ = run(act, *question, f"openvla:{small}")
    said = json.loads(out)
    assert status == 0 and said["policy"] == "openvla-small" and said["marks"] is None
    assert len(said["ids"]) == 7 and all(31744 <= id_ < 32000 for id_ in said["ids"])
    assert np.abs(np.array(said["deltas"])[0, :6]).max() <= 0.02
    assert json.loads(run(act, *question, small)[1])["ids"] == said["ids"]
    status, _, notes = run(act, *question, small, "--unnorm-key", "bridge_orig")
    assert status == 1 and "'bridge_orig'; the checkpoint has ['random']" in notes


def test_it_is_served_as_it_acts_here(small):
    config = serve.ServeConfig(f"openvla:{small}", keep_answers=False)
    served = serve.load(config)
    image = frame(1, 224, 224)
    with (
        running(lambda: serve.make_server(served, config, None)) as url,
        PolicyClient(url.replace("http", "ws"), timeout_s=30.0) as client,
    ):
        assert client.spec.policy == "openvla-small" and client.identity == served.identity
        answer = client.act(image, "go", None)
    assert np.array_equal(answer.deltas, served.policy.act(image, "go", None).deltas)


def test_it_does_not_talk_and_says_so_before_a_weight_is_read(small, run):
    for shard in small.glob("*.safetensors"):
        shard.rename(shard.with_suffix(".away"))
    try:
        status, _, notes = run(chat, "hello?", "--checkpoint", f"openvla:{small}")
        assert status == 1 and "a checkpoint of openvla, which acts and does not talk; give one of Magma" in notes
    finally:
        for shard in small.glob("*.away"):
            shard.rename(shard.with_suffix(".safetensors"))


def test_a_prefix_says_no_more_than_that_it_is_a_checkpoint(small, monkeypatch):
    assert find_checkpoint(f"openvla:{small}") == find_checkpoint(str(small)) == small
    choice = PolicyChoice(f"openvla:{small}")
    assert (choice.kind, choice.label, choice.argument) == ("magma", "openvla:openvla-small", str(small))
    assert choice.identity() == PolicyChoice(str(small)).identity()
    with pytest.raises(ValueError, match="names no checkpoint"):
        PolicyChoice("openvla:")
    monkeypatch.setenv("MAGMA_CHECKPOINTS", str(small.parent))
    assert find_checkpoint("openvla:openvla-small") == small


def test_it_is_not_trained_here_and_says_so(small):
    with pytest.raises(CheckpointError, match="a checkpoint of openvla, and one of Magma is wanted"):
        magma.describe(small)


@pytest.mark.parametrize("megabytes", ["nan", "inf", "0", "-1", "1e-9"])
def test_shards_of_no_size_are_refused(tmp_path, megabytes):
    with pytest.raises(ConfigError, match=r"--shard-megabytes must be from 0\.001 to 1000000, got"):
        init.InitialiseConfig(tmp_path, "openvla", shard_megabytes=float(megabytes))


@pytest.mark.parametrize("seed", [-1, 2**63, 2**70])
def test_a_seed_that_no_generator_takes_is_refused(run, tmp_path, seed):
    with pytest.raises(ConfigError, match=rf"--seed must be from 0 to 2\^63 - 1, got {seed}"):
        init.InitialiseConfig(tmp_path, seed=seed)
    status, _, notes = run(init, "--output", tmp_path / "made", f"--seed={seed}")
    assert status == 2 and "--seed must be from 0" in notes and "Traceback" not in notes
    assert not (tmp_path / "made").exists()


def test_nothing_is_overwritten(small):
    with pytest.raises(CommandError, match="is not empty"):
        init.write(init.InitialiseConfig(small, "openvla"))
