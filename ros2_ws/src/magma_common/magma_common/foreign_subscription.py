"""Subscriptions to topics that others publish, whose quality of service and sizes are theirs to choose.

DDS matches a subscription with a publisher only if it asks for no more than that offers: one that asks for reliable
transport hears no best-effort publisher, and one that asks for what was said earlier hears nobody who keeps nothing.
Asking for nothing hears everybody, but loses what was latched. So what is asked for follows what is offered.
https://docs.ros.org/en/jazzy/Concepts/Intermediate/About-Quality-of-Service-Settings.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from magma_contracts.text import printable

LOOK_PERIOD_S = 0.2
"""How often it is looked whether others publish than before."""
_LOOKS_AT_LEAST = 10
"""One that replaces another does not change their number, so every tenth look asks who they are."""
_REMEMBERED = 64
LOG_PERIOD_S = 5.0
"""What is refused is logged no more often."""


@dataclass(frozen=True, order=True)
class Offer:
    """What a publisher offers, as far as matching depends on it here."""

    reliable: bool
    latched: bool


ANYTHING = Offer(False, False)
"""Who asks for this hears every publisher from the start, but with losses, and nothing that was latched."""


def wanted(offers: Iterable[Offer], best: Offer) -> set[Offer]:
    """What to ask for, so that each publisher is heard as well as it offers, but never better than `best`: one
    subscription for each member."""
    return {Offer(offer.reliable and best.reliable, offer.latched and best.latched) for offer in offers}


def offer_of(profile: QoSProfile) -> Offer:
    """The part of a profile that matching depends on."""
    return Offer(
        profile.reliability == ReliabilityPolicy.RELIABLE, profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    )


def _profile(offer: Offer, depth: int) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if offer.reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if offer.latched else DurabilityPolicy.VOLATILE,
    )


class ForeignSubscription:
    """Hears every publisher of a topic, whatever it offers, also those that come later or change.

    A message that comes twice, because two subscriptions hear its publisher, is passed on once. Too large ones, and
    bytes that are no message of the type, are refused before anything is made of them.
    """

    def __init__(
        self,
        node: Node,
        kind: Any,
        topic: str,
        callback: Callable[..., object],
        profile: QoSProfile,
        *,
        best: QoSProfile | None = None,
        always: Iterable[Offer] = (),
        most_bytes: int | None = None,
        convert: Callable[[Any], Any] | None = None,
        on_refused: Callable[[str], None] | None = None,
        raw: bool = False,
        with_info: bool = False,
    ) -> None:
        """
        Args:
            node: whose executor calls back.
            kind: message class.
            callback: gets each message (its bytes if `raw`), and the message's info if `with_info`.
            profile: what to ask for until it is known what is offered; its depth counts always.
            best: the most to ask for; None = what `profile` asks for.
            always: ask for these for ever, beside what is offered; a message may then come more than once.
            most_bytes: of a serialised message; None = any number.
            convert: makes what is passed on out of the message; a message that it raises at is refused.
            on_refused: told, in one sentence, why a message was not passed on; None = the log is, now and then.
        """
        self._node = node
        self._kind = kind
        self._topic = topic
        self._resolved = node.resolve_topic_name(topic)
        self._callback = callback
        self._depth = profile.depth
        self._best = offer_of(best if best is not None else profile)
        self._always = frozenset(always)
        self._most_bytes = most_bytes
        self._convert = convert
        self._on_refused = on_refused if on_refused is not None else self._log_refusal
        self._raw = raw
        self._with_info = with_info
        self._recent: dict[tuple[int, int], None] = {}
        self._subscriptions: dict[Offer, Any] = {}
        self.unheard: tuple[str, ...] = ()
        """publishers that cannot be heard: who, and why"""
        self._ask_for(set(self._always) or {offer_of(profile)})
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._looks, self._publishers = 0, 0
        self._timer = node.create_timer(LOOK_PERIOD_S, self._look, clock=steady)

    def _look(self) -> None:
        # Counting is cheap, asking who they are is not.
        publishers = self._node.count_publishers(self._resolved)
        self._looks += 1
        if publishers != self._publishers or self._looks % _LOOKS_AT_LEAST == 0:
            self._publishers = publishers
            self._follow()

    def _follow(self) -> None:
        """Sees who publishes now and asks for what they offer."""
        offers, unheard = [], []
        type_name = _type_name(self._kind)
        for info in self._node.get_publishers_info_by_topic(self._topic):
            if info.topic_type != type_name:
                name = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
                unheard.append(f"{name} publishes {info.topic_type} on {self._resolved}, not {type_name}")
            else:
                offers.append(offer_of(info.qos_profile))
        self.unheard = tuple(sorted(unheard))
        if offers:
            self._ask_for(wanted(offers, self._best) | self._always)

    def close(self) -> None:
        """Hears no more."""
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _ask_for(self, offers: set[Offer]) -> None:
        # The new ones first: nothing that comes meanwhile is missed.
        for offer in sorted(offers - self._subscriptions.keys()):
            self._subscriptions[offer] = self._node.create_subscription(
                self._kind,
                self._topic,
                self._take,
                _profile(offer, self._depth),
                raw=self._raw or self._most_bytes is not None,
                # No warning about who is not heard in this way: the next look asks for what is offered.
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            )
        for offer in self._subscriptions.keys() - offers:
            self._node.destroy_subscription(self._subscriptions.pop(offer))

    def _take(self, message: Any, info: Any) -> None:
        try:
            if self._most_bytes is not None and len(message) > self._most_bytes:
                raise _TooLargeError(f"has {len(message)} bytes, at most {self._most_bytes} are taken")
            if self._came_already(message, info["source_timestamp"]):
                return
            if self._most_bytes is not None and not self._raw:
                message = deserialize_message(message, self._kind)
            if self._convert is not None:
                message = self._convert(message)
        except Exception as error:  # the bytes come from anybody
            why = str(error) if isinstance(error, _TooLargeError) else f"cannot be read: {error}"
            self._on_refused(f"a message on {self._resolved} {why}")
            return
        if self._with_info:
            self._callback(message, info)
        else:
            self._callback(message)

    def _log_refusal(self, why: str) -> None:
        self._node.get_logger().warning(printable(f"not heard: {why}"), throttle_duration_sec=LOG_PERIOD_S)

    def _came_already(self, message: Any, sent_ns: int) -> bool:
        """Whether another subscription brought it before; the time of sending and the content tell."""
        if self._always or not sent_ns:
            return False
        key = sent_ns, hash(message) if isinstance(message, bytes) else 0
        if key in self._recent:
            return True
        self._recent[key] = None
        if len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]
        return False


class _TooLargeError(ValueError):
    """Why a message is refused unread."""


def _type_name(kind: Any) -> str:
    package, middle = kind.__module__.split(".")[0], kind.__module__.split(".")[1]
    return f"{package}/{middle}/{kind.__name__}"
