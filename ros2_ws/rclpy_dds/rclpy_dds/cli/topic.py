"""`ros2 topic`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .. import rclpy
from ..rclpy.duration import Duration
from ..rclpy.expand_topic_name import expand_topic_name
from ..rclpy.qos import qos_profile_sensor_data
from ..rclpy.task import Future
from .graph import (
    DISCOVERY_TIMEOUT_S,
    add_graph_arguments,
    joined_graph,
    nonnegative_int,
    positive_float,
    positive_int,
    print_names,
    unknown_name,
    visible,
    wait_until,
)
from .messages import (
    get_interface,
    is_message,
    message_to_dict,
    parse_yaml_fields,
    set_message_fields,
    to_csv,
    to_yaml,
)
from .qos_options import add_qos_arguments, profile_for_publishers, profile_for_subscriptions, profile_from_arguments
from .verbs import Verb, add_verbs, run_verb

_DEFAULT_TRUNCATE_LENGTH = 128
_REPORT_PERIOD_S = 1.0
_ACKNOWLEDGE_TIMEOUT_S = 2.0
_DISCOVERY_S = 1.0


def _hidden_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--include-hidden-topics", action="store_true", help="Consider hidden topics as well")


def _count_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--count-topics", action="store_true", help="Only display the number of topics discovered"
    )


def _full_name(node: Any, topic: str) -> str:
    return expand_topic_name(topic, node.get_name(), node.get_namespace())


def _types_of(node: Any, topic: str, timeout_s: float) -> list[str]:
    """Return the types of a topic as soon as it is discovered; none after the timeout."""
    full_name = _full_name(node, topic)
    return wait_until(lambda: dict(node.get_topic_names_and_types()).get(full_name), timeout_s) or []


def _unknown(node: Any, topic: str) -> str:
    return unknown_name("topic", topic, [name for name, _ in visible(node.get_topic_names_and_types(), False)])


def _class_of(types: list[str], topic: str) -> Any:
    if len(types) > 1:
        raise RuntimeError(f"Cannot echo topic '{topic}', as it contains more than one type: [{', '.join(types)}]")
    return get_interface(types[0], "msg")


# list, type, find, info


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("-t", "--show-types", action="store_true", help="Additionally show the topic type")
    _count_argument(parser)
    _hidden_argument(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="List full details about each topic")


def _list(args: argparse.Namespace) -> None:
    with joined_graph(args) as node:
        topics = visible(node.get_topic_names_and_types(), args.include_hidden_topics)
        if args.verbose and not args.count_topics:
            _print_verbose(node, topics)
            return
    if args.count_topics:
        print(len(topics))
        return
    for name, types in topics:
        print(f"{name} [{', '.join(types)}]" if args.show_types else name)


def _print_verbose(node: Any, topics: list[tuple[str, list[str]]]) -> None:
    for title, noun, count_of in (
        ("Published", "publisher", node.count_publishers),
        ("Subscribed", "subscriber", node.count_subscribers),
    ):
        print(f"{title} topics:")
        for name, types in topics:
            count = count_of(name)
            if count:
                print(f" * {name} [{', '.join(types)}] {count} {noun}{'s' if count > 1 else ''}")
        print()


def _topic_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("topic_name", help="Name of the ROS topic (e.g. '/chatter')")
    _hidden_argument(parser)


def _type(args: argparse.Namespace) -> str | None:
    with joined_graph(args, wait=False) as node:
        types = _types_of(node, args.topic_name, args.spin_time + DISCOVERY_TIMEOUT_S)
        if not types:
            return _unknown(node, args.topic_name)
    for kind in types:
        print(kind)
    return None


def _find_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("topic_type", help="Name of the ROS topic type to filter for (e.g. 'std_msg/msg/String')")
    _count_argument(parser)
    _hidden_argument(parser)


def _find(args: argparse.Namespace) -> None:
    with joined_graph(args) as node:
        topics = visible(node.get_topic_names_and_types(), args.include_hidden_topics)
    names = [name for name, types in topics if args.topic_type in types]
    print_names(names, args.count_topics)


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("topic_name", help="Name of the ROS topic to get info (e.g. '/chatter')")
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="Prints detailed information like the node name, node namespace, topic type, topic type hash, GUID, and "
        "QoS Profile of the publishers and subscribers to this topic",
    )


def _info(args: argparse.Namespace) -> str | None:
    with joined_graph(args) as node:
        types = _types_of(node, args.topic_name, DISCOVERY_TIMEOUT_S)
        if not types:
            return _unknown(node, args.topic_name)
        end = "\n\n" if args.verbose else "\n"
        name = _full_name(node, args.topic_name)
        print(f"Type: {types[0] if len(types) == 1 else types}", end=end)
        print(f"Publisher count: {node.count_publishers(name)}", end=end)
        if args.verbose:
            for info in node.get_publishers_info_by_topic(name):
                print(info, end=end)
        print(f"Subscription count: {node.count_subscribers(name)}", end=end)
        if args.verbose:
            for info in node.get_subscriptions_info_by_topic(name):
                print(info, end=end)
    return None


# echo


def _echo_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("topic_name", help="Name of the ROS topic to listen to (e.g. '/chatter')")
    parser.add_argument("message_type", nargs="?", help="Type of the ROS message (e.g. 'std_msgs/msg/String')")
    add_qos_arguments(parser, "subscribe", "sensor_data")
    parser.add_argument(
        "--csv", action="store_true", help="Output all recursive fields separated by commas (e.g. for plotting)."
    )
    parser.add_argument(
        "--field",
        help="Echo a selected field of a message. Use '.' to select sub-fields. For example, to echo the position "
        "field of a nav_msgs/msg/Odometry message: 'ros2 topic echo /odom --field pose.pose.position'",
    )
    parser.add_argument(
        "--full-length",
        "-f",
        action="store_true",
        help="Output all elements for arrays, bytes, and string with a length > '--truncate-length', by default they "
        "are truncated after '--truncate-length' elements with '...'",
    )
    parser.add_argument(
        "--truncate-length",
        "-l",
        type=nonnegative_int,
        default=_DEFAULT_TRUNCATE_LENGTH,
        help=f"The length to truncate arrays, bytes, and string to (default: {_DEFAULT_TRUNCATE_LENGTH})",
    )
    parser.add_argument("--no-arr", action="store_true", help="Don't print array fields of messages")
    parser.add_argument("--no-str", action="store_true", help="Don't print string fields of messages")
    parser.add_argument(
        "--flow-style",
        action="store_true",
        help="Print collections in the block style (not available with csv format)",
    )
    parser.add_argument("--raw", action="store_true", help="Echo the raw binary representation")
    parser.add_argument(
        "--filter",
        dest="filter_expr",
        metavar="EXPR",
        help="Python expression to filter messages that are printed. Expression can use Python builtins as well as m "
        "(the message).",
    )
    parser.add_argument("--once", action="store_true", help="Print the first message received and then exit.")
    parser.add_argument("--timeout", metavar="N", type=positive_float, help="Set a timeout in seconds for waiting")
    parser.add_argument("--no-lost-messages", action="store_true", help="Don't report when a message is lost")
    parser.add_argument("--include-message-info", "-i", action="store_true", help="Shows the associated message info.")
    _hidden_argument(parser)


def _filter(expression: str | None) -> Callable[[Any], Any]:
    if not expression:
        return lambda message: True
    code = compile(expression, "<filter>", "eval")
    # The expression is the user's own, typed into their own shell.
    return lambda message: eval(code, {"m": message})  # noqa: S307


def _echo(args: argparse.Namespace) -> int | str | None:
    accepted = _filter(args.filter_expr)
    fields = [part for part in (args.field or "").split(".") if part]
    if args.field is not None and not fields:
        return f"Invalid field value '{args.field}'"
    with joined_graph(args, wait=False) as node:
        if args.message_type is None:
            types = _types_of(node, args.topic_name, args.spin_time + DISCOVERY_TIMEOUT_S)
            if not types:
                print(f"WARNING: topic [{args.topic_name}] does not appear to be published yet")
                return f"Could not determine the type for the passed topic: {_unknown(node, args.topic_name)}"
            message_class = _class_of(types, args.topic_name)
        else:
            message_class = get_interface(args.message_type, "msg")
        name = _full_name(node, args.topic_name)
        # QoS is chosen by what publishers offer, so all of them should have been discovered.
        publishers = wait_until(lambda: node.get_publishers_info_by_topic(name), args.spin_time)
        if publishers:
            time.sleep(min(args.spin_time, 0.1))
        profile = profile_for_publishers(args, node.get_publishers_info_by_topic(name))
        done = Future()

        def received(message: Any, info: Any = None) -> None:
            if done.done():
                return
            value = message
            try:
                for field in fields:
                    value = getattr(value, field)
            except AttributeError as error:
                done.set_exception(RuntimeError(f"Invalid field '{args.field}': {error}"))
                return
            if not accepted(value):
                return
            _print_message(value, info, args)
            if args.once:
                done.set_result(0)

        def received_with_info(message: Any, info: Any) -> None:
            received(message, info)

        def received_alone(message: Any) -> None:
            received(message)

        callback = received_with_info if args.include_message_info else received_alone
        node.create_subscription(message_class, name, callback, profile, raw=args.raw)
        rclpy.spin_until_future_complete(node, done, timeout_sec=args.timeout)
        return done.result() if done.done() else 0


def _print_message(value: Any, info: Any, args: argparse.Namespace) -> None:
    length = None if args.full_length else args.truncate_length
    if not is_message(value):
        if info is not None:
            print(f"---Got new message, message info:---\n{info}\n---Message data:---")
        cut = length is not None and hasattr(value, "__len__") and len(value) > length
        print(f"{value[:length]!r}..." if cut else value, end="\n---\n")
        return
    plain = message_to_dict(value, length, args.no_arr, args.no_str)
    if args.csv:
        print(",".join([*(str(item) for item in (info or {}).values()), to_csv(plain)]))
        return
    if info is not None:
        print(to_yaml(dict(info)), end="---\n")
    print(to_yaml(plain, args.flow_style), end="---\n")


# hz and bw


class RateWindow:
    """Arrival times of the latest messages and the statistics that `ros2 topic hz` prints of them."""

    def __init__(self, size: int) -> None:
        self._intervals_s: deque[float] = deque(maxlen=size)
        self._last_s: float | None = None

    def add(self, now_s: float) -> None:
        """Add a message that arrived at `now_s`."""
        if self._last_s is not None:
            self._intervals_s.append(now_s - self._last_s)
        self._last_s = now_s

    def report(self) -> str | None:
        """Return the text of `ros2 topic hz`, or None before the second message."""
        count = len(self._intervals_s)
        if count == 0:
            return None
        mean = sum(self._intervals_s) / count
        deviation = (sum((interval - mean) ** 2 for interval in self._intervals_s) / count) ** 0.5
        rate = 1.0 / mean if mean > 0 else 0.0
        return (
            f"average rate: {rate:.3f}\n\tmin: {min(self._intervals_s):.3f}s max: {max(self._intervals_s):.3f}s "
            f"std dev: {deviation:.5f}s window: {count}"
        )


class BandwidthWindow:
    """Sizes of the latest messages and the statistics that `ros2 topic bw` prints of them."""

    def __init__(self, size: int) -> None:
        self._messages: deque[tuple[float, int]] = deque(maxlen=size)

    def add(self, now_s: float, size_bytes: int) -> None:
        """Add a message of `size_bytes` that arrived at `now_s`."""
        self._messages.append((now_s, size_bytes))

    def report(self, now_s: float) -> str | None:
        """Return the text of `ros2 topic bw`, or None before the second message."""
        count = len(self._messages)
        if count < 2:
            return None
        sizes = [size for _, size in self._messages]
        rate = sum(sizes) / (now_s - self._messages[0][0])
        divisor, unit, digits = (1, "B", 0) if rate < 1e3 else (1e3, "KB", 2) if rate < 1e6 else (1e6, "MB", 2)

        def text(number: float) -> str:
            return f"{number / divisor:.{digits}f} {unit}"

        return (
            f"{text(rate)}/s from {count} messages\n\tMessage size mean: {text(sum(sizes) / count)} "
            f"min: {text(min(sizes))} max: {text(max(sizes))}"
        )


class DelayWindow:
    """Ages of the latest messages and the statistics that `ros2 topic delay` prints of them."""

    def __init__(self, size: int) -> None:
        self._delays_s: deque[float] = deque(maxlen=size)

    def add(self, delay_s: float) -> None:
        """Add a message that was `delay_s` old by its header's stamp."""
        self._delays_s.append(delay_s)

    def report(self) -> str | None:
        """Return the text of `ros2 topic delay`, or None before the first message."""
        count = len(self._delays_s)
        if count == 0:
            return None
        mean = sum(self._delays_s) / count
        deviation = (sum((delay - mean) ** 2 for delay in self._delays_s) / count) ** 0.5
        return (
            f"average delay: {mean:.3f}\n\tmin: {min(self._delays_s):.3f}s max: {max(self._delays_s):.3f}s "
            f"std dev: {deviation:.5f}s window: {count}"
        )


