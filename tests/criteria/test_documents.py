"""Documents are read exactly, refused by field and remedy, and answered in the contract's words."""

from __future__ import annotations

import copy
import datetime
import json
from decimal import Decimal

import pytest

from imaging_pipeline.criteria.documents import answer, answer_lines, dumps, loads
from imaging_pipeline.criteria.kinds import CRITERIA, DOCUMENTS
from imaging_pipeline.errors import ConfigurationError

GOOD = {
    "kind": "timeline",
    "lesions": [
        {"id": "T1", "role": "target", "organ": "liver", "node": False},
        {"id": "T2", "role": "target", "organ": "axilla", "node": True},
        {"id": "N1", "role": "non_target", "organ": "bone", "node": False},
    ],
    "visits": [
        {
            "id": "baseline",
            "date": "2024-01-01",
            "measurements": {"T1": {"longest_diameter_mm": 30}, "T2": {"short_axis_mm": 20}},
            "non_targets": {"N1": "present"},
        },
        {
            "id": "V1",
            "date": "2024-03-01",
            "measurements": {"T1": {"longest_diameter_mm": 20}, "T2": {"short_axis_mm": 12}},
            "non_targets": {"N1": "present"},
            "new_lesions": "no",
            "confirms_new_from": [],
            "new_targets": {},
            "flags": [],
        },
    ],
}


def with_visit(**changes):
    document = copy.deepcopy(GOOD)
    document["visits"][1].update(changes)
    return document


def with_finding(finding, lesion="T1"):
    document = copy.deepcopy(GOOD)
    document["visits"][1]["measurements"][lesion] = finding
    return document


def with_baseline(finding):
    document = copy.deepcopy(GOOD)
    document["visits"][0]["measurements"]["T1"] = finding
    return document


def without(document, *path):
    document = copy.deepcopy(document)
    inside = document
    for step in path[:-1]:
        inside = inside[step]
    del inside[path[-1]]
    return document


