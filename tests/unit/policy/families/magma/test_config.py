import dataclasses

import pytest

from magma_contracts.errors import ConfigError
from magma_contracts.files.typed_tables import from_dict
from magma_policy.embodiments.action_spec import ActionSpec
from magma_policy.embodiments.camera import CameraCalibration
from magma_policy.families.magma.config import (
    MagmaConfig,
    TokenConfig,
    VisionConfig,
    magma_8b_config,
    magma_tiny_config,
)
from magma_policy.files.json_dataclasses import load_json, save_json, to_dict
from magma_policy.marks.mark_pointer_config import MarkPointerConfig

CAMERA = CameraCalibration(
    intrinsics=((150.0, 0.0, 64.0), (0.0, 150.0, 64.0), (0.0, 0.0, 1.0)),
    extrinsics=((0.0, -1.0, 0.0, 0.0), (-1.0, 0.0, 0.0, 0.5), (0.0, 0.0, -1.0, 0.8), (0.0, 0.0, 0.0, 1.0)),
    image_height=128,
    image_width=128,
    plane_height_m=0.02,
)


@pytest.mark.parametrize("config", [magma_8b_config(), magma_tiny_config(), magma_tiny_config("table_plane")])
def test_json_round_trip(config, tmp_path):
    save_json(config, tmp_path / "config.json")
    assert load_json(MagmaConfig, tmp_path / "config.json") == config


def test_unknown_and_missing_keys_are_errors():
    data = to_dict(magma_tiny_config())
    data["text"]["hiden_size"] = 3
    with pytest.raises(ConfigError, match=r"text: unknown keys \['hiden_size'\]"):
        from_dict(MagmaConfig, data)
    data = to_dict(magma_tiny_config())
    del data["vision"]["depths"]
    with pytest.raises(ConfigError, match=r"vision: missing keys \['depths'\]"):
        from_dict(MagmaConfig, data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("vision", "depths"), "22"),
        (("image", "base_size"), 128.5),
        (("proprioception",), 1),
        (("name",), None),
        (("text",), []),
        (("image", "mean"), [0.1, 0.2]),
    ],
)
def test_wrong_types_are_errors_that_name_the_field(path, value):
    data = to_dict(magma_tiny_config())
    target = data
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(ConfigError, match=path[-1]):
        from_dict(MagmaConfig, data)


def test_bad_json_names_the_file(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json: not valid JSON"):
        load_json(MagmaConfig, tmp_path / "config.json")
    with pytest.raises(ConfigError, match="no such file"):
        load_json(MagmaConfig, tmp_path / "other.json")


def test_inconsistent_models_are_refused():
    tiny = magma_tiny_config("table_plane")
    with pytest.raises(ConfigError, match="geometry projects marks"):
        dataclasses.replace(tiny, grounding=None)
    with pytest.raises(ConfigError, match="state tokens"):
        dataclasses.replace(tiny, state=None)
    with pytest.raises(ConfigError, match="multiple of the vision stride"):
        dataclasses.replace(tiny, image=dataclasses.replace(tiny.image, base_size=100))
    with pytest.raises(ConfigError, match="pair up"):
        VisionConfig(depths=(1, 2), dims=(8,))
    with pytest.raises(ConfigError, match="window"):
        MarkPointerConfig(window=0)
    with pytest.raises(ConfigError, match="table_plane"):
        dataclasses.replace(tiny, geometry="sphere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intrinsics": ((1.0, 0.0), (0.0, 1.0))}, "intrinsics must be 3x3"),
        ({"extrinsics": ((float("nan"),) * 4,) * 4}, "finite"),
        ({"image_height": 0}, "size"),
        ({"intrinsics": ((0.0, 0.0, 64.0), (0.0, 0.0, 64.0), (0.0, 0.0, 1.0))}, "fx and fy positive"),
        ({"intrinsics": ((150.0, 0.0, 64.0), (0.0, 150.0, 64.0), (0.0, 0.0, 0.0))}, r"\[0, 0, 1\]"),
        ({"extrinsics": ((1.0, 0, 0, 0), (0, 2.0, 0, 0), (0, 0, 1.0, 0.5), (0, 0, 0, 1.0))}, "rows 1 and 1"),
        ({"extrinsics": ((1.0, 0, 0, 0), (1.0, 0, 0, 0), (0, 0, 1.0, 0.5), (0, 0, 0, 1.0))}, "rows 0 and 1"),
        ({"extrinsics": ((1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0.5), (0, 0, 1.0, 1.0))}, "end with the row"),
        ({"plane_height_m": 0.8}, "lies in the plane"),
    ],
)
def test_impossible_cameras_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(CAMERA, **change)


def test_special_tokens_follow_the_published_layout():
    tokens = TokenConfig.magma_layout(128000)
    assert dataclasses.astuple(tokens) == (
        128000, 128000, 128006, 128007, 128009, 128256, 128257, 128258, 128259, 128260,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="inside the base vocabulary"):
        dataclasses.replace(tokens, image=5)


@pytest.mark.parametrize(
    ("field", "value"), [("frame", "camera"), ("rotation", "euler"), ("gripper", "relative"), ("horizon", 0)]
)
def test_action_spec_refuses_conventions_it_does_not_speak(field, value):
    spec = ActionSpec(
        "magma", 1, 0.2, "base", "axis_angle", "absolute_open_1", "tabletop", "third_person", 128, 128, True
    )
    with pytest.raises(ConfigError, match=field):
        dataclasses.replace(spec, **{field: value})
