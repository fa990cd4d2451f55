"""Every rule once at least, each with its source: the vectors of `vectors.yaml` through `assess`."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
import yaml

from imaging_pipeline.criteria.documents import answer

BASELINE = datetime.date(2024, 1, 1)
STATES = ("absent", "too_small", "not_evaluable")


class _PlainDates(yaml.SafeLoader):
    """YAML whose dates stay text, as JSON's are."""


_PlainDates.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

VECTORS = yaml.load((Path(__file__).parent / "vectors.yaml").read_text(encoding="utf-8"), _PlainDates)


def of_kind(key):
    return [pytest.param(vector, id=vector["name"]) for vector in VECTORS if key in vector]


def day(days):
    return (BASELINE + datetime.timedelta(days=days)).isoformat()


def finding(stated, node):
    if stated in STATES:
        return {"state": stated}
    if isinstance(stated, dict) and "fragments" in stated:
        return {"fragments": [finding(fragment, node) for fragment in stated["fragments"]]}
    if isinstance(stated, dict):
        return stated
    return {"short_axis_mm" if node else "longest_diameter_mm": stated}


def timeline(vector):
    """The document a vector's shorthand stands for."""
    targets = {name: (sizes, False) for name, sizes in vector.get("targets", {}).items()}
    targets |= {name: (sizes, True) for name, sizes in vector.get("nodes", {}).items()}
    non_targets = vector.get("non_targets", {})
    count = max(
        [len(sizes) for sizes, _ in targets.values()] + [len(states) + 1 for states in non_targets.values()],
        default=len(vector.get("days", [])),
    )
    days = vector.get("days", [56 * number for number in range(count)])
    lesions = [{"id": name, "role": "target", "organ": name, "node": node} for name, (_, node) in targets.items()]
    lesions += [{"id": name, "role": "non_target"} for name in non_targets]
    visits = []
    for number in range(count):
        visit = {"id": f"V{number}" if number else "baseline", "date": day(days[number])}
        visit["measurements"] = {name: finding(sizes[number], node) for name, (sizes, node) in targets.items()}
        if number:
            states = {name: states[number - 1] for name, states in non_targets.items()}
            visit["non_targets"] = {name: state for name, state in states.items() if state is not None}
            for key, entries in (("new_lesions", vector.get("new")), ("flags", vector.get("flags"))):
                if entries:
                    visit[key] = entries[number - 1]
            visit["confirms_new_from"] = vector.get("confirms", {}).get(visit["id"], [])
            new = {name: sizes[number - 1] for name, sizes in vector.get("new_targets", {}).items()}
            visit["new_targets"] = {name: finding(size, False) for name, size in new.items() if size is not None}
        visits.append(visit)
    return {"kind": "timeline", "params": vector.get("params", {}), "lesions": lesions, "visits": visits}


def date_of(answered, visit):
    return next(entry["date"] for entry in answered["visits"] if entry["id"] == visit)


FIELDS = {
    "target": "target",
    "non_target": "non_target",
    "overall": "overall",
    "new_lesion": "new_lesion",
    "sum": "sum_mm",
    "sum_mm2": "sum_mm2",
    "sum_mm3": "sum_mm3",
    "nadir": "nadir_mm",
    "from_baseline": "change_from_baseline_pct",
    "from_nadir": "change_from_nadir_pct",
}


@pytest.mark.parametrize("vector", of_kind("expect"))
def test_timeline_is_judged_as_the_rules_say(vector):
    answered = answer(timeline(vector), (vector.get("criterion", "recist-1.1"),))
    expected = vector["expect"]
    follow_ups = answered["visits"][1:]
    for name, field in FIELDS.items():
        if name in expected:
            found = [visit[field] for visit in follow_ups]
            assert [value if value is None or isinstance(value, str) else float(value) for value in found] == expected[
                name
            ], name
    for name in ("unconfirmed", "confirmed"):
        if name in expected:
            assert answered["best_overall_response"][name] == expected[name]
    if "progression" in expected:
        visit = expected["progression"]
        assert answered["progression_date"] == (visit and date_of(answered, visit))
    for name, (start, end, ended) in expected.get("durations", {}).items():
        duration = answered["durations"][name]
        assert duration == {"from": day(start), "to": day(end), "days": end - start, "ended": ended}
    for key in ("reason", "also"):
        if key in expected:
            assert any(expected[key] in reason for visit in follow_ups for reason in visit["reasons"])
    if "thresholds" in expected:
        assert [visit["thresholds"] for visit in follow_ups] == [expected["thresholds"]] * len(follow_ups)
    if "no_reason" in expected:
        assert not any(expected["no_reason"] in reason for visit in follow_ups for reason in visit["reasons"])
    if "issue" in expected:
        assert [issue["code"] for issue in answered["issues"]] == ([expected["issue"]] if expected["issue"] else [])


