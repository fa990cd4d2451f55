"""A case as SDTM: datasets to the letter of their formats, equal to every reader, judged again to the same answers."""

import json
import re
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from xml.etree import ElementTree

import numpy as np
import pyreadstat
import pytest

from imaging_pipeline.config import Config, ExportConfig, ReaderConfig
from imaging_pipeline.corrections import signature
from imaging_pipeline.criteria.documents import answer
from imaging_pipeline.domain.case import Edited, Measurement, Review, Sighting
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.lesions import Kind, Lesion, Role
from imaging_pipeline.domain.quantities import CATALOGUE
from imaging_pipeline.io import cdisc
from imaging_pipeline.io.cdisc import datasets
from imaging_pipeline.io.datasets import Column, dataset_of
from imaging_pipeline.io.exports import export_sdtm
from imaging_pipeline.io.tables import chosen, number
from imaging_pipeline.io.terminology import TERMINOLOGY
from imaging_pipeline.io.xpt import ascii_text, ibm_float, xpt
from tests.io.cases import HOSTILE
from tests.io.exported import by_hand, mini

TRIAL = ExportConfig(study_id="MPNST01")


def tables(case, trial=TRIAL):
    """Rows as mappings, by dataset."""
    return {
        table.name: [dict(zip([column.name for column in table.columns], row, strict=True)) for row in table.rows]
        for table in datasets(case, trial)
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdtm")
    export_sdtm(*mini(), folder, Config(trial=TRIAL))
    return folder / "sdtm"


# ---- Dataset-JSON 1.1


REQUIRED = ("datasetJSONCreationDateTime", "datasetJSONVersion", "itemGroupOID", "records", "name", "label", "columns")
ORDER = (
    "datasetJSONCreationDateTime",
    "datasetJSONVersion",
    "fileOID",
    "dbLastModifiedDateTime",
    "originator",
    "sourceSystem",
    "studyOID",
    "metaDataVersionOID",
    "metaDataRef",
    "itemGroupOID",
    "records",
    "name",
    "label",
    "columns",
    "rows",
)
TYPES = {"string": str, "integer": int, "decimal": str}


def test_dataset_json_states_all_that_is_required_in_order(written):
    paths = sorted(written.glob("*.json"))
    assert [path.stem for path in paths] == ["left_out", "relrec", "rs", "supptu", "tr", "tu"]
    for path in paths[1:]:
        document = json.loads(path.read_text())
        assert set(REQUIRED) <= set(document) <= set(ORDER)
        assert list(document) == [name for name in ORDER if name in document]
        assert re.fullmatch(r"1\.1(\.\d+)?", document["datasetJSONVersion"])
        assert datetime.fromisoformat(document["datasetJSONCreationDateTime"])
        assert set(document["sourceSystem"]) == {"name", "version"}
        assert document["name"] == path.stem.upper()
        assert document["records"] == len(document["rows"])


def test_columns_and_values_agree_in_number_and_type(written):
    for path in sorted(written.glob("t?.json")):
        document = json.loads(path.read_text())
        columns = document["columns"]
        assert all({"itemOID", "name", "label", "dataType"} <= set(column) for column in columns)
        keys = sorted(column["keySequence"] for column in columns if "keySequence" in column)
        assert keys == list(range(1, len(keys) + 1))
        for row in document["rows"]:
            assert len(row) == len(columns)
            for value, column in zip(row, columns, strict=True):
                assert value is None or type(value) is TYPES[column["dataType"]]
                assert value is None or column["dataType"] != "string" or len(value) <= column["length"]
                if column["dataType"] == "decimal":
                    assert column["targetDataType"] == "decimal"
                    assert value is None or Decimal(value).is_finite()


# ---- Transport files


def test_transport_files_hold_the_same_values(written):
    for path in sorted(written.glob("*.xpt")):
        frame, meta = pyreadstat.read_xport(str(path))
        document = json.loads(path.with_suffix(".json").read_text())
        assert meta.table_name == document["name"]
        assert meta.file_label == document["label"][:40]
        assert meta.column_names_to_labels == {column["name"]: column["label"] for column in document["columns"]}
        for place, column in enumerate(document["columns"]):
            ours = [row[place] for row in document["rows"]]
            theirs = frame[column["name"]]
            if column["dataType"] == "string":
                assert list(theirs) == [value or "" for value in ours]
            else:
                expected = np.array([np.nan if value is None else float(value) for value in ours])
                assert np.array_equal(theirs.to_numpy(dtype=float), expected, equal_nan=True)


def test_names_labels_and_texts_keep_to_the_limits(written):
    for path in sorted(written.glob("*.xpt")):
        assert len(path.read_bytes()) % 80 == 0
        frame, meta = pyreadstat.read_xport(str(path))
        assert path.stem == path.stem.lower()
        assert len(path.stem) <= 8
        for name, label in meta.column_names_to_labels.items():
            assert re.fullmatch(r"[A-Z][A-Z0-9]{0,7}", name)
            assert 0 < len(label.encode()) <= 40
        for name in frame.columns:
            texts = [value for value in frame[name] if isinstance(value, str)]
            assert all(len(value) <= 200 and value.isascii() for value in texts)
            if name.endswith("TESTCD"):
                assert all(re.fullmatch(r"[A-Z][A-Z0-9]{0,7}", value) for value in texts)
            if name.endswith("TEST"):
                assert all(len(value) <= 40 for value in texts)


def test_hostile_texts_leave_as_plain_ascii(tmp_path):
    export_sdtm(*by_hand(hostile=HOSTILE), tmp_path, Config(trial=TRIAL))
    frame, _ = pyreadstat.read_xport(str(tmp_path / "sdtm" / "tu.xpt"))
    assert len(frame) == 3
    assert all(value.isascii() for value in frame["TUSPID"])
    assert ascii_text("Größe µm 5") == "Große µm 5".replace("ß", "?").replace("µ", "?")


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 0.1, 28.07, 1e-10, 123456.789, -4768.0, 2**53 - 1, 16.0**20])
def test_numbers_survive_the_mainframe(tmp_path, value):
    table = dataset_of(
        "X", "One number", (Column("N", "Number", "decimal"),), ("N",), [{"N": Decimal(repr(value))}, {}]
    )
    path = tmp_path / "x.xpt"
    path.write_bytes(xpt(table, datetime(2024, 2, 20)))  # noqa: DTZ001 - the format knows no zone
    frame, _ = pyreadstat.read_xport(str(path))
    assert frame["N"][0] == value
    assert np.isnan(frame["N"][1])


