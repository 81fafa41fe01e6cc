"""`magma-recording`: what a recording holds and lacks, and making a whole file of one that was cut off."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from magma_common.conversions import stamp_to_ns
from magma_contracts.files.outputs import explained
from magma_contracts.text import printable
from magma_recorder import topics
from magma_recorder.definitions import MessageError, schema_of, type_hash
from magma_recorder.recordings import bag_metadata
from magma_recorder.recordings.audit import RecordingAudit
from magma_recorder.recordings.interventions import Intervention, InterventionTracker
from magma_recorder.recordings.mcap_file import McapFile
from magma_recorder.recordings.recording import Recorded, Recording, RecordingError
from magma_recorder.topics import Topic

REPAIR_CHUNK_BYTES = 1 << 20


def interventions_of(recording: Recording) -> list[Intervention]:
    """Who had the arm and when, worked out anew from commands and phases: also when the recorder was killed."""
    tracker = InterventionTracker()
    found: list[Intervention] = []
    for item in recording.read({topics.TELEOP_COMMAND, topics.COMMAND, topics.CONTROLLER_STATE}):
        over = _follow(tracker, item)
        if over is not None:
            found.append(over)
    last = tracker.end()
    return [*found, last] if last is not None else found


def _follow(tracker: InterventionTracker, item: Recorded) -> Intervention | None:
    if item.name == topics.TELEOP_COMMAND:
        tracker.on_operator_command(item.log_ns, item.message.source)
    elif item.name == topics.COMMAND:
        tracker.on_command(item.log_ns, item.message.source)
    else:
        return tracker.on_phase(stamp_to_ns(item.message.header.stamp), int(item.message.phase))
    return None


def describe(path: Path) -> str:
    """What a recording holds and lacks, for a person.

    Raises:
        RecordingError: it is none.
    """
    recording = Recording(path)
    audit = RecordingAudit()
    first_ns = last_ns = 0
    for item in recording:
        try:
            audit.add(item.topic, item.log_ns, item.sequence, item.data)
        except MessageError as error:
            raise RecordingError(f"{recording.path}: a message on {item.topic} is damaged: {error}") from error
        first_ns = first_ns or item.log_ns
        last_ns = max(last_ns, item.log_ns)
    if recording.complete:
        end = "closed properly"
    elif recording.damage:
        end = f"ENDS EARLY: {recording.damage}"
    else:
        end = "CUT OFF: the recorder did not end by itself"
    lines = [
        f"{recording.path}: {(last_ns - first_ns) * 1e-9:.1f} s, {recording.path.stat().st_size * 1e-6:.1f} MB, "
        f"content {recording.content}, {end}",
        audit.table(),
    ]
    for name, value in recording.account.items():
        if name not in ("audit", "interventions") and value:
            lines.append(printable(f"{name.replace('_', ' ')}: {value}"))
    robots = sorted(recording.namespaces) or [""]
    for namespace in robots:
        of_whom = "" if robots == [""] else f" of {namespace or '/'}"
        found = interventions_of(Recording(recording.path, namespace or "/"))
        lines.append(f"{len(found) or 'no'} interventions{printable(of_whom)}")
        for intervention in found:
            start_s, end_s = (intervention.start_ns - first_ns) * 1e-9, (intervention.end_ns - first_ns) * 1e-9
            lines.append(
                f"  {start_s:8.2f} s to {end_s:8.2f} s: {printable(intervention.device)}, "
                f"{intervention.commands} commands, then {intervention.followed_by or 'the recording ended'}"
            )
    return "\n".join(lines)


def repair(source: Path, folder: Path) -> int:
    """Writes a new bag with everything that can be read; returns the number of messages.

    Raises:
        RecordingError: no recording.
        FileExistsError: the folder exists.
    """
    recording = Recording(source)
    folder.mkdir(parents=True)
    file = McapFile(folder / f"{folder.name}_0.mcap")
    channels: dict[str, tuple[int, Topic]] = {}
    latched = {topic.known_name for topic in topics.TOPICS if topic.latched}
    for item in recording:
        known = channels.get(item.topic)
        if known is None:
            topic = Topic(item.topic, item.type_name, latched=item.name in latched)
            metadata = {
                "offered_qos_profiles": topics.LATCHED_QOS if topic.latched else "",
                "topic_type_hash": type_hash(item.type_name),
            }
            known = (file.add_channel(item.topic, item.type_name, schema_of(item.type_name), metadata), topic)
            channels[item.topic] = known
        file.add_message(known[0], item.log_ns, item.publish_ns, item.sequence, item.data)
        if file.pending_bytes >= REPAIR_CHUNK_BYTES:
            file.write_chunk()
    file.finish()
    start_ns, end_ns = file.time_range_ns
    bag_metadata.write(folder, file.path.name, [topic for _, topic in channels.values()], file.counts, start_ns, end_ns)
    return sum(file.counts.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="magma-recording", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    info = commands.add_parser("info", help="what a recording holds and lacks, topic by topic, and who had the arm")
    info.add_argument("path", type=Path, help="MCAP file, or the folder that holds it")
    mend = commands.add_parser("repair", help="make a whole bag of a recording that was cut off")
    mend.add_argument("path", type=Path, help="MCAP file, or the folder that holds it")
    mend.add_argument("out", type=Path, help="new folder")
    options = parser.parse_args(arguments)
    try:
        if options.command == "info":
            print(describe(options.path))
        else:
            print(f"{repair(options.path, options.out)} messages in {options.out}")
    except (RecordingError, OSError) as error:
        print(explained(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
