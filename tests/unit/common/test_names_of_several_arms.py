"""What tells two arms in one graph apart."""

from __future__ import annotations

import pytest

from magma_common.diagnostics import name_in
from magma_common.transforms.frames import FRAME_PREFIX_OF_NAMESPACE, frame_prefix


@pytest.mark.parametrize(
    ("setting", "namespace", "prefix"),
    [
        (FRAME_PREFIX_OF_NAMESPACE, "/", ""),
        (FRAME_PREFIX_OF_NAMESPACE, "/left", "left/"),
        (FRAME_PREFIX_OF_NAMESPACE, "/cell/left", "cell/left/"),
        ("", "/left", ""),
        ("arm1_", "/left", "arm1_"),
    ],
)
def test_prefixes_of_frames(setting, namespace, prefix):
    assert frame_prefix(setting, namespace) == prefix


@pytest.mark.parametrize(
    ("namespace", "status", "name"),
    [
        ("/", "controller", "controller"),
        ("/", "/controller", "controller"),
        ("/", "left/controller", None),
        ("/", "usb_cam: 30/s wanted", "usb_cam: 30/s wanted"),
        ("/left", "left/controller", "controller"),
        ("/left", "/left/usb_cam: frames/s", "usb_cam: frames/s"),
        ("/left", "controller", None),
        ("/left", "left_2/controller", None),
        ("/left", "left/below/controller", None),
        ("/cell/left", "cell/left/policy", "policy"),
        ("/cell/left", "left/policy", None),
    ],
)
def test_whose_status_it_is(namespace, status, name):
    assert name_in(namespace, status) == name
