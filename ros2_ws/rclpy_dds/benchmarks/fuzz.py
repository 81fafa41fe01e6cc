"""Fuzzes the CDR decoders of rclpy_dds for every message type that the workspace beside it defines or imports.

    python ros2_ws/rclpy_dds/benchmarks/fuzz.py --inputs 1000000            # mutated and random messages
    python ros2_ws/rclpy_dds/benchmarks/fuzz.py --engine atheris            # coverage-guided (pip install atheris)
    python ros2_ws/rclpy_dds/benchmarks/fuzz.py --wire --inputs 100000      # through Cyclone DDS into subscriptions

Allowed are a message or MalformedMessageError. A message that was accepted must be serialisable again. Anything else
ends the run with the type and the bytes. At the end stand the counts and how much the process has grown.
"""

from __future__ import annotations

import argparse
import ast
import gc
import os
import random
import struct
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from rclpy_dds.interfaces import cdr
from rclpy_dds.interfaces.definition import EMPTY_MEMBER, INTEGER_RANGES, FieldType
from rclpy_dds.interfaces.message import message_class
from rclpy_dds.interfaces.store import definition, names

WORKSPACE = Path(__file__).resolve().parents[2] / "src"
KINDS = ("msg", "srv", "action")
# What rclpy_dds itself receives, whatever the nodes do.
OWN_TYPES = (
    "rmw_dds_common/msg/ParticipantEntitiesInfo",
    "rosgraph_msgs/msg/Clock",
    "rcl_interfaces/msg/ParameterEvent",
    "rcl_interfaces/msg/Log",
    "tf2_msgs/msg/TFMessage",
    "action_msgs/msg/GoalStatusArray",
    "action_msgs/srv/CancelGoal_Request",
    "action_msgs/srv/CancelGoal_Response",
    "type_description_interfaces/srv/GetTypeDescription_Request",
    "type_description_interfaces/srv/GetTypeDescription_Response",
)
OWN_SERVICES = ("rcl_interfaces", "lifecycle_msgs")
_ACTION_PARTS = (
    "SendGoal_Request",
    "SendGoal_Response",
    "GetResult_Request",
    "GetResult_Response",
    "FeedbackMessage",
)


def structures(package: str, kind: str, name: str) -> list[str]:
    """Return the structures that travel for an interface."""
    if kind == "msg":
        return [f"{package}/msg/{name}"]
    parts = ("Request", "Response") if kind == "srv" else _ACTION_PARTS
    return [f"{package}/{kind}/{name}_{part}" for part in parts]


def used_types() -> list[str]:
    """Return the types that the workspace imports or defines, and those that rclpy_dds receives itself."""
    found = set(OWN_TYPES)
    for package in OWN_SERVICES:
        for name in names(package, "srv"):
            found.update(structures(package, "srv", name))
    for folder in sorted(WORKSPACE.iterdir()) if WORKSPACE.is_dir() else ():
        for kind in KINDS:
            if (folder / kind).is_dir():
                for name in names(folder.name, kind):
                    found.update(structures(folder.name, kind, name))
    for path in WORKSPACE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.count(".") == 1:
                package, kind = node.module.split(".")
                if kind in KINDS and package != "rclpy":
                    for alias in node.names:
                        found.update(structures(package, kind, alias.name))
    return sorted(found)


def random_value(kind: FieldType, rng: random.Random) -> Any:
    """Return a value of a field type, small and with extremes."""
    if kind.kind != "scalar":
        count = kind.size if kind.kind == "array" else rng.randrange(0, min(kind.size or 4, 4) + 1)
        element = FieldType(kind.base, string_bound=kind.string_bound)
        return [random_value(element, rng) for _ in range(count)]
    if kind.is_nested:
        return random_message(kind.base, rng)
    if kind.base == "string":
        return "".join(chr(rng.randrange(1, 0x250)) for _ in range(rng.randrange(0, 6)))[: kind.string_bound or None]
    if kind.base == "bool":
        return rng.random() < 0.5
    if kind.base == "byte":
        return bytes([rng.randrange(256)])
    if kind.base in ("float32", "float64"):
        return rng.choice([0.0, -1.5, float("inf"), float("nan"), 1e30])
    return rng.choice([*INTEGER_RANGES.get(kind.base, (0, 255)), 0, 1])


def random_message(name: str, rng: random.Random) -> Any:
    """Return a message with random contents."""
    fields = [field for field in definition(name).fields if field.name != EMPTY_MEMBER]
    message = message_class(name)()
    for field in fields:
        setattr(message, "_" + field.name, _stored(field.type, random_value(field.type, rng)))
    return message


def _stored(kind: FieldType, value: Any) -> Any:
    if kind.kind == "array" and kind.base in cdr.DTYPES:
        return np.array(value, dtype=cdr.DTYPES[kind.base])
    if kind.kind == "sequence" and kind.base in cdr.ARRAY_CODES:
        import array

        return array.array(cdr.ARRAY_CODES[kind.base], value)
    return value


def mutate(payload: bytes, rng: random.Random) -> bytes:
    """Return a damaged message: bits flipped, numbers overwritten, cut, extended, repeated, or all random."""
    data = bytearray(payload)
    for _ in range(rng.randrange(1, 4)):
        action = rng.randrange(7)
        place = rng.randrange(len(data)) if data else 0
        if action == 0 and data:
            data[place] ^= 1 << rng.randrange(8)
        elif action == 1 and len(data) >= 8:
            place = rng.randrange(4, len(data) - 3) & ~3
            value = rng.choice(
                [0, 1, 2, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(data), len(data) - place]
            )
            struct.pack_into("<I", data, min(place, len(data) - 4), value)
        elif action == 2:
            del data[place:]
        elif action == 3:
            data += rng.randbytes(rng.randrange(1, 64))
        elif action == 4:
            data[place:place] = data[place : place + rng.randrange(1, 32)]
        elif action == 5:
            del data[place : place + rng.randrange(1, 16)]
        else:
            data[4:] = rng.randbytes(rng.randrange(0, 200))
    return bytes(data)