BAD = {
    "no kind": (without(GOOD, "kind"), "kind", "timeline, responses"),
    "another kind": ({**GOOD, "kind": "timelines"}, "kind", "timeline, responses"),
    "no visits": (without(GOOD, "visits"), "visits", "add it"),
    "a date missing": (without(GOOD, "visits", 1, "date"), "visits.V1.date", "add it"),
    "a date that is none": (with_visit(date="2024-02-30"), "visits.V1.date", "YYYY-MM-DD"),
    "a date the other way": (with_visit(date="01.03.2024"), "visits.V1.date", "YYYY-MM-DD"),
    "a date without its day": (with_visit(date="2024-03"), "visits.V1.date", "YYYY-MM-DD"),
    "a date as a number": (with_visit(date=20240301), "visits.V1.date", "YYYY-MM-DD"),
    "dates out of order": (with_visit(date="2023-12-31"), "visits.V1.date", "correct the date or the order"),
    "two visits a day": (with_visit(date="2024-01-01"), "visits.V1.date", "join the two visits"),
    "a visit twice": (with_visit(id="baseline"), "visits.baseline", "another id"),
    "a lesion twice": ({**GOOD, "lesions": [*GOOD["lesions"], GOOD["lesions"][0]]}, "lesions.T1", "another id"),
    "another unit": (
        with_finding({"longest_diameter_cm": 3}),
        "visits.V1.measurements.T1.longest_diameter_cm",
        "longest_diameter_mm",
    ),
    "metres": (with_finding({"longest_diameter_mm": 10001}), "T1.longest_diameter_mm", "millimetres"),
    "a negative size": (with_finding({"longest_diameter_mm": -3}), "T1.longest_diameter_mm", "absent"),
    "a negative volume": (with_finding({"longest_diameter_mm": 3, "volume_mm3": -1}), "T1.volume_mm3", "absent"),
    "NaN": (with_finding({"longest_diameter_mm": float("nan")}), "T1.longest_diameter_mm", "plain number"),
    "infinity": (with_finding({"longest_diameter_mm": Decimal("Infinity")}), "T1.longest_diameter_mm", "plain number"),
    "a number in words": (with_finding({"longest_diameter_mm": "30"}), "T1.longest_diameter_mm", "plain number"),
    "a truth for a number": (with_finding({"longest_diameter_mm": True}), "T1.longest_diameter_mm", "plain number"),
    "too many digits": (
        with_finding({"longest_diameter_mm": Decimal("1.123456789012345678901")}),
        "T1.longest_diameter_mm",
        "20 digits",
    ),
    "a finding that is no object": (with_finding(30), "visits.V1.measurements.T1", "schema"),
    "an empty finding": (with_finding({}), "visits.V1.measurements.T1", "keep the one that holds"),
    "a size and a state": (
        with_finding({"longest_diameter_mm": 3, "state": "absent"}),
        "visits.V1.measurements.T1",
        "keep the one that holds",
    ),
    "an unknown state": (with_finding({"state": "gone"}), "visits.V1.measurements.T1.state", "schema"),
    "an unknown lesion": (
        with_finding({"longest_diameter_mm": 3}, "T11"),
        "visits.V1.measurements.T11",
        "did you mean 'T1'",
    ),
    "an unknown non-target": (with_visit(non_targets={"X": "present"}), "visits.V1.non_targets.X", "list it"),
    "a target among the non-targets": (with_visit(non_targets={"T1": "present"}), "visits.V1.non_targets.T1", "role"),
    "an unknown bone lesion": (
        with_visit(bone={"L9": {"modality": "CT", "findings": {}}}),
        "visits.V1.bone.L9",
        "list it",
    ),
    "the longest diameter of a node": (
        with_finding({"longest_diameter_mm": 30}, "T2"),
        "visits.V1.measurements.T2.short_axis_mm",
        "add it",
    ),
    "the wrong size in a fragment": (
        with_finding({"fragments": [{"short_axis_mm": 3}]}),
        "visits.V1.measurements.T1.longest_diameter_mm",
        "add it",
    ),
    "a fragment of a fragment": (
        with_finding({"fragments": [{"fragments": [{"longest_diameter_mm": 3}]}]}),
        "visits.V1.measurements.T1.fragments.0",
        "beside each other",
    ),
    "an empty fragment": (
        with_finding({"fragments": [{"longest_diameter_mm": 3}, {}]}),
        "visits.V1.measurements.T1.fragments.1",
        "keep the one",
    ),
    "merged into nothing": (with_finding({"merged_into": "T9"}), "T1.merged_into", "name that target"),
    "merged into a non-target": (with_finding({"merged_into": "N1"}), "T1.merged_into", "name that target"),
    "merged into itself": (with_finding({"merged_into": "T1"}), "T1.merged_into", "name that target"),
    "merged at baseline": (with_baseline({"merged_into": "T2"}), "visits.baseline.measurements.T1", "no target"),
    "a target gone at baseline": (with_baseline({"state": "absent"}), "visits.baseline.measurements.T1", "no target"),
    "a target of 0 mm at baseline": (
        with_baseline({"longest_diameter_mm": 0}),
        "visits.baseline.measurements.T1",
        "no target",
    ),
    "an unknown key": (with_visit(measurments={}), "visits.V1.measurments", "did you mean 'measurements'?"),
    "an unknown key far from all": (with_visit(zzz=1), "visits.V1.zzz", "remove it"),
    "an unknown role": (
        {**GOOD, "lesions": [{"id": "T1", "role": "Target"}, *GOOD["lesions"][1:]]},
        "lesions.T1.role",
        "schema",
    ),
    "an unknown word for new lesions": (with_visit(new_lesions="maybe"), "visits.V1.new_lesions", "schema"),
    "an unknown flag": (with_visit(flags=["worse"]), "visits.V1.flags.0", "schema"),
    "a confirmation of nothing": (with_visit(confirms_new_from=["baseline"]), "V1.confirms_new_from", "equivocal"),
    "a new lesion at baseline": (
        {**GOOD, "visits": [{**GOOD["visits"][0], "new_lesions": "equivocal"}]},
        "visits.baseline",
        "among the lesions",
    ),
    "a new lesion with a known name": (
        with_visit(new_targets={"T1": {"longest_diameter_mm": 5}}),
        "visits.V1.new_targets.T1",
        "id of its own",
    ),
    "an unknown parameter": ({**GOOD, "params": {"pr_retenton": "literal"}}, "pr_retenton", "'pr_retention'?"),
    "a parameter out of range": ({**GOOD, "params": {"sd_min_days": -1}}, "sd_min_days", "schema"),
    "an unknown response": (
        {"kind": "responses", "reference_date": "2024-01-01", "responses": [{"date": "2024-02-01", "overall": "XX"}]},
        "responses.0.overall",
        "correct it",
    ),
    "a response of iRECIST": (
        {"kind": "responses", "reference_date": "2024-01-01", "responses": [{"date": "2024-02-01", "overall": "iPR"}]},
        "responses.0.overall",
        "irecist",
    ),
    "a response before the start": (
        {"kind": "responses", "reference_date": "2024-01-01", "responses": [{"date": "2023-12-31", "overall": "PR"}]},
        "responses.0.date",
        "order",
    ),
    "two responses a day": (
        {
            "kind": "responses",
            "reference_date": "2024-01-01",
            "responses": [{"date": "2024-02-01", "overall": "PR"}, {"date": "2024-02-01", "overall": "PR"}],
        },
        "responses.1.date",
        "order",
    ),
    "no reference date": ({"kind": "responses", "responses": []}, "reference_date", "add it"),
    "an unknown component": ({"kind": "components", "rows": [{"target": "good"}]}, "rows.0.target", "correct it"),
    "a candidate twice": (
        {"kind": "candidates", "candidates": [{"id": "A", "kind": "ascites"}, {"id": "A", "kind": "ascites"}]},
        "candidates.A",
        "another id",
    ),
    "a candidate without a size": (
        {"kind": "candidates", "candidates": [{"id": "A", "modality": "CT", "slice_mm": 5}]},
        "candidates.A.long_mm",
        "add long_mm",
    ),
    "a candidate without slices": (
        {"kind": "candidates", "candidates": [{"id": "A", "modality": "CT", "long_mm": 12}]},
        "candidates.A.slice_mm",
        "add slice_mm",
    ),
    "an unknown answer of SINS": (
        {"kind": "scores", "rows": [{"score": "sins", "pain": "some"}]},
        "rows.0.sins.pain",
        "schema",
    ),
    "a height loss above 100": (
        {"kind": "scores", "rows": [{"score": "genant", "height_loss_percent": 101}]},
        "rows.0.genant.height_loss_percent",
        "schema",
    ),
}


