"""magma-serve as vla-eval's harness asks it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace

import msgpack
import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from magma_contracts.action_spec import ActionSpec
from magma_policy.errors import InstructionError
from magma_policy.files.image_files import decode_image
from magma_policy.serving import vla_eval_connection
from magma_policy.serving.batching import Batcher
from magma_policy.serving.connection import PolicyServer
from magma_policy.serving.front import MAX_MALFORMED, Limits
from magma_policy.serving.metrics import Metrics
from magma_policy_client import PolicyClient
from magma_policy_client.addresses import open_policy
from magma_policy_client.foreign.array_forms import VLA_EVAL, unpack
from tests.running_server import running

LONG_S = 30.0
SPEC = ActionSpec("fake", 1, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 4, 6, True)
STATES = np.array([0.4, 0.1, 0.2, 0.0, 1.0, 0.0, 0.0, 0.75], np.float32)
PICTURE = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)
STEP = [0.01, 0.0, 0.0, 0.0, 0.0, 0.5, 0.25]


class Model:
    """Notes what it is asked; `new_session` counts episodes."""

    def __init__(self):
        self.seen, self.sessions = [], 0

    def new_session(self, robot):
        self.sessions += 1
        return self.sessions

    def request(self, image, instruction, state, session):
        if not instruction:
            raise InstructionError("say what to do")
        self.seen.append(SimpleNamespace(image=image, instruction=instruction, state=state, session=session))
        return instruction

    def act_batch(self, requests):
        assert "crash" not in requests, "the model is out of memory"
        steps = [np.array([STEP]) * (np.nan if asked == "nan" else 1.0) for asked in requests]
        return [SimpleNamespace(deltas=step, stage_ms={"decode": 1.0}, marks=None) for step in steps]


@pytest.fixture
def served():
    model, metrics = Model(), Metrics()
    batcher = Batcher(model, 4, 0.0, 8, metrics.batch)
    server = PolicyServer(model, {"": SPEC}, batcher, metrics, Limits(2**20, 8), None, "test 1", "c0ffee")
    with running(lambda: (server, batcher)) as url:
        yield model, url.removeprefix("http://")


class Harness:
    """Speaks as vla-eval's client does."""

    def __init__(self, where):
        self.connection = connect(f"ws://{where}", compression=None, proxy=None)
        self.seq = 0

    def say(self, kind, payload):
        self.seq += 1
        message = {"type": kind, "payload": payload, "seq": self.seq, "timestamp": 1.0}
        self.connection.send(msgpack.packb(message))
        return self.seq

    def hear(self):
        message = unpack(self.connection.recv(LONG_S), VLA_EVAL)
        assert set(message) == {"type", "payload", "seq", "timestamp"}
        return message["type"], message["payload"], message["seq"]

    def ask(self, **changes):
        seq = self.say("observation", observation(**changes))
        kind, payload, answered = self.hear()
        assert answered == seq
        return kind, payload

    def greet(self):
        self.say("hello", {"harness_version": "0.8.0", "protocol_version": 1})
        kind, payload, seq = self.hear()
        assert (kind, seq) == ("hello", 1)
        return payload


def array(values):
    return {"__ndarray__": True, "data": values.tobytes(), "dtype": values.dtype.str, "shape": list(values.shape)}


def packed(pixels, form="png"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form.upper())
    return {"__image__": True, "format": form, "data": file.getvalue(), "shape": list(pixels.shape)}


RAW_OBJECTS = {"__image__": True, "format": "raw", "data": b"x", "dtype": "|O", "shape": [1]}


def observation(**changes):
    whole = {"images": {"primary": packed(PICTURE)}, "task_description": "go", "states": array(STATES)}
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


@pytest.fixture
def harness(served):
    made = Harness(served[1])
    yield made
    made.connection.close()


def test_an_observation_is_answered_by_one_action(served, harness):
    model, _ = served
    told = harness.greet()
    assert told["protocol_version"] == 1 and told["identity"] == "c0ffee" and told["model_server"] == "fake"
    assert {name: spec["format"] for name, spec in told["action_spec"].items()} == {
        "position": "delta_xyz", "rotation": "axis_angle", "gripper": "continuous_01",
    }  # fmt: skip
    assert set(told["observation_spec"]) == {"image", "language", "state"}
    assert told["observation_params"] == {"send_state": True}
    harness.say("episode_start", {"task": {"name": "x"}})
    kind, payload = harness.ask()
    assert kind == "action" and payload["actions"].shape == (7,)
    np.testing.assert_allclose(payload["actions"], STEP)
    assert payload["stage_ms"]["decode_ms"] == 1.0
    seen = model.seen[0]
    assert seen.instruction == "go" and seen.image.shape == (4, 6, 3)
    np.testing.assert_array_equal(seen.image, np.array(Image.fromarray(PICTURE).resize((6, 4), Image.Resampling.BOX)))
    np.testing.assert_allclose(seen.state.position, STATES[:3])
    np.testing.assert_allclose(seen.state.quaternion_xyzw, [1, 0, 0, 0])
    assert seen.state.gripper == 0.75


