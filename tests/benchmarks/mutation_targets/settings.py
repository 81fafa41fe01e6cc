"""What people and programs write down beside models and robots: tokens, parameter files, settings of runs that go on,
model files of policies by wire, named points of a scene, sets of pictures for a model that points, and screens as other
tools dump them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from file_mutations import Reading, Target, digest
from mutation_edits import bytes_edits, json_edits, line_edits, npy_edits, xml_edits, yaml_edits, zip_edits

from magma_bringup.launching.parameter_file import parameters_by_node
from magma_contracts import scenes as scene_files
from magma_contracts.errors import ConfigError
from magma_contracts.files.server_tokens import token_from_file
from magma_contracts.scenes import CLICKS
from magma_control.config import ControllerConfig
from magma_control.journal import configuration_text
from magma_policy.commands import train
from magma_policy.commands.track import SETTINGS, TrackConfig, keep_settings
from magma_policy.errors import CommandError, ScreenError
from magma_policy.grounding.scenes import SceneError, read_scenes
from magma_policy.screens.page_snapshot import read_snapshot
from magma_policy.screens.uiautomator import uiautomator_candidates
from magma_policy.training.config import TrainConfig
from magma_policy_client.foreign.model_file import SHIPPED, ModelFile, find
from magma_recorder.marked_points import read_marked_points

PARAMETERS = """\
/**:
  ros__parameters:
    use_sim_time: false
controller:
  ros__parameters:
    step_period_s: 0.2
    max_step_translation_m: 0.05
    workspace_min_m: [0.2, -0.4, 0.02]
    workspace_max_m: [0.8, 0.4, 0.6]
    estop_button_timeout_s: 0.5
    overlap: blend
"""
POINTS = """\
put the carrot on the plate:
  source_centre: {frame: carrot}
  target_rest_point: {frame: plate, at: [0.0, 0.0, 0.01]}
"""
SCREEN = """\
<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>
<hierarchy rotation="0">
  <node index="0" text="" class="android.widget.FrameLayout" clickable="false" enabled="true" bounds="[0,0][900,1600]">
    <node index="0" text="Send" class="android.widget.Button" clickable="true" bounds="[40,90][400,180]"/>
    <node index="1" content-desc="N" class="android.widget.EditText" clickable="true" bounds="[0,200][90,300]"/>
  </node>
</hierarchy>
UI hierchary dumped to: /dev/tty
"""


def _write(name: str, text: str) -> Callable[[Path], Path]:
    def seed(folder: Path) -> Path:
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return seed


def _read_token(path: Path) -> Reading:
    token = token_from_file(path)
    # Whoever shows another one is turned away by name.
    return Reading(token, digest(token.encode()))


def _model(folder: Path) -> Path:
    path = folder / "model.toml"
    path.write_bytes((SHIPPED / "pi05_libero.toml").read_bytes())
    return path


def _read_model(path: Path) -> Reading:
    """As an address names it. A client's identity is made of all that stands in it."""
    model = ModelFile.read(find(str(path)))
    if model.spec.horizon != model.chunk:
        raise AssertionError("another number of actions than the file says")
    return Reading(model, digest(repr(model).encode()))


def _read_parameters(path: Path) -> Reading:
    """As a launch checks it and the controller takes it; what is in force stands in every recording."""
    values = parameters_by_node(path, "/").get("/controller", {})
    config = ControllerConfig.from_mapping({name: value for name, value in values.items() if name != "use_sim_time"})
    return Reading(config, configuration_text(config))


def _track_settings(folder: Path) -> Path:
    keep_settings(TrackConfig(inputs=(Path("film.mp4"),), output=folder / "out"))
    return folder / "out" / SETTINGS


def _read_track_settings(path: Path) -> Reading:
    """Going on with them: they are the same, or the run does not begin."""
    keep_settings(TrackConfig(inputs=(Path("film.mp4"),), output=path.parent))
    return Reading("the same", "")


def _train_config(folder: Path) -> TrainConfig:
    return TrainConfig(demonstrations=(Path("demos"),), output=folder)


def _train_settings(folder: Path) -> Path:
    train.check_same_command(_train_config(folder / "run"))
    return folder / "run" / "train.json"


def _read_train_settings(path: Path) -> Reading:
    train.check_output(_train_config(path.parent))
    return Reading("the same", "")


def _read_points(path: Path) -> Reading:
    points = read_marked_points(path)
    return Reading(points, digest(repr(points).encode()))


def _scenes(name: str) -> Callable[[Path], Path]:
    def seed(folder: Path) -> Path:
        card = {"format_version": scene_files.FORMAT_VERSION, "simulator": "tabletop", "split": "train"}
        (folder / scene_files.CARD).write_text(json.dumps(card))
        (folder / scene_files.SCENES).mkdir()
        np.savez_compressed(
            folder / scene_files.SCENES / "0.npz",
            images=np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8),
            scene=np.array([0, 1, 1]),
            kind=np.array(["carrot", "plate", "carrot"]),
            colour=np.array(["orange", "white", "orange"]),
            box=np.array([[0.1, 0.1, 0.4, 0.5], [0.2, 0.2, 0.9, 0.9], [0.5, 0.5, 0.6, 0.7]], np.float32),
            clicks=np.full((3, CLICKS, 2), 0.3, np.float32),
        )
        return folder / name

    return seed


def _read_scenes(levels: int) -> Callable[[Path], Reading]:
    def read(path: Path) -> Reading:
        found = read_scenes([path.parents[levels]], "train")
        return Reading((digest(found.images.tobytes()), found.scenes, found.source.tolist()), found.identity)

    return read


def _read_screen(path: Path) -> Reading:
    found = uiautomator_candidates(path.read_text(encoding="utf-8", errors="replace"))
    return Reading(found, digest(repr(found).encode()))


def _page(folder: Path) -> Path:
    strings = ["https://example.org/", "BUTTON", "id", "send", "Send", "visible", "auto", "1", "HTML", "#text"]
    nodes = {
        "parentIndex": [-1, 0, 1], "nodeType": [1, 1, 3], "nodeName": [8, 1, 9], "nodeValue": [-1, -1, 4],
        "backendNodeId": [1, 2, 3], "attributes": [[], [2, 3], []], "isClickable": {"index": [1]},
        "inputValue": {"index": [], "value": []}, "textValue": {"index": [], "value": []},
        "inputChecked": {"index": []}, "optionSelected": {"index": []},
        "contentDocumentIndex": {"index": [], "value": []},
    }  # fmt: skip
    layout = {
        "nodeIndex": [0, 1, 2], "bounds": [[0, 0, 800, 600], [10, 20, 90, 30], [12, 22, 40, 12]],
        "styles": [[6, 5, 7, 6]] * 3, "text": [-1, -1, 4], "clientRects": [[], [], []],
    }  # fmt: skip
    document = {"documentURL": 0, "scrollOffsetX": 0, "scrollOffsetY": 0, "nodes": nodes, "layout": layout}
    path = folder / "snapshot.json"
    path.write_text(json.dumps({"strings": strings, "documents": [document]}), encoding="utf-8")
    return path


def _read_page(path: Path) -> Reading:
    try:
        answer = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # the protocol's client reads it; not ours to judge
        raise ScreenError("not an answer of the protocol") from error
    found = read_snapshot(answer)
    return Reading(found, digest(repr(found).encode()))


TEXT_EDITS = (bytes_edits, line_edits)
JSON_EDITS = (*TEXT_EDITS, json_edits)
TARGETS = [
    Target("token-file", _write("token", "0123456789abcdef0123456789abcdef\n"), _read_token, (ValueError,), TEXT_EDITS),
    Target(
        "parameter-file", _write("robot.yaml", PARAMETERS), _read_parameters, (ConfigError,), (*TEXT_EDITS, yaml_edits)
    ),
    Target("model-file", _model, _read_model, (ConfigError,), TEXT_EDITS),
    Target("track-settings", _track_settings, _read_track_settings, (CommandError,), JSON_EDITS),
    Target("train-settings", _train_settings, _read_train_settings, (ConfigError,), JSON_EDITS),
    Target("marked-points", _write("points.yaml", POINTS), _read_points, (ConfigError,), (*TEXT_EDITS, yaml_edits)),
    Target("scene-card", _scenes(scene_files.CARD), _read_scenes(0), (SceneError,), JSON_EDITS),
    Target(
        "scenes",
        _scenes(f"{scene_files.SCENES}/0.npz"),
        _read_scenes(1),
        (SceneError,),
        (bytes_edits, zip_edits(bytes_edits), zip_edits(npy_edits)),
    ),
    Target("android-screen", _write("dump.xml", SCREEN), _read_screen, (ScreenError,), (*TEXT_EDITS, xml_edits)),
    Target("page-snapshot", _page, _read_page, (ScreenError,), (json_edits,)),
]