def refusal(document, criteria=("recist-1.1",)):
    with pytest.raises(ConfigurationError) as caught:
        answer(document, criteria)
    return caught.value


@pytest.mark.parametrize("name", BAD)
def test_bad_input_names_the_field_and_the_remedy(name):
    document, field, remedy = BAD[name]
    refused = refusal(document)
    assert field in refused.problem.subject
    assert remedy in f"{refused.problem.expected} {refused.problem.remedy}"
    assert "\n" not in str(refused)
    assert refused.exit_code == 2


def test_the_good_document_is_answered_in_the_contracts_words():
    answered = answer(GOOD)
    assert answered["criterion"] == "recist-1.1"
    visit = answered["visits"][1]
    contract = {
        "id": "V1",
        "date": "2024-03-01",
        "target": "PR",
        "non_target": "NON-CR/NON-PD",
        "new_lesion": "no",
        "overall": "PR",
        "sum_mm": 32,
        "nadir_mm": 50,
        "change_from_baseline_pct": -36,
        "change_from_nadir_pct": -36,
    }
    assert {key: visit[key] for key in contract} == contract
    assert visit["reasons"] == [
        "sum 32 mm (T1 20 + T2 12)",
        "target PR: -36.0 % against baseline",
        "PR at 35 mm or less, PD at 60 mm or more",
        "non-target NON-CR/NON-PD: N1 persists",
    ]
    assert visit["rule"] == "RECIST 1.1, 4.3.1; RECIST 1.1, Table 1"
    assert visit["used"] == ["T1/longest_diameter", "T2/short_axis"]
    assert visit["thresholds"] == {"PR": 35, "PD": 60}
    assert answered["best_overall_response"] == {"unconfirmed": "PR", "confirmed": "SD"}
    assert answered["progression_date"] is None
    assert answered["issues"] == []