def _window_arguments(parser: argparse.ArgumentParser, default: int) -> None:
    _topic_arguments(parser)
    parser.add_argument(
        "--window",
        "-w",
        type=positive_int,
        default=default,
        metavar="WINDOW",
        help=f"window size, in # of messages, for calculating rate (default: {default})",
    )


def _hz_arguments(parser: argparse.ArgumentParser) -> None:
    _window_arguments(parser, 10000)
    parser.add_argument(
        "--filter",
        dest="filter_expr",
        metavar="EXPR",
        help="only measure messages matching the specified Python expression",
    )
    parser.add_argument(
        "--wall-time", action="store_true", help="Accepted for the stock tool's sake: rates are always of wall time"
    )


def _delay_arguments(parser: argparse.ArgumentParser) -> None:
    _window_arguments(parser, 10000)


def _bw_arguments(parser: argparse.ArgumentParser) -> None:
    _window_arguments(parser, 100)


def _measure(
    args: argparse.Namespace,
    add: Callable[[Any], None],
    report: Callable[[], str | None],
    raw: bool,
    needs_header: bool = False,
) -> None:
    """Subscribe to a topic, waiting for it if need be, and print a report every second in which messages came."""
    with joined_graph(args, wait=False) as node:
        types = _types_of(node, args.topic_name, args.spin_time + DISCOVERY_TIMEOUT_S)
        if not types:
            print(f"WARNING: topic [{args.topic_name}] does not appear to be published yet")
        while not types and rclpy.ok():
            types = _types_of(node, args.topic_name, 0.1)
        if not types:
            return
        message_class = _class_of(types, args.topic_name)
        if needs_header and message_class.get_fields_and_field_types().get("header") != "std_msgs/Header":
            raise RuntimeError(f"messages of type {types[0]} have no header, so their age is not known")
        news = False

        def received(message: Any) -> None:
            nonlocal news
            news = True
            add(message)

        def print_report() -> None:
            nonlocal news
            text = report() if news else None
            news = False
            if text is not None:
                print(text)

        node.create_subscription(
            message_class,
            _full_name(node, args.topic_name),
            received,
            qos_profile_sensor_data,
            raw=raw,
        )
        node.create_timer(_REPORT_PERIOD_S, print_report)
        rclpy.spin(node)


