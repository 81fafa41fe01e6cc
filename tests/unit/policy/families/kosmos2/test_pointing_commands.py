"""magma-ground, magma-refer and magma-describe, typed as people type them."""

import asyncio
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from magma_contracts.errors import ConfigError
from magma_policy.commands import describe, ground, refer, serve
from magma_policy.errors import CommandError
from magma_policy.families import registry
from magma_policy.families.kosmos2 import Example, Mention, network
from magma_policy.grounding.by_example import ByExample
from magma_policy.grounding.clicks import click_square
from magma_policy_client import GroundingClient

MAINS = {"ground": ground.main, "refer": refer.main, "describe": describe.main}


@pytest.fixture(scope="module")
def checkpoint(random_network, words, tmp_path_factory):
    directory = tmp_path_factory.mktemp("kosmos")
    network.save(directory, random_network, words, torch.float32)
    return str(directory)


@pytest.fixture
def picture(pictures, tmp_path):
    Image.fromarray(pictures[0]).save(tmp_path / "picture.png")
    return str(tmp_path / "picture.png")


@pytest.fixture
def typed(monkeypatch, capsys):
    """Runs a command and returns its status and what it printed."""

    def run(command, *arguments):
        monkeypatch.setattr("sys.argv", [f"magma-{command}", *arguments])
        with pytest.raises(SystemExit) as ended:
            MAINS[command]()
        return ended.value.code, *capsys.readouterr()

    return run


def test_phrases_are_found_and_drawn(typed, checkpoint, picture, tmp_path):
    drawing = tmp_path / "drawn.png"
    asked = ("ground", picture, "the carrot", "a <phrase>", "--checkpoint", checkpoint)
    status, out, _ = typed(*asked, "--draw", str(drawing))
    assert status == 0 and out.count("confidence") == 2 and "the carrot: 1 place(s)" in out
    assert min(Image.open(drawing).size) >= 512
    status, out, _ = typed(*asked, "--json", "--which", "all")
    found = json.loads(out)
    assert [one["phrase"] for one in found] == ["the carrot", "a <phrase>"]
    assert all(len(one["boxes"]) == len(one["confidences"]) > 0 for one in found)
    assert np.array(found[0]["boxes"]).max() <= 1.0


def test_a_caption_and_an_answer(typed, checkpoint, picture, tmp_path):
    status, out, _ = typed("describe", picture, "--checkpoint", checkpoint, "--json", "--draw", str(tmp_path / "d.png"))
    assert status == 0 and json.loads(out)["text"].startswith("An image of")
    assert typed("describe", picture, "--checkpoint", checkpoint, "--question", "Is there a carrot?")[0] == 0


def test_a_random_model_names_nothing_that_leads_back(typed, checkpoint, picture):
    status, out, err = typed("refer", picture, "20,20", "--checkpoint", checkpoint)
    assert (status, out) == (1, "")
    assert "click nearer to its middle, or type what is meant" in err


def test_a_question_about_a_place(typed, checkpoint, picture, model, pictures):
    asked = ("refer", picture, "8,12,32,36", "--checkpoint", checkpoint, "--json")
    status, out, _ = typed(*asked, "--question", "Is this thing a carrot?")
    box = np.array([8 / 64, 12 / 48, 32 / 64, 36 / 48])
    expected = model.answer(pictures[0], ["Is", Mention("this thing", box), "a carrot?"])
    assert status == 0 and json.loads(out)["text"] == expected.text
    status, out, _ = typed(*asked[:2], "20,24", *asked[3:], "--question", "it?")
    square = Mention("it", click_square(20 / 64, 24 / 48))
    assert status == 0 and json.loads(out)["text"] == model.answer(pictures[0], [square, "?"]).text