def test_baseline_has_a_sum_and_no_response():
    first = answer(GOOD)["visits"][0]
    assert (first["sum_mm"], first["nadir_mm"]) == (50, 50)
    assert [first[part] for part in ("target", "non_target", "overall")] == [None, None, None]


def test_an_unknown_criterion_is_refused_with_the_nearest():
    for name, meant in (("recist", "recist-1.1"), ("recist1.1", "recist-1.1"), ("irecst", "irecist")):
        assert refusal(GOOD, (name,)).problem.remedy == f"did you mean '{meant}'?"
    refused = refusal(GOOD, ("pcwg3",))
    assert "mda-bone" in refused.problem.expected


def test_a_criterion_without_its_size_is_refused_by_field():
    assert refusal(GOOD, ("volumetric",)).problem.subject == "visits.baseline.measurements.T1.volume_mm3"
    assert refusal(GOOD, ("who",)).problem.subject == "visits.baseline.measurements.T1.perpendicular_diameter_mm"


@pytest.mark.parametrize(
    ("name", "least", "below"),
    [
        ("sd_min_days", 0, -1),
        ("confirm_min_days", 0, -1),
        ("max_ne_between", 0, -1),
        ("icpd_min_days", 0, -1),
        ("pr_volume_ratio", Decimal("0.001"), 0),
        ("pd_volume_ratio", Decimal("1.001"), 1),
        ("mda_fill_in_points", Decimal("0.1"), 0),
        ("mda_rim_points", Decimal("0.1"), 0),
        ("mda_extent_pct", Decimal("0.1"), 0),
    ],
)
def test_parameters_have_a_least_value(name, least, below):
    assert answer(GOOD, params={name: least})["criterion"] == "recist-1.1"
    with pytest.raises(ConfigurationError, match=name):
        answer(GOOD, params={name: below})


def test_a_response_by_volume_is_a_loss_and_a_progression_a_gain():
    for name, wrong in (("pr_volume_ratio", 1), ("pd_volume_ratio", 1)):
        with pytest.raises(ConfigurationError, match=name):
            answer(GOOD, params={name: wrong})


def test_the_largest_numbers_and_names_that_are_taken():
    large = with_finding({"longest_diameter_mm": 10_000, "volume_mm3": Decimal("12345678901234567890")})
    assert answer(large)["visits"][1]["overall"] == "PD"
    for number in (Decimal("1e20"), Decimal("1e-21")):
        assert "20 digits" in refusal(with_finding({"longest_diameter_mm": 9, "volume_mm3": number})).problem.remedy
    assert answer(with_visit(id="v" * 64))["visits"][1]["id"] == "v" * 64
    assert "visits" in refusal(with_visit(id="v" * 65)).problem.subject


def test_refusals_say_what_was_found():
    assert refusal(without(GOOD, "visits", 1, "date")).problem.found == "nothing"
    assert refusal(with_visit(date="soon")).problem.found == "a value that does not fit"
    assert refusal(without(GOOD, "kind")).problem.found == "nothing"
    assert refusal({**GOOD, "kind": "x"}).problem.found == "an unknown kind"
    assert refusal(with_finding({})).problem.found == "nothing"
    assert refusal(with_finding({"state": "absent", "merged_into": "T2"})).problem.found == "state and merged_into"
    assert refusal(with_finding({"merged_into": "T1"})).problem.found == "a circle"
    assert refusal(with_finding({"merged_into": "N1"})).problem.found == "'N1', which is no target"