def _hz(args: argparse.Namespace) -> None:
    window = RateWindow(args.window)
    accepted = _filter(args.filter_expr)

    def add(message: Any) -> None:
        if accepted(message):
            window.add(time.monotonic())

    # Without a filter the content does not matter, so large messages need not be decoded.
    _measure(args, add, window.report, raw=not args.filter_expr)


def _delay(args: argparse.Namespace) -> None:
    window = DelayWindow(args.window)

    def add(message: Any) -> None:
        stamp = message.header.stamp
        window.add((time.time_ns() - (stamp.sec * 1_000_000_000 + stamp.nanosec)) / 1e9)

    _measure(args, add, window.report, raw=False, needs_header=True)


def _bw(args: argparse.Namespace) -> None:
    window = BandwidthWindow(args.window)
    print(f"Subscribed to [{args.topic_name}]")
    _measure(
        args, lambda data: window.add(time.monotonic(), len(data)), lambda: window.report(time.monotonic()), raw=True
    )


# pub


def _pub_arguments(parser: argparse.ArgumentParser) -> None:
    add_graph_arguments(parser)
    parser.add_argument("topic_name", help="Name of the ROS topic to publish to (e.g. '/chatter')")
    parser.add_argument("message_type", help="Type of the ROS message (e.g. 'std_msgs/String')")
    values = parser.add_mutually_exclusive_group()
    values.add_argument(
        "values",
        nargs="?",
        default="{}",
        help="Values to fill the message with in YAML format (e.g. 'data: Hello World'), otherwise the message will be "
        "published with default values",
    )
    values.add_argument("--stdin", action="store_true", help="Read values from standard input")
    parser.add_argument(
        "-r", "--rate", metavar="N", type=positive_float, default=1.0, help="Publishing rate in Hz (default: 1)"
    )
    parser.add_argument(
        "-p",
        "--print",
        metavar="N",
        type=int,
        default=1,
        help="Only print every N-th published message (default: 1)",
    )
    count = parser.add_mutually_exclusive_group()
    count.add_argument("-1", "--once", action="store_true", help="Publish one message and exit")
    count.add_argument(
        "-t", "--times", type=nonnegative_int, default=0, help="Publish this number of times and then exit"
    )
    parser.add_argument(
        "-w",
        "--wait-matching-subscriptions",
        type=nonnegative_int,
        help="Wait until finding the specified number of matching subscriptions. Defaults to 1 when using "
        '"-1"/"--once"/"--times", otherwise defaults to 0.',
    )
    parser.add_argument(
        "--max-wait-time-secs",
        type=positive_float,
        help="This sets the maximum wait time in seconds if --wait-until-matching-subscriptions is set. By default, "
        "this flag is not set meaning the subscriber will wait endlessly.",
    )
    parser.add_argument(
        "--keep-alive",
        metavar="N",
        type=positive_float,
        default=0.1,
        help="Keep publishing node alive for N seconds after the last msg (default: 0.1)",
    )
    parser.add_argument("-n", "--node-name", help="Name of the created publishing node")
    add_qos_arguments(parser, "publish", "default")


