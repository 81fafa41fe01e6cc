"""What this controller published is told from what others publish, also from what they repeat."""

from __future__ import annotations

from magma_control.runtime.own_words import OwnWords


def test_each_word_is_its_own_as_often_as_it_was_said():
    words = OwnWords()
    words.say("step")
    words.say("step")  # two steps of one chunk may be equal
    assert words.come("step") and words.come("step")
    assert not words.come("step"), "somebody repeats it"
    assert not words.come("never said")


def test_a_topic_that_repeats_itself_to_latecomers_is_no_other_speaker():
    words = OwnWords()
    words.say("state")
    assert words.are("state") and words.are("state") and not words.are("other")


def test_what_nobody_hears_does_not_fill_the_memory():
    words = OwnWords()
    for number in range(10_000):
        words.say(number)
    assert words.come(9_999) and not words.come(0)
