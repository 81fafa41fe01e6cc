"""A policy is known by its content: what decides its actions changes the identity, and nothing else does."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from magma_policy.families.magma import checkpoint
from magma_policy.families.magma.policy import Policy

CPU = torch.device("cpu")


def identity(directory, dtype=None, **options) -> str:
    return checkpoint.load(directory, CPU, dtype, **options).identity


def test_a_copy_under_another_name_is_the_same_and_what_says_nothing_changes_nothing(tiny_checkpoint, tmp_path):
    mine = identity(tiny_checkpoint)
    assert len(mine) == 32
    copy = tmp_path / "under another name"
    shutil.copytree(tiny_checkpoint, copy)
    (copy / "README.md").write_text("# Mine")
    (copy / "notes.json").write_text("{}")
    assert identity(copy) == mine
    assert Policy.load(copy, device="cpu").identity == mine


def change_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def one_weight(directory):
    path = directory / checkpoint.WEIGHTS
    data = bytearray(path.read_bytes())
    data[-4:] = b"\x00\x3c\x00\x3c"
    path.write_bytes(bytes(data))


def one_bound(directory):
    def change(content):
        (robot,) = content.values()
        robot["q99"][0] *= 2

    change_json(directory / "statistics.json", change)


@pytest.mark.parametrize(
    "change",
    [
        one_weight,
        one_bound,
        lambda directory: change_json(directory / "action_spec.json", lambda c: c.update(camera="wrist")),
        lambda directory: change_json(directory / "config.json", lambda c: c.update(name="other")),
    ],
    ids=["weights", "statistics", "action spec", "config"],
)
def test_what_decides_the_actions_changes_it(tiny_checkpoint, change):
    mine = identity(tiny_checkpoint)
    change(tiny_checkpoint)
    assert identity(tiny_checkpoint) != mine


def test_settings_and_files_given_beside_the_checkpoint_count_too(tiny_checkpoint, tmp_path):
    other = tmp_path / "statistics.json"
    shutil.copyfile(tiny_checkpoint / "statistics.json", other)
    found = [identity(tiny_checkpoint), identity(tiny_checkpoint, torch.bfloat16)]
    # The same bounds from another place are the same bounds.
    assert identity(tiny_checkpoint, statistics=other) == found[0]
    change_json(other, lambda content: next(iter(content.values()))["q01"].__setitem__(0, -0.5))
    found.append(identity(tiny_checkpoint, statistics=other))
    assert len(set(found)) == 3


def test_a_wide_checkpoint_differs_by_the_robot_it_is_loaded_for(wide_checkpoint):
    found = {identity(wide_checkpoint, robot=robot) for robot in (None, "widowx", "google_robot")}
    assert len(found) == 3
