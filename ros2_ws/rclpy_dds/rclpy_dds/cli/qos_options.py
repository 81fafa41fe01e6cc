"""The --qos-… options of `ros2 topic`."""

from __future__ import annotations

import argparse
from typing import Any

from ..rclpy.duration import Duration
from ..rclpy.qos import (
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSLivelinessPolicy,
    QoSPresetProfiles,
    QoSProfile,
    QoSReliabilityPolicy,
)

_OPTIONS = (
    "qos_depth",
    "qos_history",
    "qos_reliability",
    "qos_durability",
    "qos_liveliness",
    "qos_liveliness_lease_duration_seconds",
)


def add_qos_arguments(parser: argparse.ArgumentParser, purpose: str, default_profile: str) -> None:
    """Add the options; `purpose` is "subscribe" or "publish"."""

    def override(what: str) -> str:
        return f"Quality of service {what} setting to {purpose} with (overrides {what} value of --qos-profile option)"

    parser.add_argument(
        "--qos-profile",
        choices=QoSPresetProfiles.short_keys(),
        default=default_profile,
        help=f"Quality of service preset profile to {purpose} with (default: {default_profile})",
    )
    parser.add_argument("--qos-depth", metavar="N", type=int, help=override("depth"))
    parser.add_argument("--qos-history", choices=QoSHistoryPolicy.short_keys(), help=override("history"))
    parser.add_argument("--qos-reliability", choices=QoSReliabilityPolicy.short_keys(), help=override("reliability"))
    parser.add_argument("--qos-durability", choices=QoSDurabilityPolicy.short_keys(), help=override("durability"))
    parser.add_argument("--qos-liveliness", choices=QoSLivelinessPolicy.short_keys(), help=override("liveliness"))
    parser.add_argument(
        "--qos-liveliness-lease-duration-seconds", type=float, help=override("liveliness lease duration")
    )


def profile_from_arguments(args: argparse.Namespace) -> QoSProfile:
    """Return the preset with the given overrides. Raises ValueError for values that QoS does not allow."""
    profile = QoSPresetProfiles.get_from_short_key(args.qos_profile)
    if args.qos_history:
        profile.history = QoSHistoryPolicy(QoSHistoryPolicy.get_from_short_key(args.qos_history))
    if args.qos_reliability:
        profile.reliability = QoSReliabilityPolicy(QoSReliabilityPolicy.get_from_short_key(args.qos_reliability))
    if args.qos_durability:
        profile.durability = QoSDurabilityPolicy(QoSDurabilityPolicy.get_from_short_key(args.qos_durability))
    if args.qos_liveliness:
        profile.liveliness = QoSLivelinessPolicy(QoSLivelinessPolicy.get_from_short_key(args.qos_liveliness))
    if args.qos_liveliness_lease_duration_seconds is not None:
        profile.liveliness_lease_duration = Duration(seconds=args.qos_liveliness_lease_duration_seconds)
    if args.qos_depth is not None:
        if args.qos_depth < 0:
            raise ValueError(f"--qos-depth must not be negative, got {args.qos_depth}")
        profile.depth = args.qos_depth
    elif profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL and profile.depth == 0:
        profile.depth = 1
    return profile


def profile_for_subscriptions(args: argparse.Namespace, subscriptions: list[Any]) -> QoSProfile:
    """Return the QoS to publish with: as given, otherwise what every subscription of the topic can hear.

    `subscriptions` are TopicEndpointInfo. A publisher that keeps its last message is heard by all of them, one that
    does not only by those that do not ask for it.
    """
    profile = profile_from_arguments(args)
    if all(getattr(args, option) is None for option in _OPTIONS):
        for policy, demanding in (
            ("reliability", QoSReliabilityPolicy.RELIABLE),
            ("durability", QoSDurabilityPolicy.TRANSIENT_LOCAL),
        ):
            if any(getattr(info.qos_profile, policy) == demanding for info in subscriptions):
                setattr(profile, policy, demanding)
    return profile


def profile_for_publishers(args: argparse.Namespace, publishers: list[Any]) -> QoSProfile:
    """Return the QoS to subscribe with: as given, otherwise what fits every publisher of the topic.

    `publishers` are TopicEndpointInfo. Reliable or transient local only if all publishers are.
    """
    profile = profile_from_arguments(args)
    if any(getattr(args, option) is not None for option in _OPTIONS) or not publishers:
        return profile
    offered = [info.qos_profile for info in publishers]
    for policy, demanding, modest in (
        ("reliability", QoSReliabilityPolicy.RELIABLE, QoSReliabilityPolicy.BEST_EFFORT),
        ("durability", QoSDurabilityPolicy.TRANSIENT_LOCAL, QoSDurabilityPolicy.VOLATILE),
    ):
        demands = [getattr(qos, policy) == demanding for qos in offered]
        if any(demands) and not all(demands):
            print(
                f"Some, but not all, publishers are offering QoS{policy.capitalize()}Policy.{demanding.name}. Falling "
                f"back to QoS{policy.capitalize()}Policy.{modest.name} as it will connect to all publishers"
            )
        setattr(profile, policy, demanding if all(demands) else modest)
    return profile
