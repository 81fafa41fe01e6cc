#!/usr/bin/env python3
"""Records topics of a node on Fast DDS to ``golden/jazzy_fast_dds.json``; see README.md in this folder."""

import json
import subprocess
import sys
from pathlib import Path

from interop_capture import payload_layout, record_conversation
from interop_domains import free_domain
from interop_fast_dds import fast_dds_environment, fast_dds_python, why_no_fast_dds
from record import GOLDEN, one_per_line

TOPICS = Path(__file__).with_name("interop_topics.py")
RECORDED = ("words", "task", "target", "frames")
READ = """
import json, sys
from importlib import import_module
from rclpy.serialization import deserialize_message
def plain(value):
    if hasattr(value, "get_fields_and_field_types"):
        return {name: plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if hasattr(value, "tolist"):
        return value.tolist()
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
answers = []
for name, cdr in json.load(sys.stdin):
    package, _, kind = name.split("/")
    answers.append(plain(deserialize_message(bytes.fromhex(cdr), getattr(import_module(package + ".msg"), kind))))
json.dump(answers, sys.stdout)
"""


def main() -> int:
    reason = why_no_fast_dds()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    domain = free_domain()
    command = [fast_dds_python(), str(TOPICS), "talk", *RECORDED]
    heard = record_conversation(command, fast_dds_environment(domain), domain)
    questions = [(payload_layout(sample["topic"], sample["type"])[0], sample["cdr"]) for sample in heard["samples"]]
    answer = subprocess.run(
        [fast_dds_python(), "-c", READ],
        env=fast_dds_environment(domain),
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=True,
    )
    for sample, value in zip(heard["samples"], json.loads(answer.stdout), strict=True):
        sample["value"] = value
    members = [one_per_line(name, heard[name]) for name in ("participants", "endpoints", "samples")]
    path = GOLDEN / "jazzy_fast_dds.json"
    path.write_text("{\n" + ",\n".join(members) + "\n}\n", encoding="utf-8")
    print(f"{path}: {len(heard['samples'])} samples, {len(heard['endpoints'])} endpoints, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
