"""What a robot says about who can command it."""

import pytest

from magma_common.network import unauthenticated_reach

ENFORCED = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "localhost", "ROS_DISTRO": "jazzy"},
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF", "ROS_STATIC_PEERS": "10.0.0.2"},
        {"ROS_LOCALHOST_ONLY": "1", "ROS_DISTRO": "humble"},
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", **ENFORCED},
    ],
)
def test_nothing_is_said_where_strangers_cannot_come_in(environment):
    assert unauthenticated_reach(environment) is None


@pytest.mark.parametrize(
    ("environment", "whom"),
    [
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, "every machine in this network"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT"}, "every machine in this network"),
        ({"ROS_DISTRO": "jazzy"}, "every machine in this network"),
        ({"ROS_DISTRO": "jazzy", "ROS_LOCALHOST_ONLY": "0"}, "every machine in this network"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_STATIC_PEERS": "10.0.0.2"}, "the machines 10.0.0.2"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "ROS_SECURITY_ENABLE": "true"}, "every machine"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", **ENFORCED, "ROS_SECURITY_STRATEGY": "Permissive"}, "every"),
    ],
)
def test_a_graph_that_others_reach_says_that_nobody_is_authenticated(environment, whom):
    said = unauthenticated_reach(environment)
    assert whom in said and "nobody is authenticated" in said
