"""Quality of service."""

import warnings
from enum import Enum, IntEnum
from typing import Any, NamedTuple

from rclpy_dds._dds.libddsc import INFINITY
from rclpy_dds._dds.qos import EndpointPolicies

from .duration import Duration, Infinite

QOS_UNSPECIFIED = Duration()


class InvalidQoSProfileException(Exception):
    """A profile is incomplete or contradicts itself."""

    def __init__(self, *args: Any) -> None:
        super().__init__("Invalid QoSProfile", *args)


class QoSPolicyKind(IntEnum):
    """Policies that may be in conflict (rmw_qos_policy_kind_t)."""

    INVALID = 1 << 0
    DURABILITY = 1 << 1
    DEADLINE = 1 << 2
    LIVELINESS = 1 << 3
    RELIABILITY = 1 << 4
    HISTORY = 1 << 5
    LIFESPAN = 1 << 6
    DEPTH = 1 << 7
    LIVELINESS_LEASE_DURATION = 1 << 8
    AVOID_ROS_NAMESPACE_CONVENTIONS = 1 << 9


def qos_policy_name_from_kind(policy_kind: QoSPolicyKind | int) -> str:
    """Return the name of a policy."""
    return QoSPolicyKind(policy_kind).name


class QoSPolicyEnum(IntEnum):
    """Base of policy enumerations: members also have a short, lower-case key for command lines."""

    @classmethod
    def short_keys(cls) -> list[str]:
        """Return the short keys of all members."""
        return [member.short_key for member in cls if member.name != "UNKNOWN"]

    @classmethod
    def get_from_short_key(cls, name: str) -> int:
        """Return the value of a member by its short key."""
        return cls[name.upper()].value

    @property
    def short_key(self) -> str:
        """Lower-case name."""
        return self.name.lower()


class HistoryPolicy(QoSPolicyEnum):
    """How many samples are kept."""

    SYSTEM_DEFAULT = 0
    KEEP_LAST = 1
    KEEP_ALL = 2
    UNKNOWN = 3
    # Former names.
    RMW_QOS_POLICY_HISTORY_SYSTEM_DEFAULT = SYSTEM_DEFAULT
    RMW_QOS_POLICY_HISTORY_KEEP_LAST = KEEP_LAST
    RMW_QOS_POLICY_HISTORY_KEEP_ALL = KEEP_ALL
    RMW_QOS_POLICY_HISTORY_UNKNOWN = UNKNOWN


class ReliabilityPolicy(QoSPolicyEnum):
    """Whether lost samples are sent again."""

    SYSTEM_DEFAULT = 0
    RELIABLE = 1
    BEST_EFFORT = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4
    # Former names.
    RMW_QOS_POLICY_RELIABILITY_SYSTEM_DEFAULT = SYSTEM_DEFAULT
    RMW_QOS_POLICY_RELIABILITY_RELIABLE = RELIABLE
    RMW_QOS_POLICY_RELIABILITY_BEST_EFFORT = BEST_EFFORT
    RMW_QOS_POLICY_RELIABILITY_UNKNOWN = UNKNOWN


class DurabilityPolicy(QoSPolicyEnum):
    """Whether subscriptions that come later get earlier samples."""

    SYSTEM_DEFAULT = 0
    TRANSIENT_LOCAL = 1
    VOLATILE = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4
    # Former names.
    RMW_QOS_POLICY_DURABILITY_SYSTEM_DEFAULT = SYSTEM_DEFAULT
    RMW_QOS_POLICY_DURABILITY_TRANSIENT_LOCAL = TRANSIENT_LOCAL
    RMW_QOS_POLICY_DURABILITY_VOLATILE = VOLATILE
    RMW_QOS_POLICY_DURABILITY_UNKNOWN = UNKNOWN


class LivelinessPolicy(QoSPolicyEnum):
    """How a publisher shows that it is alive."""

    SYSTEM_DEFAULT = 0
    AUTOMATIC = 1
    MANUAL_BY_TOPIC = 3
    UNKNOWN = 4
    BEST_AVAILABLE = 5
    # Former names, the last one as rclpy has it.
    RMW_QOS_POLICY_LIVELINESS_SYSTEM_DEFAULT = SYSTEM_DEFAULT
    RMW_QOS_POLICY_LIVELINESS_AUTOMATIC = AUTOMATIC
    RMW_QOS_POLICY_LIVELINESS_MANUAL_BY_TOPIC = MANUAL_BY_TOPIC
    RMW_QOS_POLICY_DURABILITY_UNKNOWN = UNKNOWN


