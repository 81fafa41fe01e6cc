"""Graphs that must not notice each other."""

from __future__ import annotations

import pytest

from magma_bringup.launching.domain import FREE_DOMAINS, check_alone, domain_id, free_domain
from magma_contracts.errors import ConfigError


def test_two_demos_at_once_get_domains_of_their_own():
    with free_domain() as first, free_domain() as second:
        assert first != second and {first, second} <= set(FREE_DOMAINS)


def test_a_node_that_is_there_already_is_named(ros_domain, peer):
    check_alone(["controller"])
    with pytest.raises(ConfigError, match=f"test_peer run in ROS domain {ros_domain} already"):
        check_alone(["controller", "test_peer"])
    check_alone(["test_peer"], "/left")


def test_the_same_node_in_another_namespace_is_another_node(ros_domain, start_node, wait):
    start_node("magma_control.controller_node", {}, "-r", "__ns:=/left").wait_for_output("active: holding")
    check_alone(["controller"])
    check_alone(["controller"], "/right")
    with pytest.raises(ConfigError, match="left/controller run in ROS domain"):
        check_alone(["controller"], "/left")


@pytest.mark.parametrize("text", ["abc", "-1", "233", "1.5", "0x3"])
def test_a_domain_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv("ROS_DOMAIN_ID", text)
    with pytest.raises(ConfigError, match="whole number from 0 to 232"):
        domain_id()
