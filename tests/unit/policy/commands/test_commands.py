"""magma-chat, magma-act and what they share, as a person types them, with a random model in the published layout."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import openai
import pytest
from PIL import Image

from magma_contracts.errors import ConfigError
from magma_contracts.files.server_tokens import TOKEN_VARIABLE
from magma_contracts.hosts import is_loopback
from magma_policy.commands import act, chat, init, serve
from magma_policy.commands.options import run_command
from magma_policy.embodiments import robots
from magma_policy.errors import CommandError
from magma_policy.files.image_files import read_image, resize, write_image
from magma_policy_client import PolicyClient, RefusedError
from tests.running_server import running
from tests.unit.policy.files.test_video_files import film

SHIPPED = Path(__file__).parents[4] / "policy" / "checkpoints" / "magma-tiny"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["magma-init", "--layout", "published", "--output", str(folder)])
        with pytest.raises(SystemExit) as ended:
            init.main()
        assert ended.value.code == 0
    return folder


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_chat_streams_an_answer(run, picture, checkpoint):
    status, said, notes = run(chat, picture, "what is this?", "--checkpoint", checkpoint, "--max-new-tokens", 5)
    assert status == 0 and said.strip() and f"loading {checkpoint}" in notes
    again = run(chat, picture, "what is this?", "--checkpoint", checkpoint, "--max-new-tokens", 5)
    assert again[1] == said, "the best word always, unless a temperature is asked for"
    status, said, _ = run(chat, "no picture at all", "--checkpoint", checkpoint, "--max-new-tokens", 3)
    assert status == 0 and said.strip()


def test_chat_watches_a_video_and_looks_at_pictures(run, picture, checkpoint, tmp_path):
    path = film(tmp_path / "film.mp4")
    question = [path, picture, "what happens?", "--checkpoint", checkpoint, "--max-new-tokens", 3]
    status, said, notes = run(chat, *question, "--frames", 4)
    assert status == 0 and said.strip()
    assert "4 images from 0 to 1.97 s" in notes and "picture.png: 120x90 pixels" in notes
    status, _, notes = run(chat, path, "what?", "--checkpoint", checkpoint, "--max-new-tokens", 3, "--frames", 32)
    assert "32 images are 8704 tokens for Magma-8B, which was trained to read 8192" in notes
    assert status == 0 or "a video gives fewer with --frames" in notes
    assert "--frames must be from 1 to 32" in run(chat, path, "what?", "--frames", 33)[2]
    assert "is a video" in run(chat, path, "push it", "--ask", "trace")[2]
    assert "no such file" in run(chat, tmp_path / "nothing.mp4", "what?")[2]
    picture.rename(tmp_path / "picture.mp4")
    assert "picture.mp4" in run(chat, tmp_path / "picture.mp4", "what?", "--checkpoint", checkpoint)[2]


def test_a_checkpoint_without_a_robot_is_served_for_talking_alone(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "Magma-talks")
    for name in (robots.ACTION_SPEC, robots.STATISTICS):
        (tmp_path / "Magma-talks" / name).unlink()
    config = serve.ServeConfig(str(tmp_path / "Magma-talks"), answers=tmp_path / "answers.sqlite")
    served = serve.load(config)
    with running(lambda: serve.make_server(served, config, None)) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
        (model,) = client.models.list()
        said = client.chat.completions.create(
            model=model.id, messages=[{"role": "user", "content": "Hello"}], max_tokens=3
        )
        assert model.id == "Magma-talks" and said.usage.completion_tokens == 3
        with pytest.raises(RefusedError, match=r"only talks.*name one with magma-serve --robot"):
            PolicyClient(url.replace("http", "ws"), timeout_s=30.0)


@pytest.mark.parametrize("ask", ["brief", "click", "marks", "trace"])
def test_every_kind_of_question(run, picture, checkpoint, tmp_path, ask):
    arguments = [picture, "push the bag", "--ask", ask, "--checkpoint", checkpoint, "--max-new-tokens", 4]
    if ask == "click":
        (tmp_path / "boxes.json").write_text("[[5, 5, 40, 30], [60, 20, 100, 80]]")
        arguments += ["--boxes", tmp_path / "boxes.json"]
    if ask != "brief":
        arguments += ["--draw", tmp_path / "drawn.png"]
    status, _, notes = run(chat, *arguments)
    assert status == 0
    if ask != "brief":
        assert read_image(tmp_path / "drawn.png").shape == (90, 120, 3) and f"{ask}" in notes


def test_what_is_understood_is_drawn():
    frame = np.zeros((100, 200, 3), np.uint8)
    boxes = np.array([[10.0, 10, 50, 40]])
    assert (chat._show("click", "Mark: 0", frame, frame, boxes)[25, 30 - 3] != 0).any()
    assert (chat._show("marks", "Mark 3 at [128,128]", frame, frame, boxes)[50 - 4, 100] != 0).any()
    traced = chat._show("trace", '"Mark 3": "[[0,128],[255,128]]"', frame, frame, boxes)
    assert (traced[50, 20:180] != 0).any(axis=1).all()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "what is the question"),
        (["PICTURE"], 1, "what is the question about it"),
        (["nothing.png"], 1, "no such file"),
        (["nothing.png", "hi"], 1, "no such file"),
        (["PICTURE", " "], 1, "question is empty"),
        (["TEXT", "hi"], 1, "not a picture"),
        (["PICTURE", "hi", "--draw", "x.png"], 2, "--draw needs --ask"),
        (["PICTURE", "hi", "--boxes", "x.json"], 2, "--boxes is for --ask click"),
        (["PICTURE", "PICTURE", "hi", "--ask", "trace"], 2, "takes one picture"),
        (["PICTURE", "hi", "--ask", "click", "--boxes", "/nowhere.json"], 1, "cannot be read"),
        (["PICTURE", "hi", "--temperature", "-1"], 1, "temperature"),
        (["PICTURE", "hi", "--checkpoint", "nonsense"], 1, "no checkpoint 'nonsense'"),
        (["PICTURE", "hi", "--checkpoint", str(SHIPPED)], 0, "was taught to act"),
        (["PICTURE", "<|eot_id|>", "--checkpoint", "MODEL"], 1, "reserved markup"),
        (["PICTURE", "hi", "--question", "hi"], 2, "--question"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_chat_says_what_was_wrong_or_doubtful(run, picture, checkpoint, tmp_path, arguments, status, says):
    (tmp_path / "text.png").write_text("I am no picture")
    stand_in = {"PICTURE": str(picture), "TEXT": str(tmp_path / "text.png"), "MODEL": str(checkpoint)}
    code, _, notes = run(chat, *(stand_in.get(word, word) for word in arguments))
    assert code == status and "Traceback" not in notes
    assert says in " ".join(re.sub("[│╭╮╰╯─]", " ", notes).split())


def test_act_prints_an_action(run, picture, checkpoint, tmp_path):
    status, said, notes = run(act, picture, "put the carrot on the plate", "--draw", tmp_path / "marks.png")
    assert status == 0 and "move mm" in said and "gripper" in said
    assert "assumed: tool at 0.45 0 0.2 m" in notes and "stretched: 120x90 to 128x128" in notes
    assert read_image(tmp_path / "marks.png").shape == (540, 720, 3), "large enough to look at, not stretched"
    status, said, notes = run(act, picture, "go", "--checkpoint", checkpoint, "--json")
    action = json.loads(said)
    assert status == 0 and np.array(action["deltas"]).shape == (1, 7) and len(action["ids"]) == 7
    assert "assumed" not in notes, "a policy that sees only needs no state"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["PICTURE"], 2, "INSTRUCTION"),
        (["PICTURE", ""], 1, "instruction is empty"),
        (["PICTURE", "go", "--gripper", "7"], 2, "--gripper must be from 0"),
        (["PICTURE", "go", "--position", "0", "nan", "0"], 2, "--position must be three finite numbers"),
        (["PICTURE", "go", "--threads", "-1"], 2, "--threads"),
        (["PICTURE", "go", "--checkpoint", "ws://127.0.0.1:9"], 1, "cannot connect"),
        (["PICTURE", "go", "--checkpoint", "ws://127.0.0.1"], 1, "names no port"),
        (["PICTURE", "go", "--checkpoint", "MODEL", "--draw", "x.png"], 1, "does not point"),
    ],
)
def test_act_says_what_was_wrong(run, picture, checkpoint, arguments, status, says):
    stand_in = {"PICTURE": str(picture), "MODEL": str(checkpoint)}
    code, _, notes = run(act, *(stand_in.get(word, word) for word in arguments))
    assert code == status and "Traceback" not in notes
    assert says in " ".join(re.sub("[│╭╮╰╯─]", " ", notes).split())


def test_pictures_as_files(tmp_path):
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 0] = 255
    turned = Image.fromarray(pixels)
    exif = turned.getexif()
    exif[274] = 6  # the camera was held upright
    turned.save(tmp_path / "turned.png", exif=exif)
    assert read_image(tmp_path / "turned.png").shape == (3, 2, 3)
    Image.fromarray(pixels).convert("P").save(tmp_path / "palette.gif")
    assert (read_image(tmp_path / "palette.gif") == pixels).all()
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, "PNG")
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[:2000])
    for name in ("cut.png", "missing.png", "."):
        with pytest.raises(CommandError):
            read_image(tmp_path / name)
    with pytest.raises(CommandError, match="cannot be written"):
        write_image(tmp_path / "no" / "folder.png", pixels)
    assert resize(pixels, 3, 2) is pixels and resize(pixels, 6, 4).shape == (4, 6, 3)


def test_errors_become_exit_statuses(capsys):
    def fails(error):
        def work():
            raise error

        return run_command("magma-x", work)

    assert fails(CommandError("mend this")) == 1 and "magma-x: mend this" in capsys.readouterr().err
    assert fails(ConfigError("and this")) == 1 and fails(KeyboardInterrupt()) == 130
    assert fails(ImportError("no module named y")) == 1 and "run setup" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        fails(ZeroDivisionError())


def test_addresses_are_taken_before_anything_is_loaded():
    with serve.bind("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(CommandError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            serve.bind("127.0.0.1", port)
    serve.bind("127.0.0.1", port).close()
    with pytest.raises(CommandError, match="cannot listen on no such host"):
        serve.bind("no such host", 0)


def test_where_the_server_announces_itself_is_tried_before_it_loads(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(serve, "load", lambda config: pytest.fail("loaded"))
    monkeypatch.setattr(serve.os, "_exit", lambda status: sys.exit(status))
    monkeypatch.setattr(sys, "argv", ["magma-serve", "--port", "0", "--announce", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        serve.main()
    assert capsys.readouterr().err == f"magma-serve: --announce {tmp_path} is a folder; give the name of a file\n"


def test_tokens_and_hosts_of_the_server(tmp_path):
    config = serve.ServeConfig()
    assert serve.read_token(config, {}) is None
    assert serve.read_token(config, {TOKEN_VARIABLE: "x" * 16}) == "x" * 16
    (tmp_path / "token").write_text("0123456789abcdef\n")
    outside = serve.ServeConfig(host="0.0.0.0", token_file=tmp_path / "token")
    assert serve.read_token(outside, {TOKEN_VARIABLE: "y" * 16}) == "0123456789abcdef"
    for wrong in ("short", "x" * 15 + "é", "x" * 15 + "\n"):
        with pytest.raises(CommandError, match="at least 16 printable"):
            serve.read_token(config, {TOKEN_VARIABLE: wrong})
    for host, loopback in [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("gpu", False)]:
        assert is_loopback(host) == loopback
        if not loopback:
            with pytest.raises(CommandError, match="lets other machines move the arm"):
                serve.read_token(serve.ServeConfig(host=host), {})


def test_a_random_checkpoint_overwrites_nothing(run, checkpoint, tmp_path):
    before = {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()}
    status, _, complaint = run(init, "--output", checkpoint)
    assert status == 1 and "is not empty" in complaint
    assert {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()} == before
    (tmp_path / "file").write_text("mine")
    status, _, complaint = run(init, "--output", tmp_path / "file")
    assert status == 1 and "is a file" in complaint and (tmp_path / "file").read_text() == "mine"
