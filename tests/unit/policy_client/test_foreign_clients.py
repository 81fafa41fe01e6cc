"""The clients of openpi's and vla-eval's servers: recorded conversations with the servers themselves, and servers that
misbehave."""

from __future__ import annotations

import base64
import json
import re
import sys
import time
from pathlib import Path

import msgpack
import numpy as np
import pytest

from magma_contracts.arm_state import ArmState
from magma_contracts.errors import ConfigError
from magma_eval.episodes import Episode
from magma_eval.policies.choice import PolicyChoice
from magma_eval.policies.interface import PolicyFailedError, PolicyMismatchError
from magma_eval.policies.served import served_identity
from magma_eval.policies.source import PolicySource
from magma_policy.commands.act import main as act
from magma_policy.files.image_files import write_image
from magma_policy_client import (
    ConnectionLostError,
    PolicyChangedError,
    PolicyTimeoutError,
    ProtocolError,
    RefusedError,
    ServerError,
    SpecChangedError,
    VersionMismatchError,
)
from magma_policy_client.addresses import open_policy
from magma_policy_client.foreign import openpi as openpi_client
from magma_policy_client.foreign import vla_eval as vla_eval_client
from magma_policy_client.foreign.array_forms import OPENPI, VLA_EVAL, unpack
from magma_policy_ros.policies import PolicyGoneError, connect

from .foreign_fakes import (
    IMAGE,
    MODEL,
    ROWS,
    STEPS,
    FakeServer,
    good_openpi,
    good_vla_eval,
    openpi,
    openpi_array,
    vla_eval,
    vla_eval_array,
)  # fmt: skip

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import foreign_servers

STATE = ArmState(np.zeros(3), np.array([1.0, 0, 0, 0]), np.zeros(3), np.array([1.0, 0, 0, 0]), 1.0, 1.0)
SHORT_S, LONG_S = 0.3, 20.0
HERE = Path(__file__).parent


@pytest.fixture
def start(tmp_path):
    """Starts a server; returns it and the address of the policy behind it."""
    servers = []

    def made(converse, model=MODEL, protocol=None):
        servers.append(FakeServer(converse))
        (tmp_path / "model.toml").write_text(model)
        scheme = protocol or ("openpi" if "openpi" in converse.__qualname__ else "vla-eval")
        return servers[-1], f"{scheme}://127.0.0.1:{servers[-1].port}?model={tmp_path}/model.toml"

    yield made
    for server in servers:
        server.close()


GOOD = [openpi(good_openpi), vla_eval(good_vla_eval)]
BOTH = pytest.mark.parametrize("converse", GOOD, ids=["openpi", "vla-eval"])


@pytest.mark.parametrize("name", ["openpi", "vla_eval"])
def test_what_was_said_with_the_servers_themselves_is_said_again(start, name):
    """Every frame of the client is what was recorded, but for times and names; the answers are the server's bytes."""
    recorded = json.loads((HERE / "conversations" / f"{name}.json").read_text())
    form = OPENPI if name == "openpi" else VLA_EVAL
    left, differences = list(recorded["connections"]), []

    def plain(value):
        if isinstance(value, np.ndarray):
            return [value.dtype.str, value.tolist()]
        skipped = ("timestamp", "harness_version")
        return {k: plain(v) for k, v in value.items() if k not in skipped} if isinstance(value, dict) else value

    async def converse(connection):
        for frame in left.pop(0):
            data = base64.b64decode(frame["data"])
            if frame["from"] == "server":
                await connection.send(data.decode() if frame["kind"] == "text" else data)
                continue
            heard, wanted = (plain(unpack(each, form)) for each in (await connection.recv(), data))
            if heard != wanted:
                differences.append((heard, wanted))

    _, address = start(converse, foreign_servers.model_text(recorded["protocol"]), recorded["protocol"])
    assert len(foreign_servers.converse(address)) == 4
    assert not differences and not left