def check(name: str, payload: bytes) -> bool:
    """Decode one input; return whether it was a message."""
    offset = cdr.HEADER_BYTES
    try:
        message = cdr.decode(payload, name, offset)
    except cdr.MalformedMessageError:
        return False
    cdr.encode(message, name)
    return True


def resident_mb() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def fuzz(inputs: int, seed: int) -> None:
    """Decode mutated messages of all types in turn."""
    rng = random.Random(seed)
    types = used_types()
    seeds = {name: [cdr.join(cdr.encode(random_message(name, rng), name)) for _ in range(50)] for name in types}
    counts: Counter[bool] = Counter()
    started, memory = time.perf_counter(), 0.0
    for index in range(inputs):
        name = types[index % len(types)]
        payload = mutate(rng.choice(seeds[name]), rng)
        # Large payloads come from the transport as a memoryview, small ones as bytes.
        shape = memoryview(payload) if index & 1 else payload
        try:
            counts[check(name, shape)] += 1
        except BaseException:
            print(f"{name}: {payload.hex()} (input {index}, seed {seed})", file=sys.stderr)
            raise
        if index == inputs // 5:
            gc.collect()
            memory = resident_mb()
    gc.collect()
    took = time.perf_counter() - started
    print(
        f"{inputs} inputs of {len(types)} types in {took:.0f} s: {counts[True]} messages, {counts[False]} refused, "
        f"nothing else; memory {memory:.1f} MB after a fifth, {resident_mb():.1f} MB at the end"
    )


def fuzz_wire(inputs: int, seed: int) -> None:
    """Send mutated messages through Cyclone DDS to subscriptions of a node."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node
    from rclpy.qos import QoSProfile

    rng = random.Random(seed)
    types = [name for name in used_types() if "/msg/" in name]
    seeds = {name: [cdr.join(cdr.encode(random_message(name, rng), name)) for _ in range(20)] for name in types}
    rclpy.init(args=[])
    node = Node("fuzzed")
    node.get_logger().set_level(rclpy.logging.LoggingSeverity.FATAL)
    received: Counter[str] = Counter()
    publishers, subscriptions = {}, []
    for index, name in enumerate(types):
        kind = message_class(name)
        publishers[name] = node.create_publisher(kind, f"fuzz{index}", QoSProfile(depth=10))
        subscriptions.append(
            node.create_subscription(kind, f"fuzz{index}", lambda _, name=name: received.update([name]), 10)
        )
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    started, memory, refused_by_dds = time.perf_counter(), 0.0, 0
    for index in range(inputs):
        name = types[index % len(types)]
        try:
            publishers[name].publish(mutate(rng.choice(seeds[name]), rng))
        except rclpy.exceptions.RCLError:
            refused_by_dds += 1  # not even an encapsulation header
        executor.spin_once(timeout_sec=0)
        if index == inputs // 5:
            gc.collect()
            memory = resident_mb()
    while executor_has_work(executor, received, subscriptions):
        pass
    gc.collect()
    malformed = sum(subscription.malformed_count for subscription in subscriptions)
    print(
        f"{inputs} payloads on {len(types)} topics in {time.perf_counter() - started:.0f} s: {refused_by_dds} refused "
        f"when written, {received.total()} delivered, {malformed} dropped as malformed; memory {memory:.1f} MB after a "
        f"fifth, {resident_mb():.1f} MB at the end"
    )
    executor.shutdown()
    rclpy.shutdown()


def executor_has_work(executor: Any, received: Counter[str], subscriptions: list[Any]) -> bool:
    """Spin once; return whether anything came."""
    before = received.total() + sum(subscription.malformed_count for subscription in subscriptions)
    executor.spin_once(timeout_sec=0.2)
    return before != received.total() + sum(subscription.malformed_count for subscription in subscriptions)


def fuzz_atheris(inputs: int) -> None:
    """Let atheris search: the first byte of an input chooses the type, the rest is the stream after its header."""
    import atheris

    types = used_types()
    rng = random.Random(0)
    for name in types:
        check(name, cdr.join(cdr.encode(random_message(name, rng), name)))
    # The decoders are generated at run time, so that import hooks do not see them.
    for key, function in list(cdr._decoders.items()):
        cdr._decoders[key] = atheris.instrument_func(function)

    def one(data: bytes) -> None:
        if data:
            check(types[data[0] % len(types)], b"\x00\x01\x00\x00" + data[1:])

    atheris.Setup([sys.argv[0], f"-runs={inputs}", "-max_len=512", "-print_final_stats=1"], one)
    atheris.Fuzz()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("mutation", "atheris"), default="mutation")
    parser.add_argument("--wire", action="store_true", help="through Cyclone DDS")
    arguments = parser.parse_args()
    if arguments.wire:
        fuzz_wire(arguments.inputs, arguments.seed)
    elif arguments.engine == "atheris":
        fuzz_atheris(arguments.inputs)
    else:
        fuzz(arguments.inputs, arguments.seed)


if __name__ == "__main__":
    main()