def test_codes_of_the_other_family_are_refused_with_its_name():
    def stated(code):
        return {
            "kind": "responses",
            "reference_date": "2024-01-01",
            "responses": [{"date": "2024-03-01", "overall": code}],
        }

    assert refusal(stated("SD"), ("irecist",)).problem.remedy == "write iRECIST's codes, or ask for recist-1.1"
    assert refusal(stated("zz"), ("irecist",)).problem.remedy == "correct it"
    assert refusal(stated("UPD")).problem.remedy == "correct it"
    assert refusal(stated("iUPD")).problem.remedy.endswith("ask for the criterion irecist")


def test_parameters_given_beside_hold_unless_the_document_states_its_own():
    long = {"treatment_start": "2024-02-15"}
    assert answer(GOOD, params=long)["issues"][0]["code"] == "W-BASELINE-AGE"
    assert answer({**GOOD, "params": {"treatment_start": "2024-01-02"}}, params=long)["issues"] == []


def test_several_criteria_stand_side_by_side_with_the_reason_they_disagree():
    document = copy.deepcopy(GOOD)
    for visit, hu in zip(document["visits"], (80, 60), strict=True):
        visit["measurements"] = {"T1": {"longest_diameter_mm": 30, "mean_hu": hu, "volume_mm3": 9000}}
    document["lesions"] = document["lesions"][::2]
    answered = answer(document, ("recist-1.1", "irecist", "choi", "inverse-choi"))
    assert [course["visits"][1]["overall"] for course in answered["criteria"]] == ["SD", "iSD", "PR", "SD"]
    (sentence,) = answered["disagreements"]
    assert sentence.startswith("V1: recist-1.1 SD (target SD: +0.0 % against baseline")
    assert "choi PR (target PR: size +0.0 % against baseline, density -25.0 %" in sentence


def test_criteria_that_agree_have_nothing_to_explain():
    assert answer(GOOD, ("recist-1.1", "irecist"))["disagreements"] == []


def test_an_unconfirmed_or_confirmed_progression_is_progression_all_the_same():
    document = with_finding({"longest_diameter_mm": 60})
    document["visits"].append({**document["visits"][1], "id": "V2", "date": "2024-05-01"})
    document["visits"][2]["measurements"] = {"T1": {"longest_diameter_mm": 70}, "T2": {"short_axis_mm": 12}}
    answered = answer(document, ("recist-1.1", "irecist"))
    assert [visit["overall"] for visit in answered["criteria"][1]["visits"]] == [None, "iUPD", "iCPD"]
    assert answered["disagreements"] == []


def test_a_criterion_without_targets_explains_itself_by_what_it_saw():
    bone = {"N1": {"modality": "CT", "findings": {"sclerotic_rim": True}}}
    answered = answer(with_visit(bone=bone, new_targets={}), ("mda-bone", "irecist"))
    assert answered["disagreements"] == []
    document = with_visit(bone={"N1": {"modality": "CT", "findings": {"lesion": "increased"}}})
    (sentence,) = answer(document, ("mda-bone", "recist-1.1"))["disagreements"]
    assert sentence.startswith("V1: mda-bone PD (N1 PD: lesion increased); recist-1.1 PR (target PR")


def test_dates_may_be_dates_where_the_document_is_not_text():
    document = with_visit(date=datetime.date(2024, 3, 1))
    assert answer(document)["visits"][1]["date"] == "2024-03-01"
    assert "YYYY-MM-DD" in refusal(with_visit(date=datetime.datetime(2024, 3, 1, tzinfo=datetime.UTC))).problem.remedy


def test_a_new_target_is_a_new_lesion_though_not_stated_again():
    document = with_visit(new_targets={"NL1": {"longest_diameter_mm": 12}})
    assert answer(document)["visits"][1]["overall"] == "PD"
    assert answer(document, ("irecist",))["visits"][1]["overall"] == "iUPD"