@pytest.mark.parametrize("vector", of_kind("responses"))
def test_best_overall_response_of_a_sequence(vector):
    document = {
        "kind": "responses",
        "reference_date": day(0),
        "params": vector.get("params", {}),
        "responses": [{"date": day(days), "overall": code} for days, code in vector["responses"].items()],
    }
    answered = answer(document, (vector.get("criterion", "recist-1.1"),))
    assert list(answered["best_overall_response"].values()) == vector["best"]
    if "progression" in vector:
        assert answered["progression_date"] == day(vector["progression"])
    assert [issue["code"] for issue in answered["issues"] if issue["code"] == vector.get("issue")] == (
        [vector["issue"]] if "issue" in vector else []
    )


@pytest.mark.parametrize("vector", of_kind("candidate"))
def test_candidate_is_measurable_as_the_rules_say(vector):
    answered = answer({"kind": "candidates", "candidates": [{"id": "C", **vector["candidate"]}]})
    assert answered["candidates"][0]["role"] == vector["role"]
    assert answered["candidates"][0]["measurable"] is (vector["role"] == "target")
    assert answered["targets"] == (["C"] if vector["role"] == "target" else [])
    if "sum" in vector:
        assert answered["sum_mm"] == vector["sum"]


@pytest.mark.parametrize("vector", of_kind("candidates"))
def test_targets_are_chosen_as_the_rules_say(vector):
    candidates = []
    for name, (organ, size, *kind) in vector["candidates"].items():
        node = kind == ["node"]
        entry = {
            "id": name,
            "organ": organ,
            "modality": "CT",
            "slice_mm": 2,
            "kind": kind[0] if kind else "soft_tissue",
        }
        candidates.append({**entry, "node": node, ("short_mm" if node else "long_mm"): size})
    answered = answer({"kind": "candidates", "candidates": candidates})
    sizes = {name: size for name, (_, size, *_) in vector["candidates"].items()}
    assert answered["targets"] == sorted(vector["chosen"], key=lambda name: -sizes[name])
    assert answered["sum_mm"] == sum(sizes[name] for name in vector["chosen"])


@pytest.mark.parametrize("vector", of_kind("bone"))
def test_bone_lesion_is_judged_as_the_table_says(vector):
    document = {
        "kind": "timeline",
        "visits": [
            {"id": "b", "date": "2024-01-01"},
            {"id": "V1", "date": "2024-04-01", "bone": {"L4": vector["bone"]}},
        ],
    }
    visit = answer(document, ("mda-bone",))["visits"][1]
    assert visit["overall"] == vector["response"]
    assert visit["reasons"][0].startswith(f"L4 {vector['response']}: ")
    assert len(visit["reasons"]) == 1


@pytest.mark.parametrize("vector", of_kind("answer"))
def test_document_is_answered_as_the_rules_say(vector):
    answered = answer(vector["document"], (vector.get("criterion", "recist-1.1"),))
    expected = vector["answer"]
    for visit in answered.get("visits", []):
        for field, value in expected.get("visits", {}).get(visit["id"], {}).items():
            assert visit[field] == value, f"{visit['id']} {field}"
    if "issues" in expected:
        assert [issue["code"] for issue in answered["issues"]] == expected["issues"]
    if "rows" in expected:
        assert [row["overall"] for row in answered["rows"]] == expected["rows"]
    for row, score in zip(answered.get("rows", []), expected.get("scores", []), strict=False):
        assert {field: row[field] for field in score} == score
    if "roles" in expected:
        assert {ruling["id"]: ruling["role"] for ruling in answered["candidates"]} == expected["roles"]
    for field in ("targets", "sum_mm", "best_overall_response"):
        if field in expected:
            assert answered[field] == expected[field]


def test_every_vector_names_its_source_and_is_run():
    kinds = ("expect", "responses", "candidate", "candidates", "bone", "answer")
    for vector in VECTORS:
        assert vector["source"]
        assert sum(key in vector for key in kinds) == 1, vector["name"]
    names = [vector["name"] for vector in VECTORS]
    assert len(names) == len(set(names))
