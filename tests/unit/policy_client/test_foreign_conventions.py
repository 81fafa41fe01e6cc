"""Model files, and what they make of observations and answers."""

from __future__ import annotations

import dataclasses
import pickle

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from magma_contracts.arm_state import ArmState
from magma_contracts.errors import ConfigError
from magma_contracts.geometry.rotation_forms import FORMS, coded
from magma_contracts.policies import is_server
from magma_policy_client import ProtocolError, RefusedError, ServerError
from magma_policy_client.addresses import check_address, read_address
from magma_policy_client.foreign import array_forms, conventions, model_file
from magma_policy_client.foreign.array_forms import OPENPI, VLA_EVAL, pack, unpack
from magma_policy_client.foreign.foreign_client import stages_of
from magma_policy_client.foreign.model_file import ModelFile

from .foreign_fakes import IMAGE, MODEL, ROWS, STEPS, openpi_array, vla_eval_array

STATE = ArmState(
    np.array([0.4, 0.1, 0.2]), Rotation.from_rotvec([3.0, 0.2, -0.1]).as_quat(), np.array([0.41, 0.1, 0.2]),
    Rotation.from_rotvec([3.0, 0.1, -0.3]).as_quat(), 0.25, 1.0,
)  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def made(text=MODEL):
        path = tmp_path / "model.toml"
        path.write_text(text)
        return ModelFile.read(path)

    return made


def test_an_observation_has_the_keys_and_numbers_of_the_file(read):
    told = conventions.observation(read(), IMAGE, "lift it", STATE)
    assert told["prompt"] == "lift it" and set(told) == {"images", "prompt", "state"}
    np.testing.assert_array_equal(told["images"]["primary"], IMAGE)
    assert told["images"]["wrist"].shape == IMAGE.shape and not told["images"]["wrist"].any()
    assert told["state"].dtype == np.float32
    np.testing.assert_allclose(told["state"], [0.4, 0.1, 0.2, 3.0, 0.2, -0.1, 0.01], rtol=1e-6)


def test_a_state_may_be_coded_in_other_units_with_two_fingers_and_gaps(read):
    other = """
position = "pose[0:3]"
position_unit = "mm"
rotation = "pose[3:7]"
rotation_form = "quaternion_wxyz"
zeros = ["state[0:2]"]
gripper = "state[2]"
gripper_mirrored = "state[3]"
dtype = "float64"
"""
    text = MODEL.replace(MODEL[MODEL.index('position = "state') : MODEL.index("gripper_closed")], other)
    told = conventions.observation(read(text), IMAGE, "", STATE)
    np.testing.assert_allclose(told["pose"][:3], [400, 100, 200])
    np.testing.assert_allclose(told["pose"][3:], np.roll(STATE.quaternion_xyzw, 1), atol=1e-12)
    np.testing.assert_allclose(told["state"], [0, 0, 0.01, -0.01])


def test_steps_are_in_metres_radians_and_openings(read):
    np.testing.assert_allclose(conventions.deltas(read(), {"actions": ROWS, "more": 1}, None), STEPS, atol=1e-8)
    scaled = MODEL.replace('kind = "delta"', 'kind = "delta"\nposition_scale = 0.05\nrotation_scale = 0.5')
    halves = conventions.deltas(read(scaled), {"actions": ROWS.tolist()}, None)
    np.testing.assert_allclose(halves[:, :3], STEPS[:, :3] * 0.05, atol=1e-9)
    np.testing.assert_allclose(halves[:, 3:6], STEPS[:, 3:6] * 0.5, atol=1e-8)


