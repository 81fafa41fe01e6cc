"""What a folder was begun with, beside what is asked for now."""

from magma_policy.files.stored_settings import differences


def test_only_what_differs_is_told_and_in_one_short_line():
    mine = {"seed": 1, "steps": 10, "name": "a"}
    assert differences(dict(mine), mine) == "" == differences({**mine, "of another version": 3}, mine)
    assert differences({"seed": 2, "name": "a"}, mine) == "seed is 2 there, 1 here; steps is None there, 10 here"
    hostile = {"seed": "\x1b[2J" + "x" * 10**6, "steps": [[0] * 10**5]}
    told = differences(hostile, mine)
    assert told.isprintable() and len(told) < 500
    many = {f"s{number}": number for number in range(100)}
    assert differences({}, many).endswith("and 94 more")