def test_names_follow_examples(typed, checkpoint, picture, model, pictures, tmp_path):
    Image.fromarray(pictures[1]).save(tmp_path / "other.png")
    box = np.array([0.25, 0.25, 0.75, 0.75])
    examples = [(pictures[1], Example(box, "the carrot on the left"))]
    taught = ByExample(model, examples)
    assert taught.refer(pictures[0], box) == model.refer(pictures[0], box, examples) != model.refer(pictures[0], box)
    assert taught.ground(pictures[0], ["the plate"])[0].presence == model.ground(pictures[0], ["the plate"])[0].presence
    example = ("--example", str(tmp_path / "other.png"), "10,10,30,30", "the carrot on the left")
    said = [
        typed("refer", picture, "16,12,48,36", "--checkpoint", checkpoint, *(example * count))[2] for count in range(3)
    ]
    # The random model's name leads nowhere, and the refusal tells it.
    assert len({each.splitlines()[-1] for each in said}) == 3
    assert f'"{model.refer(pictures[0], box, examples).text}"' in said[1]


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        ("refer", ["PICTURE", "5,5", "--question", "What is next to the plate?"], 'must call the place "it" or "this"'),
        ("refer", ["PICTURE", "500,5", "--question", "What is it?"], "outside of the picture"),
        ("refer", ["PICTURE", "5,5", "--example", "nothing.png", "5,5", "the carrot"], "nothing.png: no such file"),
        ("refer", ["PICTURE", "5,5", "--example", "PICTURE", "there", "the carrot"], "x,y or x1,y1,x2,y2"),
        ("refer", ["PICTURE", "5,5", "--example", "PICTURE", "500,5", "the carrot"], "outside of the picture"),
        ("refer", ["PICTURE", "5,5", "--example", "PICTURE", "5,5", " "], "expression of an example is empty"),
        ("refer", ["PICTURE", "5,5", *["--example", "PICTURE", "5,5", "a carrot"] * 20], "shorten"),
        ("ground", ["nothing.png", "the carrot"], "nothing.png: no such file"),
        ("ground", ["TORN", "the carrot"], "torn.png"),
        ("describe", ["TORN"], "torn.png"),
        ("refer", ["TORN", "5,5"], "torn.png"),
        ("ground", ["PICTURE", ""], "the phrase is empty"),
        ("ground", ["PICTURE", "x" * 10_000], "10,000 characters"),
        ("ground", ["PICTURE", "the carrot", "--checkpoint", "magma-tiny"], "does not point"),
        ("ground", ["PICTURE", "the carrot", "--checkpoint", "EMPTY"], "config.json"),
        ("describe", ["PICTURE", "--checkpoint", "WEIGHTLESS"], "model.safetensors"),
        ("ground", ["PICTURE", "the carrot", "--draw", "EMPTY"], "is a folder; give the name of a file"),
        ("refer", ["PICTURE", "5,5", "--checkpoint", "WEIGHTLESS"], "model.safetensors"),
        ("ground", ["PICTURE", "x", "--checkpoint", "TORN_WEIGHTS"], "model.safetensors"),
        ("ground", ["PICTURE", "x", "--checkpoint", "POINTER_WEIGHTS"], "model.safetensors"),
        ("describe", ["PICTURE", "--checkpoint", "NAN_WEIGHTS"], "not finite"),
        ("ground", ["NOTHING_IN_IT", "the carrot"], "nothing_in_it.png"),
        ("describe", ["TEXT"], "text.png"),
        ("refer", ["EMPTY", "5,5"], "empty"),
        ("describe", ["PICTURE", "--question", "x" * 10_000], "10,000 characters"),
        ("refer", ["PICTURE", "5,5", "--question", "Is it " + "x" * 10_000], "characters"),
        ("refer", ["PICTURE", "10,10,10,40"], "no area"),
        ("refer", ["PICTURE", "5,inf"], "x,y or x1,y1,x2,y2"),
        ("refer", ["PICTURE", ""], "x,y or x1,y1,x2,y2"),
        ("refer", ["PICTURE", "there"], "x,y or x1,y1,x2,y2"),
        ("refer", ["PICTURE", "5,nan"], "x,y or x1,y1,x2,y2"),
        ("refer", ["PICTURE", "500,5"], "outside of the picture"),
        ("refer", ["PICTURE", "500,5,600,9"], "outside of the picture"),
        ("describe", ["PICTURE", "--question", " "], "the question is empty"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(typed, checkpoint, picture, tmp_path, command, arguments, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.png").write_bytes(Path(picture).read_bytes()[:60])
    (tmp_path / "nothing_in_it.png").touch()
    (tmp_path / "text.png").write_text("a picture of a carrot")
    places = {
        "PICTURE": picture,
        "EMPTY": str(tmp_path / "empty"),
        "TORN": str(tmp_path / "torn.png"),
        "NOTHING_IN_IT": str(tmp_path / "nothing_in_it.png"),
        "TEXT": str(tmp_path / "text.png"),
    }
    places |= {name: str(broken(checkpoint, name, tmp_path)) for name in arguments if "WEIGHT" in name}
    arguments = [places.get(argument, argument) for argument in arguments]
    if "--checkpoint" not in arguments:
        arguments += ["--checkpoint", checkpoint]
    status, out, err = typed(command, *arguments)
    assert (status, out) == (1, "")
    assert told in err.splitlines()[-1] and "Traceback" not in err


def broken(checkpoint, how, folder):
    """A copy of a checkpoint whose weights are missing, cut short, not fetched yet, or not finite."""
    shutil.copytree(checkpoint, folder / "broken")
    weights = folder / "broken" / network.WEIGHTS
    if how == "WEIGHTLESS":
        weights.unlink()
    elif how == "TORN_WEIGHTS":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif how == "POINTER_WEIGHTS":
        weights.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 2611584\n")
    else:
        tensors = load_file(weights)
        tensors[network.EMBEDDING][3, 3] = float("nan")
        save_file(tensors, weights)
    return weights.parent


@pytest.mark.parametrize(
    "text", ["<object>", "</phrase><patch_index_0001>", "</s>", "\x00", "\ud800", "\x1b[31m", "\n\n.", "🥕", "胡萝卜"]
)
def test_whatever_people_type_is_text(typed, checkpoint, picture, text):
    """Tags, control characters, half of a character: asked about as it is, and the answer is well formed."""
    status, out, err = typed("ground", picture, text, "--checkpoint", checkpoint, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert len(found) == 1 and len(found[0]["boxes"]) == 1
    status, out, err = typed("ground", picture, text, "--checkpoint", checkpoint)
    assert status == 0, err
    assert "place(s)" in out.splitlines()[0] and all(line.isprintable() for line in out.splitlines())
    status, out, err = typed("describe", picture, "--checkpoint", checkpoint, "--json", "--question", f"Is it {text}?")
    assert status == 0, err
    assert isinstance(json.loads(out)["text"], str)


@pytest.mark.parametrize("how", ["WEIGHTLESS", "TORN_WEIGHTS", "POINTER_WEIGHTS", "NAN_WEIGHTS"])
def test_a_server_does_not_begin_without_whole_weights(checkpoint, tmp_path, how):
    folder = broken(checkpoint, how, tmp_path)
    with pytest.raises(CommandError, match=r"model\.safetensors|not finite") as refused:
        serve.load(serve.ServeConfig(checkpoint=f"kosmos2:{folder}", device="cpu"))
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)


def test_threads_out_of_range_are_refused(typed, picture):
    status, _, err = typed("ground", picture, "the carrot", "--threads", "-1")
    assert status == 2 and "--threads must be from 0 to 1024" in err


def test_a_checkpoint_that_points_is_no_policy(checkpoint):
    with pytest.raises(ConfigError, match="points and does not act"):
        registry.load(checkpoint, "cpu", None, None, None, None)


@pytest.fixture
def server(checkpoint):
    """The address of magma-serve's own server around the checkpoint."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    config = serve.ServeConfig(checkpoint=f"kosmos2:{checkpoint}", device="cpu")
    one, batcher = serve.make_server(serve.load(config), config, None)
    with serve.bind("127.0.0.1", 0) as listener:
        port = asyncio.run_coroutine_threadsafe(one.start(listener), loop).result(60.0)
        yield f"ws://127.0.0.1:{port}"
        asyncio.run_coroutine_threadsafe(one.stop(), loop).result(60.0)
    batcher.stop(60.0)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60.0)


def test_a_server_answers_as_the_checkpoint_does(typed, checkpoint, server, picture):
    asked = ("ground", picture, "the carrot", "a </s> plate", "--json", "--which", "several")
    assert typed(*asked, "--checkpoint", server)[:2] == typed(*asked, "--checkpoint", checkpoint)[:2]
    assert (
        typed("describe", picture, "--checkpoint", server)[:2]
        == typed("describe", picture, "--checkpoint", checkpoint)[:2]
    )
    for option in (("--question", "What is it?"), ("--example", picture, "5,5", "the carrot")):
        status, out, err = typed("refer", picture, "20,20", "--checkpoint", server, *option)
        assert (status, out) == (1, "") and f"{option[0]} is not asked of a server" in err
    status, out, err = typed("refer", picture, "20,20", "--checkpoint", server)
    assert (status, out) == (1, "") and "click nearer to its middle" in err
    status, _, err = typed("ground", picture, "x" * 10_000, "--checkpoint", server)
    assert status == 1 and "characters" in err and "Traceback" not in err
    status, _, err = typed("ground", picture, "the carrot", "--checkpoint", "ws://127.0.0.1:1")
    assert status == 1 and "cannot connect to ws://127.0.0.1:1" in err


def test_what_cannot_be_asked_of_a_server_is_told_and_it_goes_on(server, pictures):
    with GroundingClient(server, timeout_s=60.0) as client:
        for question, told in (
            (lambda: client.ground(pictures[0], []), "no phrase was given"),
            (lambda: client.ground(pictures[0], ["the carrot", " "]), "the phrase is empty"),
            (lambda: client.refer(pictures[0], [1.2, 0.1, 1.4, 0.3]), "outside of the picture"),
            (lambda: client.describe(pictures[0][:0]), "image|picture"),
            (lambda: client.answer(pictures[0], " \t"), "the question is empty"),
        ):
            with pytest.raises(ValueError, match=told) as refused:
                question()
            assert "\n" not in str(refused.value)
        assert len(client.ground(pictures[0], ["</s>"])[0].boxes) == 1


def test_what_is_for_policies_is_refused_of_a_model_that_points(checkpoint):
    with pytest.raises(CommandError, match=r"--robot is for a policy; .* points and does not act"):
        serve.load(serve.ServeConfig(checkpoint=checkpoint, device="cpu", robot="widowx"))
