"""Interface texts, where definitions come from, and type hashes."""

from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from rclpy_dds.interfaces.definition import Constant, DefinitionError, Field, FieldType, parse_message, split_parts
from rclpy_dds.interfaces.message import message_class
from rclpy_dds.interfaces.store import definition, names, packages
from rclpy_dds.interfaces.type_hash import type_hash

TEXT = """
# A comment
uint8 HOLD=0
uint8 STOP = 3   # with a comment
string WORDS="a # b"
float64 RATIO=1.5e-1
byte MARK=7
std_msgs/Header header
Other[] others
string<=10 short_name "x"
int32[3] three [1, 2, 3]
float32[<=5] few
string<=4[<=2] names ["a", 'b']
bool flag true
Header again
"""


def test_message_text() -> None:
    parsed = parse_message(TEXT, "my_pkg/msg/Thing")
    assert parsed.constants == (
        Constant("HOLD", "uint8", 0),
        Constant("STOP", "uint8", 3),
        Constant("WORDS", "string", "a # b"),
        Constant("RATIO", "float64", 0.15),
        Constant("MARK", "byte", b"\x07"),
    )
    assert parsed.fields == (
        Field("header", FieldType("std_msgs/msg/Header")),
        Field("others", FieldType("my_pkg/msg/Other", "sequence")),
        Field("short_name", FieldType("string", string_bound=10), "x"),
        Field("three", FieldType("int32", "array", 3), (1, 2, 3)),
        Field("few", FieldType("float32", "sequence", 5)),
        Field("names", FieldType("string", "sequence", 2, 4), ("a", "b")),
        Field("flag", FieldType("bool"), True),
        Field("again", FieldType("std_msgs/msg/Header")),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("uint8", "expected"),
        ("uint8 Value", "field name"),
        ("uint8 value 300", "does not fit"),
        ("uint8[2] value [1]", "1 elements instead of 2"),
        ("uint8 a\nuint8 a", "two fields"),
        ("Other X=3", "constant cannot be"),
        ("int32<=3 bounded", "only strings"),
        ("Other value 3", "default"),
        ("float64 X=nonsense", "not a value"),
    ],
)
def test_errors_name_type_and_line(text: str, says: str) -> None:
    with pytest.raises(DefinitionError, match=says) as caught:
        parse_message(text, "my_pkg/msg/Thing")
    assert "my_pkg/msg/Thing" in str(caught.value)


def test_empty_message_has_a_member_on_the_wire() -> None:
    assert [field.name for field in parse_message("", "a/msg/B").fields] == ["structure_needs_at_least_one_member"]


def test_service_needs_one_separator() -> None:
    assert split_parts("int8 a\n---\nint8 b\n", 2, "a/srv/B") == ["int8 a\n", "\nint8 b\n"]
    with pytest.raises(DefinitionError, match="separator"):
        split_parts("int8 a\n", 2, "a/srv/B")


def test_unknown_type_says_where_it_was_looked_for() -> None:
    with pytest.raises(DefinitionError, match="share folders"):
        definition("no_such_pkg/msg/Thing")


def test_share_folders_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "share" / "my_test_pkg"
    (folder / "msg").mkdir(parents=True)
    (folder / "srv").mkdir()
    (folder / "action").mkdir()
    (folder / "msg" / "Mode.msg").write_text("uint8 HOLD=0\nuint8 RUN=1\nuint8 mode 1\nstring[] words ['a', 'b']\n")
    (folder / "srv" / "Reset.srv").write_text("uint32 LIMIT=9\nMode mode\n---\nbool ok true\n")
    (folder / "action" / "Do.action").write_text("string what\n---\nint32 steps\n---\nfloat32 part\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    from my_test_pkg.action import Do
    from my_test_pkg.msg import Mode
    from my_test_pkg.srv import Reset

    assert (Mode.HOLD, Mode.RUN, Mode().mode, Mode().words) == (0, 1, 1, ["a", "b"])
    assert Reset.Request().mode == Mode() and Reset.Request.LIMIT == 9 and Reset.Response().ok is True
    assert Do.Goal(what="x").what == "x" and Do.Result().steps == 0 and Do.Feedback().part == 0.0
    request = Do.Impl.SendGoalService.Request()
    assert request.goal == Do.Goal() and len(request.goal_id.uuid) == 16
    assert Mode is message_class("my_test_pkg/msg/Mode")
    assert names("my_test_pkg", "msg") == ["Mode"] and "my_test_pkg" in packages()


def test_known_hashes() -> None:
    """Values as stock ROS 2 Jazzy prints them with ``ros2 topic info --verbose``."""
    assert type_hash("std_msgs/msg/String") == (
        "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
    )


def test_hashes_agree_with_rosbags_except_for_char() -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    differing = {name for name in store.fielddefs if store.hash_rihs01(name) != type_hash(name)}
    # rosbags hashes char as a type of its own, ROS as uint8.
    assert differing == {
        "rmw_dds_common/msg/Gid",
        "rmw_dds_common/msg/NodeEntitiesInfo",
        "rmw_dds_common/msg/ParticipantEntitiesInfo",
        "service_msgs/msg/ServiceEventInfo",
        "std_msgs/msg/Char",
    }


def test_parser_agrees_with_rosbags() -> None:
    text = "std_msgs/Header header\nfloat64[9] matrix\nstring[] names\nuint8[<=7] few\nstring<=3 short_name\n"
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(text, "other_pkg/msg/Mixed"))
    from rclpy_dds.interfaces.store import _convert

    expected = [(name, _convert(description)) for name, description in store.fielddefs["other_pkg/msg/Mixed"][1]]
    assert [(field.name, field.type) for field in parse_message(text, "other_pkg/msg/Mixed").fields] == expected
