"""Conversations with the servers of openpi and vla-eval themselves, in environments of their own.

    python -m venv /tmp/vla-eval && /tmp/vla-eval/bin/pip install vla-eval==0.8.0
    python tests/benchmarks/foreign_servers.py vla-eval --python /tmp/vla-eval/bin/python

    python -m venv /tmp/openpi && /tmp/openpi/bin/pip install openpi-client==0.1.2
    python tests/benchmarks/foreign_servers.py openpi --python /tmp/openpi/bin/python --source FILE

    python tests/benchmarks/foreign_servers.py harness --python /tmp/vla-eval/bin/python

The last is the other way round: vla-eval's own client asks a `magma-serve magma-tiny`, and its answers are held against
those of this project's client. The server of openpi is on no package index: `--source` is its file
src/openpi/serving/websocket_policy_server.py, which needs openpi-client and websockets only. The policies behind the
servers are made here; they answer what they were told (the brightness of the picture, the length of the instruction,
the state), so that every number is seen to go both ways.
--record FILE keeps what was said on the wire; the tests replay it where those packages are not installed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from magma_contracts.arm_state import ArmState
from magma_policy.files.image_files import resize
from magma_policy_client import ServerError
from magma_policy_client.addresses import open_policy

POLICY = """
def answer(image, text, state):
    rows = np.zeros((3, 7), np.float32)
    rows[:, 0] = image.mean() / 25500.0
    rows[:, 1] = len(text) / 1000.0
    rows[:, 2] = np.arange(3) / 1000.0
    rows[:, 3:6] = state[3:6]
    rows[:, 6] = 2.0 * state[6] - 1.0
    if text == "fail":
        raise RuntimeError("this policy was told to fail")
    return rows
"""
SERVERS = {
    "openpi": """
import importlib.util, socket, sys
import numpy as np
from openpi_client.base_policy import BasePolicy
spec = importlib.util.spec_from_file_location("server", sys.argv[1])
module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
"""
    + POLICY
    + """
class Policy(BasePolicy):
    def infer(self, observation):
        image, text, state = (observation[k] for k in ("observation/image", "prompt", "observation/state"))
        assert image.dtype == np.uint8 and image.shape == (8, 8, 3)
        assert not observation["observation/wrist_image"].any() and state.dtype == np.float32
        return {"actions": answer(image, text, state)}
    def reset(self): pass
with socket.socket() as s:
    s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
print("port", port, flush=True)
module.WebsocketPolicyServer(Policy(), "127.0.0.1", port, {"reset_pose": np.zeros(3), "name": "echo"}).serve_forever()
""",
    "vla-eval": """
import socket, sys
import numpy as np
from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.model_servers.serve import serve
from vla_eval.specs import GRIPPER_CLOSE_NEG, IMAGE_RGB, LANGUAGE, POSITION_DELTA, RAW, ROTATION_AA
"""
    + POLICY
    + """
class Server(PredictModelServer):
    def predict(self, observation, ctx):
        image = observation["images"]["primary"]
        assert image.dtype == np.uint8 and image.shape == (8, 8, 3)
        return {"actions": answer(image, observation["task_description"], observation["states"])}
    def get_action_spec(self):
        return {"position": POSITION_DELTA, "rotation": ROTATION_AA, "gripper": GRIPPER_CLOSE_NEG}
    def get_observation_spec(self):
        return {"image": IMAGE_RGB, "language": LANGUAGE, "state": RAW}
with socket.socket() as s:
    s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
print("port", port, flush=True)
serve(Server(), "127.0.0.1", port)
""",
}
HARNESS = """
import asyncio, json, sys
import numpy as np
from vla_eval.connection import Connection

async def main():
    image = (np.arange(160 * 200 * 3) % 251).astype(np.uint8).reshape(160, 200, 3)
    states = np.array([0.45, 0.0, 0.2, 0.0, 1.0, 0.0, 0.0, 1.0], np.float32)
    observation = {"images": {"primary": image}, "task_description": "put the carrot on the plate", "states": states}
    actions = []
    async with Connection(sys.argv[1], timeout=60.0) as server:
        print(json.dumps(server.server_info["action_spec"]["rotation"]), file=sys.stderr)
        for _ in range(2):
            await server.start_episode({"task": {"name": "carrot"}})
            for _ in range(2):
                actions.append(np.asarray((await server.act(observation))["actions"]).tolist())
            await server.end_episode({"metrics": {}})
        try:
            await server.act({**observation, "task_description": ""})
        except RuntimeError as error:
            print(error, file=sys.stderr)
        else:
            raise SystemExit("an empty instruction was not refused")
        actions.append(np.asarray((await server.act(observation))["actions"]).tolist())
    print(json.dumps(actions))