@BOTH
def test_a_policy_by_wire_is_used_as_any_other(start, converse):
    server, address = start(converse)
    with open_policy(address, "secret", LONG_S) as client:
        assert client.spec.policy == "echo" and client.spec.horizon == 2 and client.spec.proprioception
        assert client.url == address and client.connected and client.robots == ()
        client.reset()
        result = client.act(IMAGE, "lift it", STATE)
        np.testing.assert_allclose(result.deltas, STEPS, atol=1e-8)
        assert result.stage_ms["network"] >= 0.0
        assert result.stage_ms.get("infer") == (3.0 if address.startswith("openpi") else None)
    scheme = "Api-Key" if address.startswith("openpi") else "Bearer"
    assert server.headers[0]["Authorization"] == f"{scheme} secret"
    with pytest.raises(ConnectionLostError, match="closed"):
        client.act(IMAGE, "go", STATE)
    with pytest.raises(RefusedError, match="no robots"):
        open_policy(address, robot="widowx")
    with open_policy(address, timeout_s=LONG_S) as client, pytest.raises(RefusedError, match="arm's state"):
        client.act(IMAGE, "go", None)


def test_where_a_server_tells_no_content_its_metadata_is_the_identity(start):
    def identity(converse, model=MODEL):
        with open_policy(start(converse, model)[1], timeout_s=LONG_S) as client:
            return client.identity

    plain = identity(openpi(good_openpi, {"name": "a", "pose": openpi_array(np.zeros(2))}))
    assert plain.startswith("metadata-") and len(plain) == 64
    assert plain == identity(openpi(good_openpi, {"pose": openpi_array(np.zeros(2)), "name": "a"}))
    assert plain != identity(openpi(good_openpi, {"name": "b", "pose": openpi_array(np.zeros(2))}))
    assert plain != identity(openpi(good_openpi, {"name": "a", "pose": openpi_array(np.ones(2))}))
    told = identity(openpi(good_openpi, {"identity": "abc"}))
    assert not told.startswith("metadata-") and told == identity(openpi(good_openpi, {"identity": "abc", "x": 1}))
    turned = MODEL.replace("gripper_closed = 1.0\ngripper_open = -1.0", "gripper_closed = -1.0\ngripper_open = 1.0")
    assert told != identity(openpi(good_openpi, {"identity": "abc"}), turned), "the file decides how the arm moves"
    assert identity(vla_eval(good_vla_eval)).startswith("metadata-")
    assert not identity(vla_eval(good_vla_eval, {"identity": "abc"})).startswith("metadata-")


def test_a_late_answer_of_openpi_is_never_the_next_ones(start):
    asked = []

    def answer(observation):
        asked.append(observation["prompt"])
        return None if observation["prompt"] == "first" else {"actions": openpi_array(ROWS * 0.5)}

    server, address = start(openpi(answer))
    with open_policy(address, timeout_s=LONG_S) as client:
        while "first" not in asked:  # on a busy machine the time may have passed before it was sent
            with pytest.raises(PolicyTimeoutError, match=r"within 0\.3 s"):
                client.act(IMAGE, "first", STATE, deadline_s=SHORT_S)
            assert not client.connected, "what comes on this connection now could be the late answer"
        np.testing.assert_allclose(client.act(IMAGE, "second", STATE).deltas[:, :6], STEPS[:, :6] / 2, atol=1e-8)
    assert server.connections >= 2 and asked[-1] == "second" and set(asked[:-1]) == {"first"}


@pytest.mark.parametrize("times", [2, 12], ids=["twice", "for ever"])
def test_an_answer_of_openpi_that_nobody_asked_for_ends_the_connection(start, times):
    asked = []

    async def converse(connection):
        await connection.send(msgpack.packb({}))
        async for _ in connection:
            asked.append(len(asked))
            for _ in range(times if len(asked) % 2 else 1):
                await connection.send(msgpack.packb({"actions": openpi_array(ROWS / 2 ** asked[-1])}))

    server, address = start(converse, protocol="openpi")
    with open_policy(address, timeout_s=LONG_S) as client:
        for number in range(2):
            client.reset()
            np.testing.assert_allclose(client.act(IMAGE, "go", STATE).deltas[0, 0], 0.01 / 2 ** asked[-1], rtol=1e-6)
            with pytest.raises(ProtocolError, match="nobody asked for"):
                if number:
                    client.reset()
                else:
                    client.act(IMAGE, "go", STATE)
            assert not client.connected
            np.testing.assert_allclose(client.act(IMAGE, "go", STATE).deltas[0, 0], 0.01 / 2 ** asked[-1], rtol=1e-6)
    assert server.connections == 3 and len(asked) == 4