def aimed(steps, state):
    """The poses that steps lead to, one after the other, as the contract of a delta has it."""
    place, turn, poses = state.target_position, Rotation.from_quat(state.target_quaternion_xyzw), []
    for step in steps:
        place, turn = place + step[:3], Rotation.from_rotvec(step[3:6]) * turn
        poses.append((place, turn))
    return poses


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*FORMS]), st.sampled_from(["absolute", "base", "tool"]),
    hnp.arrays(np.float64, (3, 7), elements=st.floats(-0.5, 0.5)),
)  # fmt: skip
def test_every_convention_leads_to_the_same_poses(form, kind, drawn):
    """Steps drawn at random, told in a convention by scipy's rotations, and read back."""
    width = FORMS[form][0]
    text = MODEL.replace("chunk = 2", "chunk = 3").replace('kind = "delta"', f'kind = "{_kind(kind)}"\n{_frame(kind)}')
    head, _, tail = text.partition("[action]")
    tail = tail.replace("actions[3:6]", f"actions[3:{3 + width}]").replace("axis_angle", form)
    tail = tail.replace("actions[6]", f"actions[{3 + width}]")
    told, target = [], Rotation.from_quat(STATE.target_quaternion_xyzw)
    for step, (place, turn) in zip(drawn, aimed(drawn, STATE), strict=True):
        if kind == "absolute":
            move, way = place, turn
        elif kind == "base":
            move, way = step[:3], Rotation.from_rotvec(step[3:6])
        else:
            move, way = target.inv().apply(step[:3]), target.inv() * Rotation.from_rotvec(step[3:6]) * target
        target = turn
        told.append([*move, *by_scipy(way, form), 1.0 - 2.0 * (step[6] + 0.5)])
    model = from_text(head + "[action]" + tail)
    steps = conventions.deltas(model, {"actions": np.array(told)}, STATE)
    np.testing.assert_allclose(steps[:, :6], drawn[:, :6], atol=1e-7)
    np.testing.assert_allclose(steps[:, 6], drawn[:, 6] + 0.5, atol=1e-9)
    assert model.spec.proprioception


def from_text(text):
    from magma_contracts.files.typed_tables import from_dict

    made = from_dict(ModelFile, model_file.tomllib.loads(text))
    made.check()
    return made


def _kind(kind):
    return "absolute" if kind == "absolute" else "delta"


def _frame(kind):
    return 'frame = "tool"' if kind == "tool" else ""


def by_scipy(rotation, form):
    matrix, xyzw = rotation.as_matrix(), rotation.as_quat()
    return {
        "axis_angle": lambda: rotation.as_rotvec(), "euler_xyz": lambda: rotation.as_euler("xyz"),
        "quaternion_xyzw": lambda: xyzw, "quaternion_wxyz": lambda: np.roll(xyzw, 1), "matrix": lambda: matrix.ravel(),
        "rotation_6d": lambda: matrix[:, :2].T.ravel(), "rotation_6d_rows": lambda: matrix[:, :2].ravel(),
    }[form]()  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('policy = "echo"', "", "missing keys ['policy']"),
        ("fps = 5", "fps = 5\nhz = 5", "unknown keys"),
        ("fps = 5", "fps = 0", "fps must be"),
        ("chunk = 2", "chunk = 0", "chunk must be"),
        ("[4, 6]", "[4]", "expected 2 entries"),
        ("[4, 6]", "[0, 6]", "image_size"),
        ('rotation_form = "axis_angle"', 'rotation_form = "?"', "rotation_form is still '?'"),
        ('rotation_form = "axis_angle"', 'rotation_form = "euler_zyx"', "must be one of axis_angle"),
        ('kind = "delta"', 'kind = "velocity"', "absolute or delta"),
        ('kind = "delta"\n', "", "action.kind is '?'"),
        ('kind = "delta"', 'kind = "delta"\nframe = "camera"', "must be base or tool"),
        ("gripper_open = -1.0", "gripper_open = 1.0", "are both 1"),
        ("gripper_open = -1.0\n", "", "missing keys ['gripper_open']"),
        ("actions[6]", "actions[5]", "one number is one thing"),
        ("actions[6]", "actions[8]", "nothing says what actions[6] is"),
        ("actions[3:6]", "actions[3:7]", "4 numbers; it has 3"),
        ("actions[3:6]", "actions[", "write KEY[i]"),
        ("state[6]", "state[7]", "nothing says what state[6] is"),
        ("state[6]", "images[0]", "images is a key of the state and of the observation"),
        ('image = ["images", "primary"]', 'image = "primary"', "expected a list"),
        ('image = ["images", "primary"]', 'image = ["images"]', "in one place"),
        (
            'space = "end_effector"\nkind',
            'space = "joints"\njoints = "a[0:6]"\nkind',
            "does not go with space joints",
        ),
        ('kind = "delta"', 'kind = "delta"\nposition_scale = 0.0', "position_scale is 0"),
        ('kind = "delta"', 'kind = "delta"\nposition_unit = "inch"', "must be one of m, cm, mm"),
        ('kind = "delta"', 'kind = "delta"\ndeclared_rotation = "rpy"', "declared_rotation is 'rpy', must be one of"),
        ("[action]", "[action", "not valid TOML"),
        ("\n[action]", '\nchunk = "\\u001b[2J"\n[action]', "model.toml"),
    ],
)
def test_what_is_not_known_is_refused_with_what_to_fill_in(read, old, new, said):
    head, sep, tail = MODEL.rpartition(old)
    assert sep, old
    with pytest.raises(ConfigError) as caught:
        read(head + new + tail)
    assert said in str(caught.value) and "model.toml" in str(caught.value) and str(caught.value).isprintable()


