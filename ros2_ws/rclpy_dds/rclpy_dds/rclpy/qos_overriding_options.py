"""Quality of service that can be set by parameters when a node starts.

Parameters are named ``qos_overrides.<topic>.<publisher or subscription>[_<id>].<policy>`` and are read-only.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rclpy_dds.interfaces import message_class

from .duration import Duration
from .exceptions import ParameterAlreadyDeclaredException
from .qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSPolicyEnum,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)

if TYPE_CHECKING:
    from .node import Node

_ENUMERATIONS: dict[str, type[QoSPolicyEnum]] = {
    "history": HistoryPolicy,
    "reliability": ReliabilityPolicy,
    "durability": DurabilityPolicy,
    "liveliness": LivelinessPolicy,
}


class InvalidQosOverridesError(Exception):
    """The callback refused a profile."""


class QoSOverridingOptions:
    """Which policies of a publisher or subscription become parameters."""

    def __init__(
        self,
        policy_kinds: Iterable[QoSPolicyKind],
        *,
        callback: Callable[[QoSProfile], Any] | None = None,
        entity_id: str | None = None,
    ) -> None:
        """
        Args:
            policy_kinds: policies.
            callback: gets the profile with its overrides and returns a ``SetParametersResult``.
            entity_id: tells several publishers or subscriptions of one topic apart.
        """
        self._policy_kinds = tuple(policy_kinds)
        self._callback = callback
        self._entity_id = entity_id

    @property
    def policy_kinds(self) -> Iterable[QoSPolicyKind]:
        """Policies."""
        return self._policy_kinds

    @property
    def callback(self) -> Callable[[QoSProfile], Any] | None:
        """Function that checks the profile."""
        return self._callback

    @property
    def entity_id(self) -> str | None:
        """What is added to the parameters' names."""
        return self._entity_id

    @classmethod
    def with_default_policies(
        cls, *, callback: Callable[[QoSProfile], Any] | None = None, entity_id: str | None = None
    ) -> "QoSOverridingOptions":
        """Return options for history, depth and reliability."""
        kinds = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY)
        return cls(kinds, callback=callback, entity_id=entity_id)


def overridden(
    node: "Node", topic: str, profile: QoSProfile, options: QoSOverridingOptions | None, *, publishes: bool
) -> QoSProfile:
    """Declare the parameters of a publisher or subscription; return its profile with what they say.

    Raises:
        RuntimeError: a parameter names a policy that does not exist.
        InvalidQosOverridesError: the callback refused the profile.
    """
    if options is None:
        return profile
    kind = "publisher" if publishes else "subscription"
    suffix = "" if options.entity_id is None else f"_{options.entity_id}"
    result = profile.copy()
    for policy in options.policy_kinds:
        if policy is QoSPolicyKind.LIFESPAN and not publishes:
            continue  # only publishers have one
        name = policy.name.lower()
        descriptor = message_class("rcl_interfaces/msg/ParameterDescriptor")(
            description=f"{name} for {kind} `{topic}` with id `{options.entity_id}`", read_only=True
        )
        full = f"qos_overrides.{topic}.{kind}{suffix}.{name}"
        try:
            parameter = node.declare_parameter(full, _to_parameter(getattr(result, name)), descriptor)
        except ParameterAlreadyDeclaredException:
            parameter = node.get_parameter(full)
        setattr(result, name, _from_parameter(name, parameter.value))
    if options.callback is not None:
        answer = options.callback(result)
        if not answer.successful:
            raise InvalidQosOverridesError(
                f"Provided QoS overrides for {kind} `{topic}` with id `{options.entity_id}`, are not valid: "
                f"{answer.reason}"
            )
    return result


def _to_parameter(value: Any) -> Any:
    if isinstance(value, QoSPolicyEnum):
        return value.short_key
    return value.nanoseconds if isinstance(value, Duration) else value


def _from_parameter(name: str, value: Any) -> Any:
    if name in _ENUMERATIONS:
        try:
            return _ENUMERATIONS[name][value.upper()]
        except KeyError:
            known = ", ".join(_ENUMERATIONS[name].short_keys())
            raise RuntimeError(f"Unexpected QoS override for policy `{name}`: `{value}`; known: {known}") from None
    if name in ("lifespan", "deadline", "liveliness_lease_duration"):
        return Duration(nanoseconds=value)
    return value
