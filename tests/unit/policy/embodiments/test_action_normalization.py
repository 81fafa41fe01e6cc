import json

import numpy as np
import pytest

from magma_contracts.errors import ConfigError
from magma_policy.embodiments import action_normalization
from magma_policy.embodiments.action_normalization import ActionStatistics
from magma_policy.inference.action_tokens import ActionTokens

# Bounds of fractal20220817_data, as published with OpenVLA and Magma.
FRACTAL = ActionStatistics(
    q01=(
        -0.22453527510166169, -0.14820013284683228, -0.231589707583189, -0.3517994859814644, -0.4193011274933815,
        -0.43643461108207704, 0.0,
    ),
    q99=(
        0.17824687153100965, 0.14938379630446405, 0.21842354819178575, 0.5892666035890578, 0.35272657424211445,
        0.44796681255102094, 1.0,
    ),
    mask=(True, True, True, True, True, True, False),
)  # fmt: skip


def test_golden_ids_unnormalise_to_the_published_action():
    ids = np.array([127857, 127873, 127868, 127904, 127861, 127874, 127744])
    action = FRACTAL.unnormalise(ActionTokens(128000).decode(ids))
    assert action[:6] == pytest.approx([5.49e-4, -5.75e-4, 4.76e-4, 6.39e-4, 1.6e-5, -1.17e-3], rel=2e-2, abs=1e-6)
    assert action[6] == pytest.approx(0.99608, abs=1e-5)


def test_normalise_inverts_unnormalise_within_bounds():
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, (50, 7))
    values[:, 6] = rng.uniform(0, 1, 50)
    assert FRACTAL.normalise(FRACTAL.unnormalise(values)) == pytest.approx(values, abs=1e-6)


def test_a_dimension_that_never_moves_decodes_to_its_constant():
    still = action_normalization.from_actions(np.tile([0.01, 0, 0, 0, 0, 0, 1.0], (10, 1)))
    normalised = still.normalise(np.array([0.01, 0, 0, 0, 0, 0, 1.0]))
    assert still.unnormalise(normalised) == pytest.approx([0.01, 0, 0, 0, 0, 0, 1.0], abs=1e-6)


def test_missing_statistics_are_an_error_that_lists_the_known_keys(tmp_path):
    action_normalization.save({"bridge_orig": FRACTAL}, tmp_path / "statistics.json")
    loaded = action_normalization.load(tmp_path / "statistics.json")
    assert action_normalization.select(loaded, "bridge_orig") == FRACTAL
    with pytest.raises(ConfigError, match=r"'google_robot'.*bridge_orig"):
        action_normalization.select(loaded, "google_robot")
    with pytest.raises(ConfigError, match="no action statistics"):
        action_normalization.load(tmp_path / "nothing.json")


def test_malformed_statistics_are_refused():
    with pytest.raises(ConfigError, match="7 entries"):
        ActionStatistics((0.0,) * 6, (1.0,) * 7, (True,) * 7)
    with pytest.raises(ConfigError, match="below"):
        ActionStatistics((1.0,) * 7, (0.0,) * 7, (True,) * 7)
    with pytest.raises(ConfigError, match="finite"):
        ActionStatistics((float("nan"),) * 7, (0.0,) * 7, (True,) * 7)


MINE = {"q01": [-0.02] * 6 + [0.0], "q99": [0.02] * 6 + [1.0], "mask": [True] * 6 + [False]}


@pytest.mark.parametrize(
    "other",
    [
        {"comment": "made on Tuesday", "version": 2, "list": [1], "nothing": None},
        {"aloha": {"action": {"q01": [0.0] * 14, "q99": [1.0] * 14, "mask": [True] * 14, "mean": [0.0] * 14}}},
        {"old": {"action": {"mean": [0.0] * 7, "std": [1.0] * 7}}},
        {"broken": {"q01": [1.0] * 7, "q99": [0.0] * 7, "mask": [True] * 7}},
    ],
)
def test_what_else_the_file_holds_does_not_matter(tmp_path, other):
    path = tmp_path / "statistics.json"
    path.write_text(json.dumps({**other, "mine": MINE, **{f"{key} too": value for key, value in other.items()}}))
    loaded = action_normalization.load(path)
    assert action_normalization.select(loaded, "mine").q99[0] == 0.02
    for key in other:
        with pytest.raises(ConfigError, match=rf"statistics\.json:{key}"):
            action_normalization.select(loaded, key)
    with pytest.raises(ConfigError, match=r"'nobody'; the checkpoint has \['mine'\]"):
        action_normalization.select(loaded, "nobody")


def test_the_form_of_openvlas_own_config(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "openvla", "norm_stats": {"mine": {"action": MINE}}})
    )
    assert action_normalization.select(action_normalization.load(tmp_path / "config.json"), "mine").q99[6] == 1.0


@pytest.mark.parametrize(("entry", "value"), [("q99", 1e400), ("q01", float("nan")), ("q99", 10**309)])
def test_bounds_are_numbers(tmp_path, entry, value):
    text = json.dumps({"mine": {**MINE, entry: [value] * 7}})
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"s\.json:mine\.{entry}\[0\]: must be a finite number"):
        action_normalization.select(action_normalization.load(tmp_path / "s.json"), "mine")


def test_bounds_whose_distance_is_no_number_are_refused():
    with pytest.raises(ConfigError, match="too far apart"):
        ActionStatistics((-1.7e308,) * 7, (1.7e308,) * 7, (True,) * 7)