def _pub(args: argparse.Namespace) -> str | None:
    message = get_interface(args.message_type, "msg")()
    try:
        values = parse_yaml_fields(sys.stdin.read() if args.stdin else args.values)
        stamp_setters = set_message_fields(message, values, expand_now=True)
    except ValueError as error:
        return f"Failed to populate field: {error}"
    profile_from_arguments(args)  # what is wrong in it is told before anybody is waited for
    times = 1 if args.once else args.times
    wanted = args.wait_matching_subscriptions
    if wanted is None:
        wanted = int(times != 0)
    if wanted == 0 and args.max_wait_time_secs is not None:
        return "--max-wait-time-secs option is only effective with --wait-matching-subscriptions, --once or --times"
    with joined_graph(args, args.node_name, wait=False) as node:
        full_name = _full_name(node, args.topic_name)

        def listening() -> list[Any]:
            return node.get_subscriptions_info_by_topic(full_name)

        subscriptions = wait_until(listening, _DISCOVERY_S) or []
        failure = _type_failure(args, subscriptions)
        if failure is not None:
            return failure
        profile = profile_for_subscriptions(args, subscriptions)
        publisher = node.create_publisher(type(message), args.topic_name, profile)
        failure = _wait_for_subscriptions(
            publisher, wanted, args.max_wait_time_secs, lambda: _type_failure(args, listening())
        )
        if failure is not None:
            return failure
        print("publisher: beginning loop")
        count = 0
        done = Future()

        def publish() -> None:
            nonlocal count
            for set_stamp in stamp_setters:
                set_stamp(node.get_clock().now().to_msg())
            count += 1
            if args.print and count % args.print == 0:
                print(f"publishing #{count}: {message!r}\n")
            publisher.publish(message)
            if times and count >= times:
                done.set_result(None)

        publish()
        if not done.done():
            node.create_timer(1.0 / args.rate, publish)
            rclpy.spin_until_future_complete(node, done)
        # A subscriber on a busy machine may need longer than the time that is slept for those that cannot acknowledge.
        publisher.wait_for_all_acked(Duration(seconds=_ACKNOWLEDGE_TIMEOUT_S))
        time.sleep(args.keep_alive)
    return None


