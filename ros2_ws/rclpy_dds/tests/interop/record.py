#!/usr/bin/env python3
"""Records what a real ROS 2 puts on the wire to ``golden/<distribution>.json``; see README.md in this folder.

Runs in the environment of rclpy_dds, and needs a ROS 2 named by ``MAGMA_ROS2_SETUP``.
"""

import json
import sys
from pathlib import Path

from interop_capture import CONVERSATION, payload_layout, record_conversation
from interop_domains import free_domain
from interop_stock import run_stock, stock_command, stock_environment, why_no_stock

GOLDEN = Path(__file__).with_name("golden")
STOCK_SIDE = Path(__file__).with_name("interop_stock_side.py")


def one_per_line(name: str, entries: list | dict) -> str:
    """Return a JSON member with one entry per line, so that differences can be read."""
    if isinstance(entries, dict):
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in entries.items()]
        return f'"{name}": {{\n' + ",\n".join(lines) + "\n}"
    lines = ["  " + json.dumps(entry, ensure_ascii=False) for entry in entries]
    return f'"{name}": [\n' + ",\n".join(lines) + "\n]"


def main() -> int:
    reason = why_no_stock()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    domain = free_domain()
    heard = record_conversation(stock_command("python3", str(CONVERSATION)), stock_environment(domain), domain)
    questions = []
    for sample in heard["samples"]:
        interface, offset = payload_layout(sample["topic"], sample["type"])
        questions.append([interface, sample["cdr"][:8] + sample["cdr"][2 * offset :]])
    answer = run_stock("python3", str(STOCK_SIDE), domain=domain, input=json.dumps(questions), timeout_s=300)
    if answer.returncode:
        print(answer.stderr, file=sys.stderr)
        return 1
    stock = json.loads(answer.stdout)
    for sample, value in zip(heard["samples"], stock["values"], strict=True):
        sample["value"] = value
    members = [
        f'"distribution": "{stock["distribution"]}"',
        one_per_line("participants", heard["participants"]),
        one_per_line("endpoints", heard["endpoints"]),
        one_per_line("samples", heard["samples"]),
        one_per_line("type_hashes", stock["type_hashes"]),
        one_per_line("messages", stock["messages"]),
    ]
    path = GOLDEN / f"{stock['distribution']}.json"
    path.write_text("{\n" + ",\n".join(members) + "\n}\n", encoding="utf-8")
    names = one_per_line("modules", stock["public_names"])
    path.with_name(f"{stock['distribution']}_names.json").write_text("{\n" + names + "\n}\n", encoding="utf-8")
    print(f"{path}: {len(heard['samples'])} samples, {len(heard['endpoints'])} endpoints, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
