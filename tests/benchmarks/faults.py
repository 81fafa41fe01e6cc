"""Every fault in the real graph in simulation, as a table.

    python tests/benchmarks/faults.py --out DIR [--only TEXT] [--graphs delta clock joints] [--late-ms 200]

Writes DIR/faults.md and DIR/faults.json; ends with 1 when a fault had a consequence that it must not have.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e" / "faults"))

from fault_catalogue import CLOCK_FAULTS, FAULTS, JOINT_FAULTS, Fault, Row, run_fault
from fault_graph import STATE_TIMEOUT_S, TELEOP_TIMEOUT_S, TICK_S, WATCHDOG_S, FaultGraph, GraphError

LATE_MOST_MS = 200.0
GRAPHS = {"delta": FAULTS, "clock": CLOCK_FAULTS, "joints": JOINT_FAULTS}


def play(kind: str, faults: list[Fault], folder: Path, late_s: float) -> list[Row]:
    """Plays faults in one graph, whose policy answers so much later; one that does not recover is started anew."""
    rows: list[Row] = []
    graph: FaultGraph | None = None
    try:
        for fault in faults:
            if graph is None:
                home = folder / f"{kind}-{len(rows)}"
                home.mkdir(parents=True)
                graph = FaultGraph(home, random.randrange(100, 230), kind == "joints", kind == "clock", late_s)
                graph.start()
            try:
                row = run_fault(graph, fault)
            except GraphError as error:
                row = Row(fault.name, graph.phase, graph.reason, None, None, 0, 0.0, "none", (str(error)[:300],))
                (folder / f"{kind}-{len(rows)}-failed.log").write_text(f"{error}\n{graph.logs()}", encoding="utf-8")
                graph.close()
                graph = None
            rows.append(row)
            print(line(row), flush=True)
    finally:
        if graph is not None:
            graph.close()
    return rows


def line(row: Row) -> str:
    """One row of the table."""
    last = "none" if row.last_command_s is None else f"{row.last_command_s * 1e3:.0f}"
    limit = "" if row.limit_s is None else f"{row.limit_s * 1e3:.0f}"
    verdict = "ok" if row.ok else "; ".join(row.problems + row.late).replace("|", "/").replace("\n", " ")
    reason = row.reason.replace("|", "/")
    return (
        f"| {row.fault} | {row.phase} | {reason} | {last} | {limit} | {row.commands} | {row.way_m * 1e3:.1f} | "
        f"{row.recovery} | {verdict} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--graphs", nargs="+", choices=list(GRAPHS), default=list(GRAPHS))
    parser.add_argument(
        "--late-ms",
        type=float,
        default=0.0,
        help="every answer of the policy is under way for so long; 200 at most with the bounds that these graphs have",
    )
    options = parser.parse_args()
    if not 0.0 <= options.late_ms <= LATE_MOST_MS:
        parser.error(f"--late-ms is 0 to {LATE_MOST_MS:g}: answers that come later are refused as too old")
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.graphs:
            chosen = [fault for fault in GRAPHS[kind] if options.only in fault.name]
            rows += play(kind, chosen, Path(folder), 1e-3 * options.late_ms)
    ok = sum(row.ok for row in rows)
    text = [
        "# Faults",
        "",
        f"{ok} of {len(rows)} as they must be; {time.monotonic() - started_s:.0f} s on {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}.",
        f"Watchdog {WATCHDOG_S * 1e3:.0f} ms, arm state {STATE_TIMEOUT_S * 1e3:.0f} ms, operator "
        f"{TELEOP_TIMEOUT_S * 1e3:.0f} ms, tick {TICK_S * 1e3:.0f} ms; the policy moves the arm at 100 mm/s, answers "
        f"{options.late_ms:g} ms late.",
        "",
        "| fault | phase | reason given | last command, ms after the fault | allowed, ms | commands after it "
        "| way after it, mm | moves again | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
        *[line(row) for row in rows],
        "",
    ]
    (options.out / "faults.md").write_text("\n".join(text), encoding="utf-8")
    (options.out / "faults.json").write_text(
        json.dumps([dataclasses.asdict(row) for row in rows], indent=1), encoding="utf-8"
    )
    print("\n".join(text[2:4]))
    return 0 if ok == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