def test_the_published_example_of_the_format():
    # TS-140: 1 is 0x4110000000000000, -1 0xC110000000000000, 0 all zero.
    assert ibm_float(1.0).hex() == "4110000000000000"
    assert ibm_float(-1.0).hex() == "c110000000000000"
    assert ibm_float(0.0) == bytes(8)


# ---- define.xml 2.1


NAMES = {"odm": "http://www.cdisc.org/ns/odm/v1.3", "def": "http://www.cdisc.org/ns/def/v2.1"}


def test_define_xml_describes_every_variable_of_every_dataset(written):
    metadata = ElementTree.parse(written / "define.xml").getroot().find("odm:Study/odm:MetaDataVersion", NAMES)
    assert metadata.get(f"{{{NAMES['def']}}}DefineVersion") == "2.1.0"
    items = {item.get("OID"): item for item in metadata.findall("odm:ItemDef", NAMES)}
    lists = {listed.get("OID") for listed in metadata.findall("odm:CodeList", NAMES)}
    comments = {comment.get("OID") for comment in metadata.findall("def:CommentDef", NAMES)}
    referenced = set()
    for group in metadata.findall("odm:ItemGroupDef", NAMES):
        document = json.loads((written / f"{group.get('Name').lower()}.json").read_text())
        references = [reference.get("ItemOID") for reference in group.findall("odm:ItemRef", NAMES)]
        assert references == [column["itemOID"] for column in document["columns"]]
        assert group.get("OID") == document["itemGroupOID"]
        (leaf,) = group.findall("def:leaf", NAMES)
        assert (written / leaf.get("{http://www.w3.org/1999/xlink}href")).exists()
        assert group.get(f"{{{NAMES['def']}}}CommentOID", "COM.OWN") in comments
        referenced |= set(references)
    assert referenced == set(items)
    for item in items.values():
        reference = item.find("odm:CodeListRef", NAMES)
        assert reference is None or reference.get("CodeListOID") in lists
        assert item.find("def:Origin", NAMES) is not None


