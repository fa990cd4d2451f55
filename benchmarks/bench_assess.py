"""Ten thousand patients through the command `assess`, lines and table: `python benchmarks/bench_assess.py`.

8 visits and 5 targets each, drawn with a fixed seed. The figure is the processor
time of the whole command, from its start to its last line, on one core.
"""

from __future__ import annotations

import csv
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

from imaging_pipeline.criteria.table import COLUMNS

PATIENTS, VISITS, TARGETS = 10_000, 8, 5
START = datetime.date(2024, 1, 1)


def patient(number: int, random: Random) -> dict[str, object]:
    """One patient's timeline: four masses and a node that shrink or grow at random, one non-target."""
    lesions = [
        {"id": f"T{place}", "role": "target", "organ": f"organ {place // 2}", "node": place == TARGETS - 1}
        for place in range(TARGETS)
    ]
    fields = {lesion["id"]: "short_axis_mm" if lesion["node"] else "longest_diameter_mm" for lesion in lesions}
    visits = [
        {
            "id": f"V{visit}",
            "date": (START + datetime.timedelta(days=56 * visit)).isoformat(),
            "measurements": {name: {field: round(random.uniform(5, 60), 1)} for name, field in fields.items()},
            "non_targets": {"N1": "present"},
        }
        for visit in range(VISITS)
    ]
    lesions.append({"id": "N1", "role": "non_target"})
    return {"kind": "timeline", "patient": f"P{number}", "lesions": lesions, "visits": visits}


def write_lines(patients: list[dict[str, object]], path: Path) -> None:
    """One document a line."""
    path.write_text("".join(json.dumps(each) + "\n" for each in patients), encoding="utf-8")


def write_table(patients: list[dict[str, object]], path: Path) -> None:
    """One row a lesion and visit."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        for each in patients:
            for visit in each["visits"]:
                common = {"patient": each["patient"], "visit": visit["id"], "date": visit["date"]}
                for lesion in each["lesions"]:
                    row = {**common, "lesion": lesion["id"], "role": lesion["role"], "organ": lesion.get("organ", "")}
                    row["node"] = str(lesion.get("node", "")).lower()
                    found = visit["measurements"].get(lesion["id"]) or {"non_target": "present"}
                    writer.writerow({**row, **found})


def processor_seconds(*arguments: str) -> tuple[float, int]:
    """What the command costs, and how many lines it prints."""
    before = os.times()
    command = [sys.executable, "-m", "imaging_pipeline", "assess", *arguments]
    done = subprocess.run(command, capture_output=True, check=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, done.stdout.count(b"\n")


def main() -> None:
    """Print the time of each way in and out."""
    random = Random(1)
    patients = [patient(number, random) for number in range(PATIENTS)]
    print(f"{PATIENTS} patients x {VISITS} visits x {TARGETS} targets, processor seconds of one core")
    with tempfile.TemporaryDirectory() as place:
        lines, table = Path(place, "many.jsonl"), Path(place, "many.csv")
        write_lines(patients, lines)
        write_table(patients, table)
        for path, options in ((lines, ()), (table, ("--json",)), (table, ("--csv",))):
            spent, printed = processor_seconds(str(path), *options)
            print(f"{path.suffix} {' '.join(options):7} {spent:5.1f} s, {printed} lines out")


if __name__ == "__main__":
    main()