asyncio.run(main())
"""
KEYS = {
    "openpi": ('["observation/image"]', '[["observation/wrist_image"]]', "prompt", "observation/state"),
    "vla-eval": ('["images", "primary"]', "[]", "task_description", "states"),
}
MODEL = """
policy = "echo"
camera = "third_person"
image_size = [8, 8]
fps = 5
chunk = 3
[observation]
image = {image}
black_images = {black}
instruction = "{instruction}"
[state]
space = "end_effector"
position = "{state}[0:3]"
rotation = "{state}[3:6]"
rotation_form = "axis_angle"
gripper = "{state}[6]"
gripper_closed = 0.0
gripper_open = 1.0
[action]
space = "end_effector"
kind = "delta"
position = "actions[0:3]"
rotation = "actions[3:6]"
rotation_form = "axis_angle"
gripper = "actions[6]"
gripper_closed = -1.0
gripper_open = 1.0
"""


def model_text(protocol: str) -> str:
    """The model file of the policy above."""
    image, black, instruction, state = KEYS[protocol]
    return MODEL.format(image=image, black=black, instruction=instruction, state=state)


def converse(address: str) -> list[list[list[float]]]:
    """Two episodes, with a failure of the policy in between; returns the steps of every answer."""
    turn = np.array([0.1, -0.2, 0.3])
    angle = float(np.linalg.norm(turn))
    quaternion = np.array([*(turn / angle * np.sin(angle / 2)), np.cos(angle / 2)])
    state = ArmState(np.array([0.4, 0.1, 0.2]), quaternion, np.zeros(3), np.array([0.0, 0, 0, 1]), 0.75, 1.0)
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    answers = []
    with open_policy(address, timeout_s=30.0) as client:
        identity = client.identity
        for episode in ("lift the cube", "put it down"):
            client.reset()
            for _ in range(2):
                answers.append(client.act(image, episode, state).deltas.tolist())
            if episode == "lift the cube":
                try:
                    client.act(image, "fail", state)
                except ServerError as error:
                    assert "this policy was told to fail" in str(error) and "\n" not in str(error), error
                else:
                    raise AssertionError("a failure of the policy was not told")
        assert client.identity == identity
    for steps, text in zip(answers, ["lift the cube"] * 2 + ["put it down"] * 2, strict=True):
        wanted = np.zeros((3, 7))
        wanted[:, 0], wanted[:, 1], wanted[:, 2] = image.mean() / 25500.0, len(text) / 1000.0, np.arange(3) / 1000.0
        wanted[:, 3:6], wanted[:, 6] = turn, 0.75
        np.testing.assert_allclose(steps, wanted, atol=1e-6)
    return answers


class Relay:
    """Passes a conversation on, connection by connection, and writes it down."""

    def __init__(self, port: int) -> None:
        self.said: list[list[dict[str, str]]] = []
        self._target = f"ws://127.0.0.1:{port}"
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True).start()
        assert self._ready.wait(30)

    async def _run(self) -> None:
        async with serve(self._handle, "127.0.0.1", 0, compression=None) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await asyncio.Future()

    async def _handle(self, client: Any) -> None:
        heard: list[dict[str, str]] = []
        self.said.append(heard)
        async with connect(self._target, compression=None, proxy=None) as server:

            async def pass_on(source: Any, target: Any, who: str) -> None:
                with contextlib.suppress(ConnectionClosed):
                    async for data in source:
                        kind = "text" if isinstance(data, str) else "bytes"
                        raw = data.encode() if isinstance(data, str) else data
                        heard.append({"from": who, "kind": kind, "data": base64.b64encode(raw).decode()})
                        await target.send(data)
                await target.close()

            await asyncio.gather(pass_on(client, server, "client"), pass_on(server, client, "server"))


def main() -> None:
    """Runs what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=(*SERVERS, "harness"))
    parser.add_argument("--python", required=True, help="of the environment with the server's packages")
    parser.add_argument("--source", default="", help="with openpi: its websocket_policy_server.py")
    parser.add_argument("--record", type=Path, help="where to keep what was said")
    given = parser.parse_args()
    if given.protocol == "harness":
        return harness(given.python, given.record)
    command = [given.python, "-c", SERVERS[given.protocol], given.source]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        found = re.match(r"port (\d+)", server.stdout.readline())
        assert found, "the server did not start; run its command by hand"
        model = Path(f"/tmp/{given.protocol}-echo.toml")
        model.write_text(model_text(given.protocol))
        relay = Relay(int(found[1]))
        _wait_for(int(found[1]))
        answers = converse(f"{given.protocol}://127.0.0.1:{relay.port}?model={model}")
        frames = sum(len(heard) for heard in relay.said)
        print(f"{given.protocol}: {len(answers)} answers right, {len(relay.said)} connections, {frames} frames")
        if given.record is not None:
            given.record.write_text(
                json.dumps({"protocol": given.protocol, "connections": relay.said}, indent=0) + "\n"
            )
    finally:
        server.kill()
        server.wait()


def harness(python: str, record: Path | None) -> None:
    """vla-eval's own client against a magma-serve."""
    command = [sys.executable, "-m", "magma_policy.commands.serve", "magma-tiny", "--port", "0", "--device", "cpu"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"ws://127\.0\.0\.1:(\d+)", server.stdout.readline())
        assert found, "magma-serve did not start"
        relay = Relay(int(found[1]))
        words = [python, "-c", HARNESS, f"ws://127.0.0.1:{relay.port}"]
        told = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
        actions = np.array(json.loads(told.stdout))
        image = (np.arange(160 * 200 * 3) % 251).astype(np.uint8).reshape(160, 200, 3)
        down = np.array([1.0, 0.0, 0.0, 0.0])
        place = np.array([0.45, 0.0, 0.2])
        with open_policy(f"ws://127.0.0.1:{found[1]}", timeout_s=60.0) as client:
            pixels = resize(image, client.spec.image_width, client.spec.image_height)
            state = ArmState(place, down, place, down, 1.0, 1.0)
            expected = client.act(pixels, "put the carrot on the plate", state).deltas[0]
        np.testing.assert_allclose(actions[[0, 2, 4]], np.stack([expected] * 3), atol=1e-6)
        print(f"harness: {len(actions)} answers, those that begin an episode equal to this project's client")
        if record is not None:
            record.write_text(json.dumps({"protocol": "harness", "connections": relay.said}, indent=0) + "\n")
    finally:
        server.kill()
        server.wait()


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server does not listen")


if __name__ == "__main__":
    sys.exit(main())