def test_terms_of_our_own_are_declared_as_extensions(written):
    metadata = ElementTree.parse(written / "define.xml").getroot().find("odm:Study/odm:MetaDataVersion", NAMES)
    (listed,) = [each for each in metadata.findall("odm:CodeList", NAMES) if each.get("OID") == "CL.TRTESTCD"]
    extended = {
        item.get("CodedValue")
        for item in listed.findall("odm:CodeListItem", NAMES)
        if item.get(f"{{{NAMES['def']}}}ExtendedValue") == "Yes"
    }
    used = {row["TRTESTCD"] for row in tables(mini()[0])["TR"]}
    assert extended == used - set(TERMINOLOGY["TRTESTCD"][1])
    assert "DENSMEAN" in extended
    assert "LDIAM" not in extended


# ---- What the rows say


def test_every_quantity_has_a_test_code_of_its_own():
    codes = [quantity.cdisc for quantity in CATALOGUE.values()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9]{1,7}", code) and 0 < len(cdisc.name_of_test(code)) <= 40 for code in codes)


def test_one_identification_per_lesion_and_every_number_as_printed():
    case, _ = mini()
    found = tables(case)
    assert [(row["TUSPID"], row["TULNKID"], row["TUORRES"]) for row in found["TU"]] == [
        ("L4", "NT01", "NON-TARGET"),
        ("AX", "T01", "TARGET"),
        ("T4", "NT02", "NON-TARGET"),
        ("RIB1", "NT03", "NON-TARGET"),
        ("ILIUM", "NT04", "NON-TARGET"),
    ]
    names = {quantity.cdisc: name for name, quantity in CATALOGUE.items()}
    stated = {
        (row["TRSPID"], row["VISITNUM"] - 1, names[row["TRTESTCD"]]): row["TRSTRESC"]
        for row in found["TR"]
        if row["TRTESTCD"] in names
    }
    assert stated == {key: number(each.value, key[2]) for key, each in chosen(case.measurements).items()}
    assert all(row["TRSTRESN"] is None or Decimal(row["TRSTRESC"]) == row["TRSTRESN"] for row in found["TR"])


def test_records_are_related():
    found = tables(mini()[0])
    assert {row["TRLNKID"] for row in found["TR"]} - {None} == {row["TULNKID"] for row in found["TU"]}
    overall = {row["RSLNKGRP"] for row in found["RS"] if row["RSTESTCD"] == "OVRLRESP"} - {None}
    assert overall == {"A2", "A3"} <= {row["TRLNKGRP"] for row in found["TR"]}
    related = [(row["RDOMAIN"], row["IDVAR"], row["RELTYPE"], row["RELID"]) for row in found["RELREC"]]
    assert related[:2] == [("TU", "TULNKID", "ONE", "TUTR"), ("TR", "TRLNKID", "MANY", "TUTR")]
    assert related[2:] == [("TR", "TRLNKGRP", "MANY", "TRRS"), ("RS", "RSLNKGRP", "ONE", "TRRS")]
    uids = {row["QVAL"] for row in found["SUPPTU"] if row["QNAM"] == "TUTRKUID"}
    assert uids == {lesion.tracking_uid for lesion in mini()[0].lesions}


def test_one_response_a_visit_is_related_to_its_results():
    found = tables(mini()[0])
    linked = [(row["RSLNKGRP"], row["RSCAT"], row["RSTESTCD"]) for row in found["RS"] if row["RSLNKGRP"]]
    assert sum(row["RSTESTCD"] == "OVRLRESP" for row in found["RS"]) > len(linked)
    assert linked == [("A2", "RECIST 1.1", "OVRLRESP"), ("A3", "RECIST 1.1", "OVRLRESP")]


def test_nothing_counts_as_accepted_before_a_reader_signs_the_visit():
    case, _ = mini()
    signed = Review("reader A", "2023-10-19", "sign", 1, signature(case.measurements, 1), "")
    stale = replace(signed, visit=2)

    def accepted(reviews):
        found = tables(replace(case, reviews=reviews))
        return {row["VISITNUM"] for name in ("TU", "TR", "RS") for row in found[name] if row[f"{name}ACPTFL"]}

    assert accepted(()) == set()
    assert accepted((signed, stale)) == {2}