def test_where_the_arm_was_told_to_go_is_followed_through_an_episode(served, harness):
    model, _ = served
    harness.greet()
    for _ in range(2):
        harness.say("episode_start", {})
        for _ in range(3):
            harness.ask()
        harness.say("episode_end", {"metrics": {}})
    first, second, third, again, *_ = model.seen
    np.testing.assert_allclose(first.state.target_position, STATES[:3])
    np.testing.assert_allclose(second.state.target_position - first.state.target_position, [0.01, 0, 0])
    np.testing.assert_allclose(third.state.target_position - first.state.target_position, [0.02, 0, 0])
    half = np.array(
        [np.cos(0.5), np.sin(0.5), 0, 0]
    )  # of the turn by 2 x 0.5 rad about z, before the one by pi about x
    np.testing.assert_allclose(np.abs(third.state.target_quaternion_xyzw), np.abs(half), atol=1e-6)
    assert (first.state.gripper_target, second.state.gripper_target) == (0.75, 0.25)
    np.testing.assert_allclose(again.state.target_position, STATES[:3])
    assert first.session == second.session != again.session


@pytest.mark.parametrize("form", ["raw", "png", "jpeg", "array"])
def test_pictures_come_in_every_form(served, harness, form):
    model, _ = served
    harness.greet()
    pixels = np.full((4, 6, 3), 90, np.uint8)
    made = {"raw": {**array(pixels), "__image__": True, "format": "raw"}, "array": array(pixels)}.get(form)
    assert harness.ask(images={"a camera": made or packed(pixels, form)})[0] == "action"
    assert np.abs(model.seen[0].image.astype(int) - 90).max() <= 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": None}, "observation: images is None"),
        ({"images": {}}, "pictures by name"),
        ({"images": {"left": packed(PICTURE), "right": packed(PICTURE)}}, "called third_person or primary"),
        ({"images": {"primary": packed(PICTURE[:2])}}, "render a larger one"),
        ({"images": {"primary": array(STATES)}}, "not uint8"),
        ({"task_description": None}, "task_description is None"),
        ({"task_description": ""}, "say what to do"),
        ({"states": None}, "send_state"),
        ({"states": array(STATES[:7])}, "eight finite numbers"),
        ({"states": array(STATES * np.float32("nan"))}, "eight finite numbers"),
        ({"states": array(STATES * 0)}, "eight finite numbers"),
        ({"states": array(np.ones(8, bool))}, "eight finite numbers"),
        ({"states": ["1"] * 8}, "eight finite numbers"),
        ({"states": packed(PICTURE)}, "eight finite numbers"),
        ({"states": array(np.append(STATES[:7], np.float32(1.5)))}, "observation: states has the gripper opening 1.5"),
        ({"states": array(np.append(STATES[:7], np.float32(-0.02)))}, "0 is closed and 1 open"),
        ({"images": {"primary": {**packed(PICTURE), "data": b"\x89PNG\r\n\x1a\n"}}}, "observation: the picture"),
        ({"images": {"primary": {**packed(PICTURE), "format": "tiff"}}}, "observation: a picture of format 'tiff'"),
        ({"images": {"primary": {**packed(PICTURE), "format": [1]}}}, "observation: a picture of format"),
        ({"images": {"primary": RAW_OBJECTS}}, "observation: an array of dtype"),
        ({"task_description": "crash"}, "internal: policy failed"),
        ({"task_description": "nan"}, "not finite"),
    ],
)
def test_what_cannot_be_acted_on_is_said_and_the_next_is_answered(harness, changes, said):
    harness.greet()
    kind, payload = harness.ask(**changes)
    assert kind == "error" and said in payload["error"] and payload["error"].isprintable()
    assert harness.ask()[0] == "action"


@pytest.mark.parametrize("opening", [-0.005, 1.005])
def test_a_gripper_a_little_beyond_its_end_is_at_its_end(served, harness, opening):
    model, _ = served
    harness.greet()
    assert harness.ask(states=array(np.append(STATES[:7], np.float32(opening))))[0] == "action"
    assert model.seen[0].state.gripper == round(opening)


def test_only_the_picture_that_is_looked_at_is_opened(harness, monkeypatch):
    opened = []

    def decode(data, name):
        opened.append(name)
        return decode_image(data, name)

    monkeypatch.setattr(vla_eval_connection, "decode_image", decode)
    harness.greet()
    others = {f"camera {number}": packed(PICTURE) for number in range(20)}
    assert harness.ask(images={**others, "primary": packed(PICTURE)}, more=packed(PICTURE))[0] == "action"
    assert len(opened) == 1


