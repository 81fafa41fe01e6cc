"""Files for the nodes are read by the rules of ROS parameter files."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_common.settings.ros_yaml import plain_scalar
from magma_common.settings.yaml_files import parse_yaml

parameter_yaml = pytest.importorskip("rclpy_dds.parameter_yaml", reason="rclpy_dds is not installed here")


def test_numbers_without_a_point_texts_with_colons_and_names_that_look_like_values():
    text = "jerk: [1e3, 2E-1]\nserial: '123E5'\nport: 12:30\nday: 2020-01-01\nid: 1_000\n"
    text += "axes: {x: 1, y: 2, on: 3}\ninvert: y"
    assert parse_yaml(text) == {
        "jerk": [1000.0, 0.2],
        "serial": "123E5",
        "port": "12:30",
        "day": "2020-01-01",
        "id": "1_000",
        "axes": {"x": 1, "y": 2, "on": 3},
        "invert": True,
    }


pieces = st.text(st.sampled_from(list("0123456789xXeEabf+-._:nNyYoOiIfF~=")), min_size=1, max_size=8)


@given(pieces | st.floats().map(str) | st.integers().map(str) | st.integers().map(hex) | st.integers().map(oct))
def test_nodes_and_files_read_a_scalar_alike(text):
    try:
        read = parameter_yaml.load(text)
    except ValueError:
        return
    if isinstance(read, (bool, int, float, str)) and not (isinstance(read, str) and read != text):
        mine = plain_scalar(text)
        both_nan = isinstance(read, float) and isinstance(mine, float) and math.isnan(read) and math.isnan(mine)
        assert both_nan or (mine == read and type(mine) is type(read))
