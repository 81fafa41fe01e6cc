"""Generated classes follow the conventions of rclpy."""

from __future__ import annotations

import array
import copy
import pickle

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Point, PoseStamped, Quaternion, Vector3
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float32, Header, String, UInt8
from std_srvs.srv import SetBool, Trigger


def test_defaults() -> None:
    assert String().data == "" and Header().stamp == Time() and Quaternion().w == 1.0
    info = CameraInfo()
    assert isinstance(info.k, np.ndarray) and info.k.dtype == np.float64 and info.k.shape == (9,)
    assert isinstance(Image().data, array.array) and len(Image().data) == 0
    assert isinstance(JointState().position, array.array) and JointState().name == []
    assert DiagnosticStatus().level == b"\x00"


def test_constants() -> None:
    assert DiagnosticStatus.ERROR == b"\x02" and DiagnosticStatus().OK == b"\x00"


def test_arguments_are_checked() -> None:
    assert String(data="x").data == "x"
    with pytest.raises(AssertionError, match="nonsense"):
        String(nonsense=1)
    with pytest.raises(TypeError):
        String("x")


@pytest.mark.parametrize(
    ("cls", "field", "value"),
    [
        (String, "data", 3),
        (UInt8, "data", 256),
        (UInt8, "data", -1),
        (UInt8, "data", 1.0),
        (Float32, "data", 1),
        (Float32, "data", 1e39),
        (Vector3, "x", "1"),
        (Header, "stamp", Header()),
        (PoseStamped, "header", None),
        (Image, "data", "text"),
        (Image, "data", [1, 2, 300]),
        (Image, "data", np.zeros(3, np.float32)),
        (Image, "data", np.zeros((3, 3), np.uint8)),
        (JointState, "name", "text"),
        (JointState, "name", [1]),
        (JointState, "position", [1.0, "2"]),
        (JointState, "position", array.array("f", [1.0])),
        (CameraInfo, "k", [1.0] * 8),
        (CameraInfo, "k", np.zeros(9, np.float32)),
        (DiagnosticStatus, "level", 0),
        (DiagnosticStatus, "values", [String()]),
    ],
)
def test_wrong_values_are_refused(cls: type, field: str, value: object) -> None:
    with pytest.raises(AssertionError, match=field):
        setattr(cls(), field, value)


@pytest.mark.parametrize("convert", [bytes, bytearray, memoryview, lambda raw: np.frombuffer(raw, np.uint8), list])
@pytest.mark.parametrize("size", [6, 100_000])
def test_bytes_like_values_for_uint8(convert: object, size: int) -> None:
    raw = bytes(index % 256 for index in range(size))
    image = Image(data=convert(raw))  # type: ignore[operator]
    assert len(image.data) == size
    assert np.array_equal(np.frombuffer(image.data, dtype=np.uint8), np.frombuffer(raw, np.uint8))
    assert image.data.tobytes() == raw


def test_arrays_and_lists() -> None:
    joint = JointState(name=["a"], position=[1.0, 2.0])
    joint.name.append("b")
    joint.position.append(3.0)
    assert joint.name == ["a", "b"] and joint.position.tolist() == [1.0, 2.0, 3.0]
    info = CameraInfo(k=[float(number) for number in range(9)])
    info.k[0] = 7.0
    assert info.k.tolist()[:2] == [7.0, 1.0]
    assert Image(data=np.zeros(12, np.uint8)[::2]).data.flags.c_contiguous


def test_equality_and_repr() -> None:
    assert Point(x=1.0) == Point(x=1.0) != Point(x=2.0)
    assert Image(data=np.zeros(3, np.uint8)) == Image(data=[0, 0, 0]) != Image(data=[0, 0])
    assert Point() != Vector3()
    assert repr(Point(x=1.0)) == "geometry_msgs.msg.Point(x=1.0, y=0.0, z=0.0)"
    with pytest.raises(TypeError):
        hash(Point())


def test_fields_and_types() -> None:
    assert Image.get_fields_and_field_types() == {
        "header": "std_msgs/Header",
        "height": "uint32",
        "width": "uint32",
        "encoding": "string",
        "is_bigendian": "uint8",
        "step": "uint32",
        "data": "sequence<uint8>",
    }
    assert CameraInfo.get_fields_and_field_types()["k"] == "double[9]"


def test_copies() -> None:
    image = Image(data=[1, 2], encoding="mono8")
    for duplicate in (copy.deepcopy(image), pickle.loads(pickle.dumps(image))):  # noqa: S301 (our own bytes)
        assert duplicate == image and duplicate.data is not image.data


def test_services_are_containers() -> None:
    assert SetBool.Request(data=True).data is True
    assert Trigger.Response(success=True, message="x").message == "x"
    assert Trigger.Request.get_fields_and_field_types() == {}
    with pytest.raises(NotImplementedError):
        Trigger()


def test_modules() -> None:
    import std_msgs.msg

    assert std_msgs.msg.String is String
    assert "Header" in dir(std_msgs.msg)
    with pytest.raises(ImportError):
        from std_msgs.msg import NoSuchMessage  # noqa: F401


def test_star_import() -> None:
    names: dict[str, object] = {}
    exec("from std_srvs.srv import *", names)
    assert names["Trigger"] is Trigger and "Empty" in names
