"""CDISC's example: its tumour results, judged again, give its overall responses but for one that contradicts itself."""

from __future__ import annotations

import csv

import pytest

from imaging_pipeline.criteria.documents import answer

ROLES = {"TARGET": "target", "NON-TARGET": "non_target"}

#: A complete response followed by a partial one: the package calls the reappearance PD (RECIST 1.1, Table 3 footnote).
REAPPEARED = {("01-701-1133", "RADIOLOGIST 2", "WEEK 9"): ("PR", "PD")}


@pytest.fixture(scope="module")
def domains(real_scans):
    folder = real_scans / "sdtm"
    texts = {name: (folder / f"{name}_onco_recist.csv").read_text(encoding="utf-8") for name in ("tu", "tr", "rs")}
    return {name: list(csv.DictReader(text.splitlines())) for name, text in texts.items()}


def whole(date):
    """Some dates lack the day; the middle of the month keeps the visits in order."""
    return date if len(date) == 10 else f"{date}-15"


def document(subject, reader, domains):
    identified = [row for row in domains["tu"] if (row["USUBJID"], row["TUEVALID"]) == (subject, reader)]
    lesions = {
        row["TULNKID"]: {
            "id": row["TULNKID"],
            "role": ROLES[row["TUORRES"]],
            "organ": row["TULOC"],
            "node": row["TULOC"] == "LYMPH NODE",
        }
        for row in identified
    }
    visits = {}
    for row in domains["tr"]:
        if (row["USUBJID"], row["TREVALID"]) != (subject, reader):
            continue
        empty = {"id": row["VISIT"], "date": whole(row["TRDTC"]), "measurements": {}, "non_targets": {}}
        visit = visits.setdefault(int(row["VISITNUM"]), empty)
        lesion = lesions[row["TRLNKID"]]
        if row["TRTESTCD"] == "TUMSTATE":
            visit["non_targets"][lesion["id"]] = row["TRORRES"].lower()
        elif row["TRTESTCD"] == ("LPERP" if lesion["node"] else "LDIAM"):
            field = "short_axis_mm" if lesion["node"] else "longest_diameter_mm"
            visit["measurements"][lesion["id"]] = {field: float(row["TRSTRESN"])}
    return {
        "kind": "timeline",
        "lesions": list(lesions.values()),
        "visits": [visits[number] for number in sorted(visits)],
    }


def test_overall_responses_are_reproduced(domains):
    differences = {}
    judged = 0
    for subject, reader in sorted({(row["USUBJID"], row["RSEVALID"]) for row in domains["rs"]}):
        answered = answer(document(subject, reader, domains))
        overall = {visit["id"]: visit["overall"] for visit in answered["visits"]}
        for row in domains["rs"]:
            if (row["USUBJID"], row["RSEVALID"]) == (subject, reader):
                judged += 1
                if overall[row["VISIT"]] != row["RSSTRESC"]:
                    differences[subject, reader, row["VISIT"]] = (row["RSSTRESC"], overall[row["VISIT"]])
    assert judged == 66
    assert differences == REAPPEARED