def test_a_policy_of_joints_is_refused(read):
    text = MODEL.replace('position = "actions[0:3]"\nrotation = "actions[3:6]"\nrotation_form = "axis_angle"', "")
    text = text.replace('space = "end_effector"\nkind', 'space = "joints"\njoints = "actions[0:6]"\nkind')
    with pytest.raises(ConfigError, match="joints"):
        read(text.replace('kind = "delta"', 'kind = "absolute"'))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({}, "answered nothing; its model file asks for 'actions'"),
        ({"action": ROWS}, "'action'; its model file asks for 'actions'"),
        ({"actions": ROWS[:1]}, "of shape (1, 7)"),
        ({"actions": ROWS[0]}, "of shape (7,)"),
        ({"actions": np.pad(ROWS, ((0, 0), (0, 1)))}, "action.unused"),
        ({"actions": ROWS[None]}, "of shape (1, 2, 7)"),
        ({"actions": "up"}, "no numbers"),
        ({"actions": [[1, 2], [3]]}, "no numbers"),
        ({"actions": {"a": 1}}, "no numbers"),
        ({"actions": [["0"] * 7] * 2}, "no numbers"),
        ({"actions": ROWS > 0}, "no numbers"),
        ({"actions": [[2**70] * 7] * 2}, "no numbers"),
        ({"actions": ROWS * np.nan}, "not finite"),
        ({"actions": np.where(np.arange(7) == 6, 2.0, ROWS)}, "gripper_closed and gripper_open"),
    ],
)
def test_an_answer_of_another_form_moves_nothing(read, answer, said):
    with pytest.raises(ServerError) as caught:
        conventions.deltas(read(), answer, None)
    assert said in str(caught.value)


def test_a_little_overshoot_of_a_gripper_is_its_end(read):
    rows = ROWS.copy()
    rows[:, 6] = [1.1, -1.15]
    np.testing.assert_array_equal(conventions.deltas(read(), {"actions": rows}, None)[:, 6], [0.0, 1.0])


def test_rotations_that_are_none_move_nothing(read):
    text = MODEL.replace('kind = "delta"', 'kind = "absolute"')
    head, _, tail = text.partition("[action]")
    tail = tail.replace("actions[3:6]", "actions[3:7]").replace("axis_angle", "quaternion_xyzw")
    model = read(head + "[action]" + tail.replace("actions[6]", "actions[7]"))
    with pytest.raises(ServerError, match="none of form quaternion_xyzw"):
        conventions.deltas(model, {"actions": np.zeros((2, 8))}, STATE)