def _type_failure(args: argparse.Namespace, subscriptions: list[Any]) -> str | None:
    """Why nobody would hear messages of this type; None when somebody would, or when nobody listens at all."""
    parts = args.message_type.split("/")
    mine = f"{parts[0]}/msg/{parts[-1]}"
    theirs = sorted({info.topic_type for info in subscriptions})
    if not theirs or mine in theirs:
        return None
    return f"Topic '{args.topic_name}' has the type {' and '.join(theirs)}, not {mine}"


def _wait_for_subscriptions(
    publisher: Any, wanted: int, max_wait_s: float | None, hopeless: Callable[[], str | None]
) -> str | None:
    begin = time.monotonic()
    next_note = begin
    while publisher.get_subscription_count() < wanted and rclpy.ok():
        now = time.monotonic()
        if now >= next_note:
            print(f"Waiting for at least {wanted} matching subscription(s)...")
            next_note = now + 1.0
            if publisher.get_subscription_count() == 0 and (failure := hopeless()) is not None:
                return failure
        if max_wait_s is not None and now - begin >= max_wait_s:
            return (
                f"Timed out waiting for subscribers: Expected {wanted} subscribers but only got "
                f"{publisher.get_subscription_count()} subscribers"
            )
        time.sleep(0.02)
    return None


VERBS = [
    Verb("bw", "Display bandwidth used by topic", _bw, _bw_arguments),
    Verb("delay", "Display delay of topic from timestamp in header", _delay, _delay_arguments),
    Verb("echo", "Output messages from a topic", _echo, _echo_arguments),
    Verb("find", "Output a list of available topics of a given type", _find, _find_arguments),
    Verb("hz", "Print the average publishing rate to screen", _hz, _hz_arguments),
    Verb("info", "Print information about a topic", _info, _info_arguments),
    Verb("list", "Output a list of available topics", _list, _list_arguments),
    Verb("pub", "Publish a message to a topic", _pub, _pub_arguments),
    Verb("type", "Print a topic's type", _type, _topic_arguments),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 topic`."""
    add_verbs(parser, VERBS)


def main(args: argparse.Namespace) -> object:
    """Run a verb of `ros2 topic`."""
    return run_verb(args)