def test_a_lesion_that_was_not_measured_is_absent_or_not_done():
    case, _ = by_hand()
    rows = [row for row in tables(case)["TR"] if row["TRSPID"] == "R1"]
    assert [(row["TRTESTCD"], row["TRSTRESC"], row["TRSTAT"], row["TRREASND"]) for row in rows] == [
        ("TUMSTATE", None, "NOT DONE", "NOT IMAGED"),
        ("TUMSTATE", "ABSENT", None, None),
        ("TUMSTATE", None, "NOT DONE", "NOT EVALUABLE"),
    ]


def test_a_lesion_too_small_to_measure_counts_five_millimetres():
    case, _ = by_hand()
    small = [
        replace(each, value=5.0, flags=("too_small",))
        if (each.lesion_id, each.visit, each.quantity) == ("AX", 2, "longest_diameter")
        else each
        for each in case.measurements
    ]
    rows = tables(replace(case, measurements=tuple(small)))["TR"]
    (row,) = [row for row in rows if row["TRORRES"] == "TOO SMALL TO MEASURE"]
    assert (row["TRTESTCD"], row["TRSTRESC"], row["TRSTRESN"], row["VISITNUM"]) == ("LDIAM", "5.00", Decimal("5.00"), 3)


def with_lesion(case, lesion, visit):
    sighting = replace(case.sightings[3 + visit], lesion_id=lesion.lesion_id, visit=visit)
    return replace(case, lesions=(*case.lesions, lesion), sightings=(*case.sightings, sighting))


def test_the_parts_of_a_split_lesion_bear_their_parents_name():
    case, _ = by_hand()
    for part in ("AX.1", "AX.2"):
        case = with_lesion(case, Lesion(part, f"2.25.9{part[-1]}", "a part", Kind.SOFT_TISSUE, Role.TARGET), 2)
    rows = {row["TUSPID"]: row for row in tables(case)["TU"]}
    assert (rows["AX"]["TULNKID"], rows["AX"]["TUTESTCD"]) == ("T01", "TUMIDENT")
    for part in ("1", "2"):
        row = rows[f"AX.{part}"]
        assert (row["TULNKID"], row["TUGRPID"], row["TUTESTCD"]) == (f"T01.{part}", "T01", "TUSPLIT")


def test_a_reader_who_finds_two_lesions_merged_is_recorded():
    case, _ = by_hand()
    act = Review("B. Reader", "2024-02-21T10:00:00", "accept", 2, "", "", lesion_id="AX", finding="merged")
    rows = [row for row in tables(replace(case, reviews=(act,)))["TU"] if row["TUSPID"] == "AX"]
    assert [(row["TUTESTCD"], row["VISITNUM"], row["TULNKID"]) for row in rows] == [
        ("TUMIDENT", 1, "T01"),
        ("TUMERGE", 3, "T01"),
    ]


def test_a_new_lesion_is_named_new_and_how_sure_it_is():
    case, _ = by_hand()
    case = with_lesion(case, Lesion("N", "2.25.99", "a new one", Kind.SOFT_TISSUE, Role.NEW), 2)
    found = tables(case)
    (identified,) = [row for row in found["TU"] if row["TUSPID"] == "N"]
    assert (identified["TULNKID"], identified["TUORRES"], identified["VISITNUM"]) == ("NEW01", "NEW", 3)
    (state,) = [row for row in found["TR"] if row["TRSPID"] == "N"]
    assert (state["TRTESTCD"], state["TRSTRESC"]) == ("TUMSTATE", "EQUIVOCAL")
    assert [row["RSSTRESC"] for row in found["RS"] if row["RSTESTCD"] == "NEWLPROG"] == ["EQUIVOCAL"]


def test_study_days_count_from_the_trials_reference_date_and_know_no_day_0():
    case, _ = by_hand()
    trial = TRIAL.model_copy(update={"reference_start_dates": {case.case: date(2023, 5, 29)}})
    rows = tables(case, trial)["TR"]
    assert sorted({(row["VISITNUM"], row["TRDY"], row["TRLOBXFL"]) for row in rows}) == [
        (1, -1, "Y"),
        (2, 143, None),
        (3, 268, None),
    ]
    trial = TRIAL.model_copy(update={"reference_start_dates": {case.case: date(2023, 5, 28)}})
    assert {row["TRDY"] for row in tables(case, trial)["TR"] if row["VISITNUM"] == 1} == {1}
    assert {row["TRDY"] for row in tables(case)["TR"]} == {None}