@BOTH
def test_an_answer_that_took_too_long_to_read_is_late(start, converse, monkeypatch):
    _, address = start(converse)
    module = openpi_client if address.startswith("openpi") else vla_eval_client

    def slow(*args):
        time.sleep(SHORT_S)
        return unpack(*args)

    with open_policy(address, timeout_s=LONG_S) as client:
        with monkeypatch.context() as patched:
            patched.setattr(module, "unpack", slow)
            with pytest.raises(PolicyTimeoutError):
                client.act(IMAGE, "go", STATE, deadline_s=SHORT_S)
        np.testing.assert_allclose(client.act(IMAGE, "go", STATE).deltas, STEPS, atol=1e-8)


def test_late_answers_of_vla_eval_are_told_by_their_seq(start):
    held = []

    def answer(message):
        if message["type"] != "observation":
            return []
        held.append(message["seq"])
        if len(held) == 1:
            return []
        late = ("action", {"actions": vla_eval_array(ROWS)}, held[0])
        return [late, ("error", {"error": "late"}, held[0]), ("action", {"actions": vla_eval_array(ROWS / 2)}, held[1])]

    server, address = start(vla_eval(answer))
    with open_policy(address, timeout_s=LONG_S) as client:
        with pytest.raises(PolicyTimeoutError):
            client.act(IMAGE, "go", STATE, deadline_s=SHORT_S)
        np.testing.assert_allclose(client.act(IMAGE, "go", STATE).deltas[:, :6], STEPS[:, :6] / 2, atol=1e-8)
    assert server.connections == 1


def lose(client):
    """The connection breaks."""
    client._loop.call_soon_threadsafe(client._connection.transport.abort)
    until_s = time.monotonic() + LONG_S
    while client.connected and time.monotonic() < until_s:
        time.sleep(0.01)


def test_episodes_are_told_to_vla_eval_also_after_a_connection_was_lost(start):
    heard = []

    def converse(connection):
        async def record():
            def answer(message):
                heard.append(message["type"])
                return good_vla_eval(message)

            await vla_eval(answer)(connection)

        return record()

    server, address = start(converse, protocol="vla-eval")
    with open_policy(address, timeout_s=LONG_S) as client:
        client.reset()
        client.act(IMAGE, "go", STATE)
        client.reset()
        client.act(IMAGE, "go", STATE)
        lose(client)
        client.act(IMAGE, "go", STATE)
    turn = ["episode_start", "observation"]
    assert heard == [*turn, "episode_end", *turn, *turn] and server.connections == 2


@BOTH
def test_another_policy_behind_the_address_is_noticed(start, converse):
    told = {"name": "first"}
    make = (
        openpi(good_openpi, lambda: told) if converse is GOOD[0] else vla_eval(good_vla_eval, told)
    )  # the maps are looked at when a client comes
    _, address = start(make)
    policy = connect(address, None, LONG_S, lambda reason: None, lambda seconds: True)
    assert policy is not None and policy.where == address
    np.testing.assert_allclose(policy.act(IMAGE, "go", STATE).deltas, STEPS, atol=1e-8)
    told["name"] = "second"
    client = policy._client
    lose(client)
    with pytest.raises(PolicyGoneError, match="another policy"):
        policy.act(IMAGE, "go", STATE)
    with pytest.raises(PolicyChangedError):
        client.act(IMAGE, "go", STATE)
    policy.close()


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ("Traceback (most recent call last):\n  File x\nValueError: no\x1b[2Jsuch key\n", ServerError, "no"),
        (b"\xc1", ProtocolError, "not a msgpack message"),
        ([1, 2], ProtocolError, "expected a map"),
        ({"actions": {b"__ndarray__": True, b"data": b"x", b"dtype": "|O8", b"shape": [1]}}, ProtocolError, "O8"),
        ({"actions": openpi_array(ROWS[:1])}, ServerError, "of shape"),
        ({"actions": openpi_array(ROWS * np.float32("nan"))}, ServerError, "not finite"),
        ({"action": 1}, ServerError, "asks for 'actions'"),
        (b"\x00" * (17 * 2**20), ConnectionLostError, "lost the connection"),
    ],
    ids=["text", "no msgpack", "a list", "objects", "too few", "nan", "other key", "too large"],
)
def test_answers_of_openpi_that_are_none_move_nothing(start, answer, error, said):
    _, address = start(openpi(lambda observation: answer if observation["prompt"] == "bad" else good_openpi(0)))
    with open_policy(address, timeout_s=LONG_S) as client:
        with pytest.raises(error, match=said) as caught:
            client.act(IMAGE, "bad", STATE)
        assert str(caught.value).isprintable()
        assert client.act(IMAGE, "good", STATE).deltas.shape == (2, 7), "the next call connects again"


