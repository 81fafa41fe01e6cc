"""What is written on a screen of pixels: Tesseract's table, and whose words they are."""

from __future__ import annotations

import shutil
import stat
import sys
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from magma_policy.errors import CommandError, ScreenError
from magma_policy.screens.candidates import Candidate
from magma_policy.screens.pixels import pixel_candidates
from magma_policy.screens.reading import Line, Reader, read_table, with_words

HEAD = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext"


def table(*words):
    """(left, top, width, height, confidence, text, line) each."""
    rows = [
        f"5\t1\t1\t1\t{line}\t1\t{left}\t{top}\t{width}\t{height}\t{sure}\t{text}"
        for left, top, width, height, sure, text, line in words
    ]
    return "\n".join([HEAD, "1\t1\t0\t0\t0\t0\t0\t0\t600\t400\t-1\t", *rows]) + "\n"


def test_words_that_stand_together_are_a_line_and_others_of_the_row_are_not():
    read = read_table(
        table((20, 10, 40, 20, 96.5, "Save", 1), (70, 12, 30, 18, 90, "as", 1), (200, 10, 60, 20, 95, "Cancel", 1)), 2.0
    )
    assert read == [Line((10.0, 5.0, 50.0, 15.0), "Save as"), Line((100.0, 5.0, 130.0, 15.0), "Cancel")]


def test_what_it_is_not_sure_of_and_blanks_are_left_out():
    assert read_table(table((0, 0, 9, 9, 12, "|", 1), (0, 0, 9, 9, 95, " ", 2), (5, 5, 9, 9, 95, '"x', 3))) == [
        Line((5.0, 5.0, 14.0, 14.0), '"x')
    ]


@pytest.mark.parametrize("text", ["level\n5\n", table(("a", 0, 9, 9, 95, "x", 1)), table((0, 0, 9, 9, "?", "x", 1))])
def test_another_table_is_a_sentence(text):
    with pytest.raises(ScreenError, match="tesseract's table cannot be read"):
        read_table(text)


@given(st.text(max_size=200))
def test_any_text_is_lines_or_a_sentence(text):
    with suppress(ScreenError):
        read_table(f"{HEAD}\n{text}")


BUTTON = Candidate((100, 100, 220, 140))
LABEL = Line((130.0, 112.0, 190.0, 128.0), "Send")


def test_a_button_is_called_what_is_written_in_it_and_the_outline_of_the_writing_goes():
    writing = Candidate((129, 111, 191, 129))
    assert with_words([BUTTON, writing], [LABEL]) == [Candidate(BUTTON.box, name="Send")]


def test_of_nested_things_the_smallest_is_named_and_a_ground_never():
    ground = Candidate((0, 0, 600, 400))
    row = Candidate((80, 95, 400, 150))
    assert with_words([ground, row, BUTTON], [LABEL]) == [ground, row, Candidate(BUTTON.box, name="Send")]


def test_a_frames_inner_outline_is_the_frame():
    inner = Candidate((104, 103, 216, 137))
    assert with_words([inner, BUTTON], [LABEL]) == [Candidate(BUTTON.box, name="Send")]


def test_a_box_to_tick_is_called_what_stands_right_of_it():
    box, far = Candidate((100, 110, 118, 128)), Candidate((20, 110, 38, 128))
    assert with_words([far, box], [LABEL]) == [far, Candidate(box.box, name="Send")]
    below = Candidate((100, 140, 118, 158))
    assert with_words([below], [LABEL]) == [below, Candidate(LABEL.box, name="Send")]


def test_a_line_that_belongs_to_nothing_is_a_candidate_and_a_speck_is_none():
    assert with_words([], [LABEL, Line((5.0, 5.0, 6.0, 6.0), ".")]) == [Candidate(LABEL.box, name="Send")]


def test_a_program_that_is_missing_fails_or_hangs_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="apt-get install tesseract-ocr"):
        Reader()
    program = tmp_path / "tesseract"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('Error opening data file')\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    image = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(ScreenError, match=r"exit status 1.*Error opening data file"):
        Reader().lines(image)
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    monkeypatch.setattr("magma_policy.screens.reading.TIMEOUT_S", 0.2)
    with pytest.raises(ScreenError, match="did not read"):
        Reader().lines(image)


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is not installed")
def test_a_drawn_dialogue_is_read():
    picture = Image.new("RGB", (400, 200), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=18)
    draw.rectangle((40, 120, 160, 160), outline="black", fill=(225, 225, 225))
    draw.text((70, 130), "Submit", fill="black", font=font)
    draw.rectangle((40, 42, 56, 58), outline="black")
    draw.text((66, 40), "Remember me", fill="black", font=font)
    draw.text((40, 80), "Terms and conditions", fill="black", font=font)
    found = Reader().after(pixel_candidates)(np.asarray(picture))
    named = {item.name: item.box for item in found if item.name}
    assert {"Submit", "Remember me", "Terms and conditions"} <= set(named)
    assert named["Submit"][0] < 45 and named["Submit"][2] > 155, "the button, not its writing"
    assert named["Remember me"][0] < 45, "with the box to tick, not the label alone"