def test_two_readers_bear_the_names_the_trial_gives_them():
    case, _ = by_hand()
    acts = [Review(f"reader {name}", "2023-05-30", "adjust", 0, "", "", lesion_id="AX") for name in "AB"]
    edits = [
        Measurement("AX", 0, "longest_diameter", value, "mm", Edited("", digest(act)), modality="CT")
        for act, value in zip(acts, (51.5, 53.0), strict=True)
    ]
    trial = TRIAL.model_copy(
        update={
            "readers": {
                "reader A": ReaderConfig(evaluator_id="RADIOLOGIST 1", prefix="R1"),
                "reader B": ReaderConfig(evaluator_id="RADIOLOGIST 2", prefix="R2"),
            }
        }
    )
    measurements = (*edits, *case.measurements)
    signed = Review("reader A", "2023-05-31", "sign", 0, signature(measurements, 0), "")
    read = replace(case, measurements=measurements, reviews=(*acts, signed))
    found = tables(read, trial)
    rows = [row for row in found["TR"] if (row["TRTESTCD"], row["TRSPID"], row["VISITNUM"]) == ("LDIAM", "AX", 1)]
    assert sorted((row["TREVALID"], row["TRLNKID"], row["TRSTRESC"], row["TRACPTFL"]) for row in rows) == [
        ("IMAGING_PIPELINE", "T01", "52.00", None),
        ("RADIOLOGIST 1", "R1-T01", "51.50", "Y"),
        ("RADIOLOGIST 2", "R2-T01", "53.00", None),
    ]
    assert {row["TULNKID"] for row in found["TU"] if row["TUSPID"] == "AX"} == {"T01", "R1-T01", "R2-T01"}


def test_stated_values_are_left_out_by_name(written):
    left = json.loads((written / "left_out.json").read_text())
    stated = {
        f"{each.lesion_id}/{each.quantity}" for each in mini()[0].measurements if each.evidence.kind == "reported"
    }
    assert {problem["subject"].partition(" ")[0] for problem in left[:-1]} == stated
    assert {problem["code"] for problem in left} == {"N-EXPORT-LEFT-OUT"}


def test_equal_cases_give_equal_bytes(tmp_path):
    for name in ("first", "again"):
        export_sdtm(*by_hand(), tmp_path / name, Config(trial=TRIAL))
    for path in (tmp_path / "first" / "sdtm").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / "sdtm" / path.name).read_bytes()


def test_the_responses_are_those_the_criteria_give_for_the_results():
    """TR and TU alone, judged again, give the OVRLRESP that RS states."""
    found = tables(mini()[0])
    roles = {row["TULNKID"]: "target" if row["TUORRES"] == "TARGET" else "non_target" for row in found["TU"]}
    lesions = [{"id": link, "role": role, "organ": "any", "node": False} for link, role in roles.items()]
    visits = {}
    for row in found["TR"]:
        empty = {"id": str(row["VISITNUM"]), "date": row["TRDTC"], "measurements": {}, "non_targets": {}}
        visit = visits.setdefault(row["VISITNUM"], empty)
        if row["TRTESTCD"] == "TUMSTATE":
            visit["non_targets"][row["TRLNKID"]] = row["TRSTRESC"].lower()
        elif row["TRTESTCD"] == "LDIAM" and roles[row["TRLNKID"]] == "target":
            visit["measurements"][row["TRLNKID"]] = {"longest_diameter_mm": float(row["TRSTRESN"])}
    judged = answer({"kind": "timeline", "lesions": lesions, "visits": [visits[key] for key in sorted(visits)]})
    stated = {
        row["VISITNUM"]: row["RSSTRESC"]
        for row in found["RS"]
        if (row["RSTESTCD"], row["RSCAT"]) == ("OVRLRESP", "RECIST 1.1")
    }
    assert {int(visit["id"]): visit["overall"] for visit in judged["visits"] if int(visit["id"]) > 1} == stated


def test_a_sighting_is_a_row_for_every_lesion_and_visit():
    case, _ = mini()
    seen = {(row["TRSPID"], row["VISITNUM"] - 1) for row in tables(case)["TR"]} - {(None, 0), (None, 1), (None, 2)}
    assert seen == {(each.lesion_id, each.visit) for each in case.sightings if isinstance(each, Sighting)}