def test_of_two_observations_in_flight_the_second_follows_the_first(served, harness):
    model, _ = served
    harness.greet()
    asked = [harness.say("observation", observation()) for _ in range(3)]
    assert [harness.hear()[::2] for _ in asked] == [("action", seq) for seq in asked]
    ways = [seen.state.target_position[0] - STATES[0] for seen in model.seen]
    np.testing.assert_allclose(ways, [0.0, 0.01, 0.02], atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "payload", "said"),
    [
        ("observation", observation(), "must be a hello, got observation"),
        ("episode_start", {}, "must be a hello, got episode_start"),
        ("hello", [1], "not a map"),
        (7, {}, "type must be text"),
        ("hello", {"protocol_version": True}, "version True"),
        ("hello", {"protocol_version": array(STATES)}, "speaks version"),
    ],
)
def test_a_first_message_that_is_no_hello_is_refused_in_the_harness_own_form(served, harness, kind, payload, said):
    model, _ = served
    seq = harness.say(kind, payload)
    answer, told, answered = harness.hear()
    assert (answer, answered) == ("error", seq) and said in told["error"] and told["error"].isprintable()
    with pytest.raises(ConnectionClosed):
        harness.hear()
    assert not model.seen


def test_a_client_may_not_tell_errors(harness):
    harness.greet()
    harness.say("error", {"error": "none of yours"})
    kind, payload, _ = harness.hear()
    assert kind == "error" and "a client may send" in payload["error"]
    assert harness.ask()[0] == "action"


@pytest.mark.parametrize(
    "damaged",
    [
        {"states": {"__ndarray__": True, "data": b"x", "dtype": "|O", "shape": [1]}},
        {"states": [[0] * 4000] * 20},
    ],
)
def test_damaged_messages_cost_a_refusal_and_at_last_the_connection(harness, damaged):
    harness.greet()
    for _ in range(MAX_MALFORMED):
        kind, payload, _ = (harness.say("observation", observation(**damaged)), harness.hear())[1]
        assert kind == "error" and payload["error"].startswith("malformed: ")
    with pytest.raises(Exception, match="malformed"):
        harness.hear()


def test_what_the_harness_itself_sent_is_answered(served):
    """The frames that vla-eval 0.8.0's own client sent to a magma-serve."""
    model, where = served
    recorded = json.loads(Path(__file__).with_name("vla_eval_harness.json").read_text())
    (frames,) = recorded["connections"]
    kinds = []
    with connect(f"ws://{where}", compression=None, proxy=None) as connection:
        for frame in frames:
            data = base64.b64decode(frame["data"])
            if frame["from"] == "client":
                connection.send(data)
                continue
            answer, then = (unpack(each, VLA_EVAL) for each in (connection.recv(LONG_S), data))
            assert (answer["type"], answer["seq"]) == (then["type"], then["seq"])
            assert answer["payload"].keys() >= then["payload"].keys() - {"observation_params"}
            kinds.append(answer["type"])
    assert kinds == ["hello", *["action"] * 4, "error", "action"]
    assert [one.image.shape for one in model.seen] == [(4, 6, 3)] * 5
    np.testing.assert_allclose(model.seen[0].state.position, [0.45, 0, 0.2], atol=1e-7)


def test_one_port_answers_both_protocols(served, tmp_path):
    _, where = served
    harness = Harness(where)
    harness.greet()
    (tmp_path / "fake.toml").write_text(MODEL)
    pixels = np.zeros((4, 6, 3), np.uint8)
    with (
        PolicyClient(f"ws://{where}", timeout_s=LONG_S) as own,
        open_policy(f"vla-eval://{where}?model={tmp_path}/fake.toml", timeout_s=LONG_S) as other,
    ):
        assert own.identity == "c0ffee" and not other.identity.startswith("metadata-")
        state = SimpleNamespace(
            position=STATES[:3], quaternion_xyzw=[1.0, 0, 0, 0], target_position=STATES[:3],
            target_quaternion_xyzw=[1.0, 0, 0, 0], gripper=0.5, gripper_target=0.5,
        )  # fmt: skip
        np.testing.assert_allclose(own.act(pixels, "go", state).deltas, [STEP])
        other.reset()
        result = other.act(pixels, "go", state)
        np.testing.assert_allclose(result.deltas, [STEP], atol=1e-8)
        assert result.stage_ms["decode"] == 1.0
    assert harness.ask()[0] == "action"
    harness.connection.close()


def test_another_version_of_the_protocol_is_turned_away(served):
    harness = Harness(served[1])
    seq = harness.say("hello", {"harness_version": "9", "protocol_version": 2})
    kind, payload, answered = harness.hear()
    assert (kind, answered) == ("error", seq) and "speaks version 2" in payload["error"]
    with pytest.raises(Exception, match="version"):
        harness.hear()


MODEL = """
policy = "fake"
camera = "third_person"
image_size = [4, 6]
fps = 5
chunk = 1
[observation]
image = ["images", "primary"]
instruction = "task_description"
[state]
space = "end_effector"
position = "states[0:3]"
rotation = "states[3:7]"
rotation_form = "quaternion_wxyz"
gripper = "states[7]"
gripper_closed = 0.0
gripper_open = 1.0
[action]
space = "end_effector"
kind = "delta"
position = "actions[0:3]"
rotation = "actions[3:6]"
rotation_form = "axis_angle"
gripper = "actions[6]"
gripper_closed = 0.0
gripper_open = 1.0
"""