def test_what_the_policy_needs_is_asked_for(read):
    with pytest.raises(RefusedError, match="needs the arm's state"):
        conventions.observation(read(), IMAGE, "", None)
    with pytest.raises(RefusedError, match="finite"):
        conventions.observation(read(), IMAGE, "", dataclasses.replace(STATE, gripper=np.nan))
    with pytest.raises(RefusedError, match="the model file says"):
        conventions.observation(read(), IMAGE[:2], "", STATE)


@pytest.mark.parametrize("path", sorted(model_file.SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_model_files_are_whole(path):
    assert model_file.find(path.stem) == path
    assert ModelFile.read(path).spec.horizon >= 1


def test_bridges_rotations_are_roll_pitch_and_yaw():
    row = np.array([[0.01, 0.0, 0.0, 0.4, -0.3, 0.2, 1.0]])
    steps = conventions.deltas(ModelFile.read(model_file.find("openvla_bridge")), {"actions": row}, None)
    np.testing.assert_allclose(steps[:, 3:6], [Rotation.from_euler("xyz", row[0, 3:6]).as_rotvec()], atol=1e-9)


def test_times_are_told_by_printable_names_and_numbers():
    told = {"infer_ms": 3, "a\x1b[2J_ms": 1.0, "yes_ms": True, "no_ms": "4", "nan_ms": float("nan"), "other": 2.0}
    assert stages_of(told) == {"infer": 3.0}


def test_addresses(tmp_path):
    (tmp_path / "m.toml").write_text(MODEL)
    url, model = read_address(f"openpi://gpu-box:8000?model={tmp_path}/m.toml")
    assert url == "ws://gpu-box:8000" and model.policy == "echo"
    assert read_address("VLA-EVAL://[::1]:8000?model=openvla_bridge")[0] == "ws://[::1]:8000"
    assert all(map(is_server, ("ws://a:1", "WSS://a", "openpi://a:1", " vla-eval://a:1?model=x")))
    assert not any(map(is_server, ("magma-tiny", "openpi", "http://a:1", "folder/ws", "openpi:magma-tiny", "")))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("openpi://h:1", "must name a model file"),
        ("openpi://h:1?model=", "must name a model file"),
        ("openpi://h:1?model=a.toml&fps=3", "and nothing else"),
        ("openpi://h:1?model=nobody", "one of openvla_bridge, pi05_libero"),
        ("openpi://h:1?model=../foreign", "there is no model file"),
        ("openpi://h:1?model=/nowhere/m.toml", "cannot be read"),
        ("openpi://h:1?model=~nosuchuser/m.toml", "names no model file"),
        (f"openpi://h:1?model={'m' * 300}", "names no model file"),
        (f"openpi://h:1?model={'m' * 252}", "names no model file"),
        (f"openpi://h:1?model={'m' * 300}.toml", "cannot be read"),
        ("openpi://h:1?model=%00", "there is no model file"),
        ("openpi://h:1?model=%00.toml", "cannot be read"),
        ("openpi://h?model=pi05_libero", "a host and a port"),
        ("openpi://h:x?model=pi05_libero", "is no address"),
        ("vla-eval://:1?model=pi05_libero", "a host and a port"),
        ("vla-eval://a@h:1?model=pi05_libero", "a host and a port"),
        ("openpi://[::1?model=pi05_libero", "is no address"),
    ],
)
def test_wrong_addresses_are_one_sentence(address, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(")) as caught:
        check_address(address)
    assert str(caught.value).isprintable()


ARRAYS = st.sampled_from(["<f4", "<f8", "|u1", "|b1", "<i8", "<f2"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)


@settings(max_examples=60, deadline=None)
@given(ARRAYS, st.sampled_from([(OPENPI, openpi_array), (VLA_EVAL, vla_eval_array)]))
def test_arrays_go_both_ways_in_either_form(array, form):
    made, written = form
    for data in (pack({"a": {"b": array}}, made), msgpack.packb({"a": {"b": written(array)}})):
        back = unpack(data, made)["a"]["b"]
        assert back.dtype == array.dtype and back.shape == array.shape
        assert back.tobytes() == array.tobytes()


WHOLE = [msgpack.packb({"a": openpi_array(ROWS), "t": {"x_ms": 1.0}}), pack({"payload": {"a": ROWS}}, VLA_EVAL)]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(WHOLE), st.data(), st.sampled_from([OPENPI, VLA_EVAL]))
def test_damaged_messages_are_refused_in_one_sentence_or_read(whole, data, form):
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(bytes(changed[: data.draw(st.integers(0, len(changed)))]), form)
    except ProtocolError as error:
        assert str(error).isprintable() and len(str(error)) < 500


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "values",
    [
        {"a": {b"__ndarray__": True, b"data": pickle.dumps(ROWS), b"dtype": "|O", b"shape": [1]}},
        {"a": {b"__ndarray__": True, b"data": b"", b"dtype": "V0", b"shape": [1]}},
        {"a": {b"__ndarray__": True, b"data": b"\0" * 4, b"dtype": "<f4", b"shape": [2**40]}},
        {"a": {b"__ndarray__": True, b"data": b"\0" * 4, b"dtype": "<f4", b"shape": [-1]}},
        {"a": {b"__ndarray__": True, b"data": b"", b"dtype": "<f4", b"shape": [0] * 40}},
        {"a": {b"__ndarray__": True, b"data": "text", b"dtype": "<f4", b"shape": [1]}},
        {"a": {b"__ndarray__": True, b"data": b"\0" * 16, b"dtype": "<c16", b"shape": [1]}},
        {"a": {b"__npgeneric__": True, b"data": "os", b"dtype": "<U2"}},
        {"a": msgpack.ExtType(1, b"x")},
        {"a": nested(200)},
        [1],
        7,
    ],
)
def test_nothing_on_the_wire_is_more_than_numbers(values):
    with pytest.raises(ProtocolError):
        unpack(msgpack.packb(values), OPENPI)


@pytest.mark.parametrize("form", [OPENPI, VLA_EVAL])
@pytest.mark.parametrize(
    "value", [[[0] * 4000] * 20, [[{"a": 0}] * 4000] * 20, {"a": [{}] * 4000, "b": [[[0] * 4000]] * 20}]
)
def test_a_message_has_only_so_many_values_in_all(form, value):
    with pytest.raises(ProtocolError, match="more than 65536 values"):
        unpack(msgpack.packb({"a": value}), form)
    assert unpack(msgpack.packb({"a": [[0] * 4000] * 10}), form)["a"][9] == [0] * 4000


def test_pictures_in_answers_are_not_opened():
    with pytest.raises(ProtocolError, match="picture"):
        unpack(msgpack.packb({"a": {"__image__": True, "format": "png", "data": b"", "shape": [1, 1, 3]}}), VLA_EVAL)
    with pytest.raises(ProtocolError, match="no form"):
        pack({"a": np.array(["x"])}, VLA_EVAL)
    assert array_forms.DTYPES.isdisjoint({"|O8", "|V8", "<U1", "<c16", "<M8[s]"})


@pytest.mark.parametrize("form", FORMS)
def test_rotations_told_in_every_form_are_scipys(form):
    turns = Rotation.random(50, random_state=1)
    made = coded(turns.as_quat(), form)
    for row, turn in zip(made, turns, strict=True):
        wanted = by_scipy(turn, form)
        if form.startswith("quaternion"):
            wanted = wanted * np.sign(turn.as_quat()[3])
        np.testing.assert_allclose(row, wanted, atol=1e-9)


@pytest.mark.parametrize("pitch", [np.pi / 2, -np.pi / 2])
def test_euler_angles_straight_up_are_the_same_rotation(pitch):
    turn = Rotation.from_euler("xyz", [0.3, pitch, -0.8])
    angles = coded(turn.as_quat()[None], "euler_xyz")[0]
    assert angles[0] == 0.0
    np.testing.assert_allclose(Rotation.from_euler("xyz", angles).as_matrix(), turn.as_matrix(), atol=1e-7)