@pytest.mark.parametrize(
    ("made", "error", "said"),
    [
        (lambda seq: [("error", {"error": "observation_failed: KeyError: 'x'\nmore"}, seq)], ServerError, "more"),
        (lambda seq: [("error", {"error": "episode_start_failed: no"}, seq - 1)], ServerError, "episode_start_failed"),
        (lambda seq: [("action", {"actions": vla_eval_array(ROWS)}, seq + 1)], ProtocolError, "never sent"),
        (lambda seq: [("hello", {}, seq)], ProtocolError, "answered an observation with hello"),
        (lambda seq: [("dance", {}, seq)], ProtocolError, "type 'dance'"),
        (lambda seq: [("action", [1], seq)], ProtocolError, "without a payload"),
        (lambda seq: [b"\x93"], ProtocolError, "not a msgpack"),
        (lambda seq: [("action", {"actions": {"__image__": True}}, seq)], ProtocolError, "picture"),
        (lambda seq: [("action", {"actions": [[0.0] * 7]}, seq)], ServerError, "of shape"),
    ],
)
def test_answers_of_vla_eval_that_are_none_move_nothing(start, made, error, said):
    def answer(message):
        if message["type"] != "observation":
            return []
        return made(message["seq"]) if message["payload"]["prompt"] == "bad" else good_vla_eval(message)

    _, address = start(vla_eval(answer))
    with open_policy(address, timeout_s=LONG_S) as client:
        with pytest.raises(error, match=said) as caught:
            client.act(IMAGE, "bad", STATE)
        assert str(caught.value).isprintable()
        assert client.act(IMAGE, "good", STATE).deltas.shape == (2, 7)


def specs(**formats):
    return {name: {"name": name, "dims": 3, "format": text} for name, text in formats.items()}


@pytest.mark.parametrize(
    ("hello", "error", "said"),
    [
        ({"protocol_version": 2}, VersionMismatchError, "speaks version 2"),
        ({"protocol_version": None}, VersionMismatchError, "version None"),
        ({"protocol_version": True}, VersionMismatchError, "version True"),
        ({"protocol_version": vla_eval_array(np.ones(3))}, VersionMismatchError, "speaks version"),
        ({"action_spec": specs(position="absolute_xyz")}, ConfigError, "has kind delta under .action., not absolute"),
        ({"action_spec": specs(rotation="euler_xyz")}, ConfigError, "rotation_form axis_angle"),
        ({"action_spec": specs(gripper="binary_close_negative")}, ConfigError, "not -1 and 1"),
        ({"action_spec": specs(gripper="continuous_01")}, ConfigError, "not 0 and 1 or 1 and 0"),
        ({"action_spec": specs(rotation="rot6d_twisted")}, ConfigError, "which is not known here"),
        ({"action_spec": specs(base_motion="base_velocity3_torso1")}, ConfigError, "'base_motion', which is not known"),
        ({"observation_spec": specs(tactile="raw")}, ConfigError, "asks for 'tactile'"),
        ({"action_spec": {"position": "delta_xyz"}}, ConfigError, "names no formats"),
    ],
)
def test_conventions_that_a_server_declares_are_held_against_the_file(start, hello, error, said):
    _, address = start(vla_eval(good_vla_eval, hello))
    with pytest.raises(error, match=said) as caught:
        open_policy(address, timeout_s=LONG_S)
    assert str(caught.value).isprintable()


def test_conventions_that_change_behind_an_address_are_another_policy(start):
    told = {"action_spec": specs(rotation="axis_angle")}
    _, address = start(vla_eval(good_vla_eval, told))
    with open_policy(address, timeout_s=LONG_S) as client:
        client.act(IMAGE, "go", STATE)
        told["action_spec"] = specs(rotation="euler_xyz")
        lose(client)
        for _ in range(2):
            with pytest.raises(SpecChangedError, match=r"rotation_form axis_angle .* make a new client"):
                client.act(IMAGE, "go", STATE)
        with pytest.raises(ConfigError):
            open_policy(address, timeout_s=LONG_S)
        told["action_spec"] = specs(rotation="axis_angle")
        assert client.act(IMAGE, "go", STATE).deltas.shape == (2, 7)