def test_every_kind_has_a_schema_and_every_criterion_an_answer():
    for model in DOCUMENTS.values():
        schema = model.model_json_schema()
        assert schema["additionalProperties"] is False
    full = {"longest_diameter_mm": 30, "perpendicular_diameter_mm": 20, "mean_hu": 60, "volume_mm3": 9000}
    visits = [
        {"id": name, "date": date, "measurements": {"T1": full}}
        for name, date in (("b", "2024-01-01"), ("V1", "2024-04-01"))
    ]
    document = {"kind": "timeline", "lesions": GOOD["lesions"][:1], "visits": visits}
    for name in CRITERIA:
        assert answer(document, (name,))["criterion"] == name


# Text


def test_numbers_keep_every_digit():
    text = '{"a": 0.1, "b": 123456789.123456789, "c": 30, "d": -1e2, "e": [true, null, "x\\u0000\\"y"]}'
    assert loads(text)["b"] == Decimal("123456789.123456789")
    assert (
        dumps(loads(text))
        == '{"a": 0.1, "b": 123456789.123456789, "c": 30, "d": -100, "e": [true, null, "x\\u0000\\"y"]}'
    )


def test_answers_are_json_for_any_reader():
    text = dumps(answer(loads(json.dumps(GOOD))))
    assert json.loads(text)["visits"][1]["sum_mm"] == 32


def test_decimals_of_the_document_come_back_unrounded():
    document = with_finding({"longest_diameter_mm": Decimal("20.123456789012345")})
    assert '"sum_mm": 32.123456789012345' in dumps(answer(document))


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "{'a': 1}", "[" * 100_000, "1" * 5000, '{"a": 1e}'])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ConfigurationError, match="no JSON"):
        loads(text)


def test_a_key_twice_is_refused():
    with pytest.raises(ConfigurationError, match="T2: found this key twice"):
        loads('{"measurements": {"T1": 1, "T2": 2, "T2": 3}}')


def test_lines_are_answered_in_order_and_a_bad_one_spoils_nothing():
    lines = [json.dumps(GOOD), "{", json.dumps(with_finding({"longest_diameter_mm": -1})), "", "[1]", json.dumps(GOOD)]
    answers = list(answer_lines(lines))
    assert [next(iter(answered)) for answered in answers] == ["criterion", "error", "error", "error", "criterion"]
    assert set(answers[1]["error"]) == {"code", "subject", "found", "expected", "remedy"}
    assert answers[2]["error"]["subject"] == "visits.V1.measurements.T1.longest_diameter_mm"


# Anything anywhere

JUNK = (None, True, -1, 1e308, float("nan"), "", "\0", "T1", "2024-01-01", [], {}, [[]], {"a": 1}, {"state": "absent"})
SEEDS = (
    GOOD,
    {"kind": "responses", "reference_date": "2024-01-01", "responses": [{"date": "2024-02-01", "overall": "PR"}]},
    {"kind": "components", "rows": [{"target": "CR", "non_target": "NE", "new_lesion": False}]},
    {"kind": "candidates", "candidates": [{"id": "A", "kind": "bone", "slice_mm": 5, "soft_tissue_mm": 12}]},
    {"kind": "scores", "rows": [{"score": "sins", "pain": "none"}, {"score": "genant", "height_loss_percent": 3}]},
)


def places(document, path=()):
    """Every part of a document, by its path."""
    inside = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inside:
        yield (*path, key)
        yield from places(value, (*path, key))


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_anything_in_place_of_any_part_is_answered_or_refused_in_one_line(number):
    for path in places(SEEDS[number]):
        for junk in JUNK:
            document = copy.deepcopy(SEEDS[number])
            inside = document
            for step in path[:-1]:
                inside = inside[step]
            inside[path[-1]] = junk
            try:
                assert json.loads(dumps(answer(document, ("recist-1.1", "choi"))))
            except ConfigurationError as refused:
                line, remedy = str(refused), refused.problem.remedy
                assert "\n" not in line, path
                assert remedy, path