QoSHistoryPolicy = HistoryPolicy
QoSReliabilityPolicy = ReliabilityPolicy
QoSDurabilityPolicy = DurabilityPolicy
QoSLivelinessPolicy = LivelinessPolicy

_BEST_AVAILABLE_DURATION = Duration(nanoseconds=9223372036854775806)
DeadlineBestAvailable = _BEST_AVAILABLE_DURATION
LivelinessLeaseDurationeBestAvailable = _BEST_AVAILABLE_DURATION  # the spelling of rclpy


class QoSProfile:
    """Quality of service of a publisher, subscription, service or client.

    Keyword arguments: ``history``, ``depth``, ``reliability``, ``durability``, ``lifespan``, ``deadline``,
    ``liveliness``, ``liveliness_lease_duration``, ``avoid_ros_namespace_conventions``. At least ``history`` or
    ``depth`` is needed.

    Raises:
        InvalidQoSProfileException: neither history nor depth is given, or keep-last without a depth.
    """

    __slots__ = (
        "_avoid_ros_namespace_conventions",
        "_deadline",
        "_depth",
        "_durability",
        "_history",
        "_lifespan",
        "_liveliness",
        "_liveliness_lease_duration",
        "_reliability",
    )

    def __init__(self, **kwargs: Any) -> None:
        unknown = [name for name in kwargs if "_" + name not in self.__slots__]
        if unknown:
            raise AssertionError("Invalid arguments passed to constructor: " + ", ".join(sorted(unknown)))
        if "history" not in kwargs:
            if "depth" not in kwargs:
                raise InvalidQoSProfileException("History and/or depth settings are required.")
            kwargs["history"] = HistoryPolicy.KEEP_LAST
        self.history = kwargs["history"]
        if self.history is HistoryPolicy.KEEP_LAST and "depth" not in kwargs:
            raise InvalidQoSProfileException("History set to KEEP_LAST without a depth setting.")
        self.depth = kwargs.get("depth", 0)
        self.reliability = kwargs.get("reliability", ReliabilityPolicy.RELIABLE)
        self.durability = kwargs.get("durability", DurabilityPolicy.VOLATILE)
        self.lifespan = kwargs.get("lifespan", QOS_UNSPECIFIED)
        self.deadline = kwargs.get("deadline", QOS_UNSPECIFIED)
        self.liveliness = kwargs.get("liveliness", LivelinessPolicy.SYSTEM_DEFAULT)
        self.liveliness_lease_duration = kwargs.get("liveliness_lease_duration", QOS_UNSPECIFIED)
        self.avoid_ros_namespace_conventions = kwargs.get("avoid_ros_namespace_conventions", False)

    @property
    def history(self) -> HistoryPolicy:
        """History policy."""
        return self._history

    @history.setter
    def history(self, value: HistoryPolicy) -> None:
        self._history = HistoryPolicy(value)

    @property
    def reliability(self) -> ReliabilityPolicy:
        """Reliability policy."""
        return self._reliability

    @reliability.setter
    def reliability(self, value: ReliabilityPolicy) -> None:
        self._reliability = ReliabilityPolicy(value)

    @property
    def durability(self) -> DurabilityPolicy:
        """Durability policy."""
        return self._durability

    @durability.setter
    def durability(self, value: DurabilityPolicy) -> None:
        self._durability = DurabilityPolicy(value)

    @property
    def liveliness(self) -> LivelinessPolicy:
        """Liveliness policy."""
        return self._liveliness

    @liveliness.setter
    def liveliness(self, value: LivelinessPolicy) -> None:
        self._liveliness = LivelinessPolicy(value)

    @property
    def depth(self) -> int:
        """Number of samples kept with keep-last."""
        return self._depth

    @depth.setter
    def depth(self, value: int) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise AssertionError(f"The depth must be an integer, not {value!r}")
        if value < 0:
            raise ValueError("history depth must be greater than or equal to zero")
        if self._history is HistoryPolicy.KEEP_LAST and value == 0:
            warnings.warn(
                "A zero depth with KEEP_LAST doesn't make sense; no data could be stored. "
                "This will be interpreted as SYSTEM_DEFAULT",
                stacklevel=3,
            )
        self._depth = value

    @property
    def lifespan(self) -> Duration:
        """Age from which on a sample is no longer delivered."""
        return self._lifespan

    @lifespan.setter
    def lifespan(self, value: Duration) -> None:
        self._lifespan = _duration("lifespan", value)

    @property
    def deadline(self) -> Duration:
        """Longest time between two samples."""
        return self._deadline

    @deadline.setter
    def deadline(self, value: Duration) -> None:
        self._deadline = _duration("deadline", value)

    @property
    def liveliness_lease_duration(self) -> Duration:
        """Time after which a publisher that does not show its liveliness counts as gone."""
        return self._liveliness_lease_duration

    @liveliness_lease_duration.setter
    def liveliness_lease_duration(self, value: Duration) -> None:
        self._liveliness_lease_duration = _duration("liveliness_lease_duration", value)

    @property
    def avoid_ros_namespace_conventions(self) -> bool:
        """Whether topic names go to DDS without the ROS prefix."""
        return self._avoid_ros_namespace_conventions

    @avoid_ros_namespace_conventions.setter
    def avoid_ros_namespace_conventions(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise AssertionError(f"avoid_ros_namespace_conventions must be a bool, not {value!r}")
        self._avoid_ros_namespace_conventions = value

    def get_c_qos_profile(self) -> "QoSProfile":
        """Return the profile itself: there is no separate C object here."""
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QoSProfile):
            return False
        return all(getattr(self, slot) == getattr(other, slot) for slot in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        values = ", ".join(f"{slot[1:]}={getattr(self, slot)!s}" for slot in self.__slots__)
        return f"{type(self).__name__}({values})"

    def copy(self) -> "QoSProfile":
        """Return an independent copy."""
        duplicate = QoSProfile.__new__(QoSProfile)
        for slot in self.__slots__:
            setattr(duplicate, slot, getattr(self, slot))
        return duplicate

    __copy__ = copy

    def __deepcopy__(self, memo: dict) -> "QoSProfile":
        return self.copy()


def _duration(name: str, value: Duration) -> Duration:
    if not isinstance(value, Duration):
        raise AssertionError(f"The {name} must be a rclpy.duration.Duration, not {value!r}")
    if value.nanoseconds < 0:
        raise ValueError(f"The {name} must not be negative, it is {value.nanoseconds} ns")
    return value


def endpoint_policies(profile: QoSProfile) -> EndpointPolicies:
    """Return the DDS policies of a profile, with system defaults filled in."""

    def unset_is_infinite(value: Duration) -> int:
        return INFINITY if value.nanoseconds in (0, _BEST_AVAILABLE_DURATION.nanoseconds) else value.nanoseconds

    reliability = profile.reliability
    if reliability not in (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT):
        reliability = ReliabilityPolicy.RELIABLE
    durability = profile.durability
    if durability is DurabilityPolicy.BEST_AVAILABLE:
        durability = DurabilityPolicy.TRANSIENT_LOCAL
    elif durability is not DurabilityPolicy.TRANSIENT_LOCAL:
        durability = DurabilityPolicy.VOLATILE
    keep_all = profile.history is HistoryPolicy.KEEP_ALL
    manual = profile.liveliness is LivelinessPolicy.MANUAL_BY_TOPIC
    return EndpointPolicies(
        reliability=int(reliability),
        durability=int(durability),
        history=int(HistoryPolicy.KEEP_ALL if keep_all else HistoryPolicy.KEEP_LAST),
        depth=profile.depth or 1,
        deadline_ns=unset_is_infinite(profile.deadline),
        lifespan_ns=unset_is_infinite(profile.lifespan),
        liveliness=int(LivelinessPolicy.MANUAL_BY_TOPIC if manual else LivelinessPolicy.AUTOMATIC),
        liveliness_lease_ns=unset_is_infinite(profile.liveliness_lease_duration),
    )


def profile_of_endpoint(policies: EndpointPolicies) -> QoSProfile:
    """Return the profile of a discovered endpoint."""

    def duration(nanoseconds: int) -> Duration:
        return Infinite if nanoseconds >= INFINITY else Duration(nanoseconds=nanoseconds)

    history = HistoryPolicy(policies.history) if policies.history else HistoryPolicy.UNKNOWN
    profile = QoSProfile(history=HistoryPolicy.UNKNOWN, depth=policies.depth)
    profile.history = history
    profile.reliability = ReliabilityPolicy(policies.reliability)
    profile.durability = DurabilityPolicy(policies.durability)
    profile.deadline = duration(policies.deadline_ns)
    profile.lifespan = duration(policies.lifespan_ns)
    profile.liveliness = LivelinessPolicy(policies.liveliness)
    profile.liveliness_lease_duration = duration(policies.liveliness_lease_ns)
    return profile


qos_profile_unknown = QoSProfile(
    history=HistoryPolicy.UNKNOWN,
    depth=0,
    reliability=ReliabilityPolicy.UNKNOWN,
    durability=DurabilityPolicy.UNKNOWN,
    liveliness=LivelinessPolicy.UNKNOWN,
)
qos_profile_default = QoSProfile(depth=10)
qos_profile_system_default = QoSProfile(
    history=HistoryPolicy.SYSTEM_DEFAULT,
    depth=0,
    reliability=ReliabilityPolicy.SYSTEM_DEFAULT,
    durability=DurabilityPolicy.SYSTEM_DEFAULT,
)
qos_profile_sensor_data = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
qos_profile_services_default = QoSProfile(depth=10)
qos_profile_parameters = QoSProfile(depth=1000)
qos_profile_parameter_events = QoSProfile(depth=1000)
qos_profile_rosout_default = QoSProfile(
    depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL, lifespan=Duration(seconds=10)
)
qos_profile_action_status_default = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
qos_profile_best_available = QoSProfile(
    depth=10,
    reliability=ReliabilityPolicy.BEST_AVAILABLE,
    durability=DurabilityPolicy.BEST_AVAILABLE,
    liveliness=LivelinessPolicy.BEST_AVAILABLE,
    deadline=_BEST_AVAILABLE_DURATION,
    liveliness_lease_duration=_BEST_AVAILABLE_DURATION,
)


class QoSPresetProfiles(Enum):
    """The standard profiles by name."""

    UNKNOWN = qos_profile_unknown
    DEFAULT = qos_profile_default
    SYSTEM_DEFAULT = qos_profile_system_default
    SENSOR_DATA = qos_profile_sensor_data
    SERVICES_DEFAULT = qos_profile_services_default
    PARAMETERS = qos_profile_parameters
    PARAMETER_EVENTS = qos_profile_parameter_events
    ACTION_STATUS_DEFAULT = qos_profile_action_status_default
    BEST_AVAILABLE = qos_profile_best_available

    @classmethod
    def short_keys(cls) -> list[str]:
        """Return the short keys of all profiles."""
        return [member.name.lower() for member in cls]

    @classmethod
    def get_from_short_key(cls, name: str) -> QoSProfile:
        """Return a profile by its short key: a copy, which may be changed."""
        return cls[name.upper()].value.copy()


class QoSCompatibility(IntEnum):
    """Whether two profiles match."""

    OK = 0
    WARNING = 1
    ERROR = 2


class QoSCompatibilityResult(NamedTuple):
    """Whether two profiles match, and why not."""

    compatibility: QoSCompatibility
    reason: str


def qos_check_compatible(publisher_qos: QoSProfile, subscription_qos: QoSProfile) -> tuple[QoSCompatibility, str]:
    """Tell whether a publisher's and a subscription's profile match, with the reasons when they do not."""
    errors = incompatibilities(endpoint_policies(publisher_qos), endpoint_policies(subscription_qos))
    return QoSCompatibilityResult(QoSCompatibility.ERROR if errors else QoSCompatibility.OK, "".join(errors))


def incompatibilities(offered: EndpointPolicies, requested: EndpointPolicies) -> list[str]:
    """Return why a publisher and a subscription do not match; an empty list when they do."""
    errors = []
    if offered.reliability == ReliabilityPolicy.BEST_EFFORT and requested.reliability == ReliabilityPolicy.RELIABLE:
        errors.append("ERROR: Best effort publisher and reliable subscription;")
    if offered.durability == DurabilityPolicy.VOLATILE and requested.durability == DurabilityPolicy.TRANSIENT_LOCAL:
        errors.append("ERROR: Volatile publisher and transient local subscription;")
    if offered.deadline_ns > requested.deadline_ns:
        errors.append("ERROR: Subscription expects a deadline that the publisher does not offer;")
    if offered.liveliness < requested.liveliness:
        errors.append("ERROR: Publisher's liveliness is automatic and subscription's is manual by topic;")
    if offered.liveliness_lease_ns > requested.liveliness_lease_ns:
        errors.append("ERROR: Subscription's liveliness lease is shorter than the publisher's;")
    return errors