def test_a_form_of_rotations_that_a_server_declares_wrongly_is_named_beside_the_right_one(start):
    head, _, tail = MODEL.partition("[action]")
    model = head + "[action]" + tail.replace('"axis_angle"', '"euler_xyz"\ndeclared_rotation = "axis_angle"')
    _, address = start(vla_eval(good_vla_eval, {"action_spec": specs(rotation="axis_angle")}), model)
    open_policy(address, timeout_s=LONG_S).close()
    _, address = start(vla_eval(good_vla_eval, {"action_spec": specs(rotation="euler_xyz")}), model)
    with pytest.raises(ConfigError, match=r"has declared_rotation axis_angle under .action., not euler_xyz"):
        open_policy(address, timeout_s=LONG_S)


def test_conventions_that_agree_are_taken_and_a_wanted_state_is_asked_for(start):
    declared = {
        "action_spec": specs(position="delta_xyz", rotation="axis_angle", gripper="binary_close_positive"),
        "observation_spec": specs(image="rgb_hwc_uint8", language="language", state="eef_pos3_axisangle3_gripper2"),
    }
    _, address = start(vla_eval(good_vla_eval, declared))
    open_policy(address, timeout_s=LONG_S).close()
    blind = MODEL[: MODEL.index("[state]")] + MODEL[MODEL.index("[action]") :]
    with pytest.raises(ConfigError, match=r"add \[state\]"):
        open_policy(start(vla_eval(good_vla_eval, declared), blind)[1], timeout_s=LONG_S)


def test_what_is_no_such_server_is_told(start):
    async def silent(connection):
        await connection.wait_closed()

    async def other(connection):
        await connection.send("hello")
        await connection.wait_closed()

    for protocol in ("openpi", "vla-eval"):
        with pytest.raises(PolicyTimeoutError):
            open_policy(start(silent, protocol=protocol)[1], timeout_s=SHORT_S)
        with pytest.raises((ServerError, ProtocolError)):
            open_policy(start(other, protocol=protocol)[1], timeout_s=LONG_S)
        server, address = start(silent, protocol=protocol)
        server.close()
        with pytest.raises(ConnectionLostError, match="cannot connect"):
            open_policy(address, timeout_s=LONG_S)


@BOTH
def test_the_evaluator_plays_policies_by_wire(start, converse):
    _, address = start(converse)
    choice = PolicyChoice(address, deadline_s=LONG_S)
    assert choice.remote and choice.on_server and choice.label == address
    identity = served_identity(choice, address, "", LONG_S)
    source = PolicySource(choice, address, "", identity)
    policy = source.for_episode(Episode("s", "t", "eval", 0, make="t", layout=0), "widowx", 0)
    policy.reset("go")

    class Seen:
        image, instruction, end_effector, step = IMAGE, "go", STATE, 0

    np.testing.assert_allclose(policy.act(Seen()), STEPS, atol=1e-8)
    source.close()
    with pytest.raises(PolicyMismatchError, match="another policy"):
        PolicySource(choice, address, "", "else").for_episode(Episode("s", "t", "eval", 0, "t", layout=0), "", 0)
    with pytest.raises(ValueError, match="model file"):
        PolicyChoice(address.partition("?")[0])
    nobody = re.sub(r":\d+\?", ":9?", address)
    with pytest.raises(PolicyFailedError, match="cannot be used"):
        served_identity(PolicyChoice(nobody), nobody, "", LONG_S)


def test_magma_act_asks_policies_by_wire(start, tmp_path, monkeypatch, capsys):
    _, address = start(GOOD[0])
    write_image(tmp_path / "picture.png", np.zeros((40, 60, 3), np.uint8))
    words = ["magma-act", str(tmp_path / "picture.png"), "lift it", "--json", "--checkpoint"]
    monkeypatch.setattr(sys, "argv", [*words, address])
    with pytest.raises(SystemExit) as ended:
        act()
    assert not ended.value.code
    np.testing.assert_allclose(json.loads(capsys.readouterr().out)["deltas"], STEPS, atol=1e-8)
    monkeypatch.setattr(sys, "argv", [*words, address.partition("?")[0]])
    with pytest.raises(SystemExit) as ended:
        act()
    assert ended.value.code == 1 and "must name a model file" in capsys.readouterr().err
