"""The measurements of a visit as a DICOM structured report: TID 1500, one measurement group per lesion.

Viewers read it two ways at once. The long and the short axis are lines on the
source image (SCOORD); every other number has a modifier, because viewers that
expect each number to have children fail at one that has none. For the same
reason the time point's numbers, its order and its days, carry the event they
are counted from.

Source: DICOM PS3.16 TID 1500, 1410, 1411, 1501 (groups), 1502 (time point), 320 (coordinates), 1600 (image
library), 4019 (algorithm); CID 6146 (time point types), 6147 (response criteria), 6143 to 6145 (responses).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import numpy as np

from imaging_pipeline import __version__
from imaging_pipeline.domain.case import Assessment, Case, Measurement, Outcome, Segmented, Sighting, Values, Visit
from imaging_pipeline.domain.codes import Code
from imaging_pipeline.domain.geometry import PointLps
from imaging_pipeline.domain.images import Series
from imaging_pipeline.domain.lesions import Lesion, Role
from imaging_pipeline.domain.quantities import CATALOGUE, HU, MG, MM, MM2, MM3, ONE, OWN_SCHEME, PERCENT
from imaging_pipeline.io.objects import (
    FINDINGS,
    LATERALITIES,
    PRODUCT,
    Source,
    Written,
    by_study,
    coded,
    derived_uid,
    outlined,
    reference,
    source_of,
    written,
)
from imaging_pipeline.io.part10 import Item
from imaging_pipeline.io.seg import Segmentation
from imaging_pipeline.io.tables import chosen, number

SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.88.34"

#: The two lines viewers draw; a line of another name would be taken for one of them.
LINES = ("longest_diameter", "short_axis")

UNITS = {
    MM: "millimeter",
    MM2: "square millimeter",
    MM3: "cubic millimeter",
    HU: "Hounsfield unit",
    ONE: "no units",
    PERCENT: "percent",
    MG: "milligram",
}


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def _own(value: str, meaning: str) -> Code:
    return Code(value, OWN_SCHEME, meaning)


TUMOR_STATE = _own("TUMSTATE", "Tumor State")
STATES = {
    Outcome.ABSENT: _dcm("121054", "Absent"),
    Outcome.NOT_EVALUABLE: Code("C62222", "NCIt", "Not Evaluable"),
    Outcome.NOT_IMAGED: _own("NOTIMAGED", "Not Imaged"),
}
BASELINE_CATEGORY = _dcm("112016", "Baseline Category")
CATEGORIES = {
    Role.TARGET: _dcm("112074", "Target Lesion at Baseline"),
    Role.NON_TARGET: _dcm("112075", "Non-Target Lesion at Baseline"),
    Role.NEW: _dcm("112076", "Non-Lesion at Baseline"),
}

_METHODS = {
    "recist-1.1": _dcm("126081", "RECIST 1.1"),
    "who": _dcm("112029", "WHO"),
    "irecist": _own("IRECIST", "iRECIST"),
    "choi": _own("CHOI", "Choi"),
    "modified-choi": _own("MODCHOI", "modified Choi"),
    "inverse-choi": _own("ICDS", "inverse Choi density and size"),
    "volumetric": _own("VOLUMETRIC", "volumetric response"),
    "mda-bone": _own("MDABONE", "MD Anderson bone response"),
}
_RESPONSES = {
    "CR": Code("C4870", "NCIt", "Complete Response"),
    "PR": Code("C18058", "NCIt", "Partial Response"),
    "SD": Code("C18213", "NCIt", "Stable Disease"),
    "PD": Code("C35571", "NCIt", "Progressive Disease"),
    "NE": Code("C62222", "NCIt", "Not Evaluable"),
}
_TARGETS = {
    "CR": _dcm("112041", "Target Lesion Complete Response"),
    "PR": _dcm("112042", "Target Lesion Partial Response"),
    "PD": _dcm("112043", "Target Lesion Progressive Disease"),
    "SD": _dcm("112044", "Target Lesion Stable Disease"),
}
_NON_TARGETS = {
    "CR": _dcm("112045", "Non-Target Lesion Complete Response"),
    "NON-CR/NON-PD": _dcm("112046", "Non-Target Lesion Incomplete Response or Stable Disease"),
    "PD": _dcm("112047", "Non-Target Lesion Progressive Disease"),
}
_PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
}
_IMAGING = Code("363679005", "SCT", "Imaging procedure")
_BASELINE = Code("C1442488", "UMLS", "Baseline")
_POSTTREATMENT = _dcm("126074", "Posttreatment")
_ENGLISH = Code("en", "RFC5646", "English")


@dataclass
class _Cited:
    """The objects a report speaks of, in the order they are first spoken of."""

    references: list[tuple[Series, Item]] = field(default_factory=list)
    images: dict[str, Item] = field(default_factory=dict)

    def image(self, series: Series, image: Item) -> None:
        """Cite an image of the source."""
        plain = reference(image["ReferencedSOPClassUID"], image["ReferencedSOPInstanceUID"])
        self.references.append((series, plain))
        self.images.setdefault(image["ReferencedSOPInstanceUID"], plain)

    def segmentation(self, segmentation: Segmentation) -> Item:
        """Cite a SEG."""
        plain = reference(segmentation.file.sop_class_uid, segmentation.file.sop_instance_uid)
        self.references.append((segmentation.file.series, plain))
        return plain


def structured_report(
    case: Case, values: Values, visit: Visit, segmentations: Sequence[Segmentation], patient_id: str = ""
) -> Written | None:
    """The report of a visit, its lines on the source images, its outlines in the SEGs; None when nothing was seen."""
    seen = [sighting for sighting in case.sightings if sighting.visit == visit.number]
    series = next((each.source.series for each in outlined(case, values, visit)), next(iter(visit.series), None))
    if not seen or series is None:
        return None
    cited = _Cited()
    writer = _Groups(case, visit, segmentations, cited, chosen(case.measurements))
    groups = [writer.group(sighting) for sighting in seen]
    content = _root(_content(case, visit, groups, cited, series))
    if cited.references:
        content["CurrentRequestedProcedureEvidenceSequence"] = by_study(cited.references)
    return written(
        case, visit, series, content, modality="SR", sop_class_uid=SOP_CLASS_UID, number=9500, patient_id=patient_id
    )


def _root(content: list[Item]) -> Item:
    scheme = {
        "CodingSchemeDesignator": OWN_SCHEME,
        "CodingSchemeUID": derived_uid(OWN_SCHEME),
        "CodingSchemeName": f"quantities and criteria of {PRODUCT}",
        "CodingSchemeResponsibleOrganization": PRODUCT,
    }
    return {
        "SeriesDescription": "Lesion measurements",
        "CodingSchemeIdentificationSequence": [scheme],
        "ReferencedPerformedProcedureStepSequence": [],
        "PerformedProcedureCodeSequence": [],
        "CompletionFlag": "COMPLETE",
        "VerificationFlag": "UNVERIFIED",
        "ValueType": "CONTAINER",
        "ConceptNameCodeSequence": coded(_dcm("126000", "Imaging Measurement Report")),
        "ContinuityOfContent": "SEPARATE",
        "ContentTemplateSequence": _template("1500"),
        "ContentSequence": content,
    }


def _content(case: Case, visit: Visit, groups: list[Item], cited: _Cited, series: Series) -> list[Item]:
    """The children of the root, in the order TID 1500 gives them."""
    judged = [assessment for assessment in case.assessments if assessment.visit == visit.number]
    procedure = _PROCEDURES.get(series.modality, _IMAGING)
    parts = [
        _code("HAS CONCEPT MOD", _dcm("121049", "Language of Content Item and Descendants"), _ENGLISH),
        _code("HAS OBS CONTEXT", _dcm("121005", "Observer Type"), _dcm("121007", "Device")),
        _uid("HAS OBS CONTEXT", _dcm("121012", "Device Observer UID"), derived_uid(PRODUCT, __version__)),
        _text("HAS OBS CONTEXT", _dcm("121013", "Device Observer Name"), PRODUCT),
        _text("HAS OBS CONTEXT", _dcm("121015", "Device Observer Model Name"), f"{PRODUCT} {__version__}"),
        _code("HAS CONCEPT MOD", _dcm("121058", "Procedure reported"), procedure),
    ]
    if cited.images:
        library = [_item("CONTAINS", "IMAGE", None, ReferencedSOPSequence=[image]) for image in cited.images.values()]
        group = _container(_dcm("126200", "Image Library Group"), library)
        parts.append(_container(_dcm("111028", "Image Library"), [group], "1600"))
    parts.append(_container(_dcm("126010", "Imaging Measurements"), groups))
    sums = [_sum(each) for each in judged if each.sum_mm is not None]
    if sums:
        parts.append(_container(_dcm("126011", "Derived Imaging Measurements"), sums))
    evaluations = [answer for each in judged for answer in _responses(each)]
    if evaluations:
        parts.append(_container(Code("C0034375", "UMLS", "Qualitative Evaluations"), evaluations))
    return parts


@dataclass(frozen=True)
class _Groups:
    """Writes the measurement groups of one visit."""

    case: Case
    visit: Visit
    segmentations: Sequence[Segmentation]
    cited: _Cited
    numbers: Mapping[tuple[str, int, str], Measurement]

    def group(self, sighting: Sighting) -> Item:
        """One lesion: whose it is, when, what it is, where its outline lies, and its numbers."""
        lesion = next(each for each in self.case.lesions if each.lesion_id == sighting.lesion_id)
        outline = self._outline(lesion)
        content = [
            _text("HAS OBS CONTEXT", _dcm("112039", "Tracking Identifier"), lesion.lesion_id),
            _uid("HAS OBS CONTEXT", _dcm("112040", "Tracking Unique Identifier"), lesion.tracking_uid),
            *_time_point(self.case, self.visit),
            _code("CONTAINS", _dcm("121071", "Finding"), FINDINGS[lesion.kind]),
            *outline,
            *_site(lesion),
            *(self._number(each) for each in self._measurements(lesion, sighting.series_uid)),
            *_state(lesion, sighting),
        ]
        return _container(_dcm("125007", "Measurement Group"), content, "1411" if outline else "1501")

    def _measurements(self, lesion: Lesion, series_uid: str) -> list[Measurement]:
        """The numbers of a group, all from the image of its outline."""
        names = (name for name, quantity in CATALOGUE.items() if quantity.code is not None)
        found = (self.numbers.get((lesion.lesion_id, self.visit.number, name)) for name in names)
        return [each for each in found if each is not None and each.series_uid in ("", series_uid)]

    def _outline(self, lesion: Lesion) -> list[Item]:
        for segmentation in self.segmentations:
            if lesion.lesion_id in segmentation.segments:
                cited = self.cited.segmentation(segmentation)
                segment = {**cited, "ReferencedSegmentNumber": segmentation.segments[lesion.lesion_id]}
                series_uid = segmentation.series.series_instance_uid
                return [
                    _item("CONTAINS", "IMAGE", _dcm("121191", "Referenced Segment"), ReferencedSOPSequence=[segment]),
                    _uid("CONTAINS", _dcm("121232", "Source series for segmentation"), series_uid),
                ]
        return []

    def _number(self, measurement: Measurement) -> Item:
        quantity = CATALOGUE[measurement.quantity]
        assert quantity.code is not None
        children = self._lines(measurement) if quantity.name in LINES else []
        if not children:
            derivation = quantity.derivation
            children = [_code("HAS CONCEPT MOD", _dcm("121401", "Derivation"), derivation)] if derivation else []
            children += _algorithm(measurement)
        return _num(quantity.code, number(measurement.value, quantity.name), quantity.unit, children)

    def _lines(self, measurement: Measurement) -> list[Item]:
        """The line a number was taken from, if there is one and it has a place."""
        ends = getattr(measurement.evidence, "points_lps", ())
        if len(ends) != 2:
            return []
        source = source_of(self.case, self.visit, measurement.series_uid, ends)
        return [] if source is None or source.series.grid is None else [self._line(ends, source)]

    def _line(self, ends: Sequence[PointLps], source: Source) -> Item:
        """A line on the slice it lies in, or in space where no one image shows it."""
        grid = source.series.grid
        assert grid is not None
        index = grid.to_index(ends)
        slice_index = round(float(index[:, 0].mean()))
        image = source.image(slice_index) if np.abs(index[:, 0] - slice_index).max() < 0.5 else None
        if image is None:
            return _item(
                "INFERRED FROM",
                "SCOORD3D",
                None,
                GraphicType="POLYLINE",
                GraphicData=[float(length) for end in ends for length in end],
                ReferencedFrameOfReferenceUID=source.frame_of_reference_uid,
            )
        self.cited.image(source.series, image)
        # The corner of the first pixel is 0\0, its centre 0.5\0.5.
        points = index[:, [2, 1]] + 0.5
        shown = _item("SELECTED FROM", "IMAGE", None, ReferencedSOPSequence=[image])
        return _item(
            "INFERRED FROM",
            "SCOORD",
            None,
            GraphicType="POLYLINE",
            GraphicData=[float(number) for number in points.ravel()],
            ContentSequence=[shown],
        )


def _time_point(case: Case, visit: Visit) -> list[Item]:
    kind = _POSTTREATMENT if visit.number else _BASELINE
    parts = [
        _text("HAS OBS CONTEXT", Code("C2348792", "UMLS", "Time Point"), visit.label),
        _code("HAS OBS CONTEXT", _dcm("126072", "Time Point Type"), kind),
        _since_baseline(_dcm("126073", "Time Point Order"), visit.number, ONE),
        _text("HAS OBS CONTEXT", _dcm("126070", "Subject Time Point Identifier"), str(visit.number)),
    ]
    first = case.visits[0].date
    if first and visit.date:
        days = (date.fromisoformat(visit.date) - date.fromisoformat(first)).days
        parts.append(_since_baseline(_dcm("128740", "Longitudinal Temporal Offset from Event"), days, "d"))
    return parts


def _since_baseline(name: Code, count: int, unit: str) -> Item:
    event = _code("HAS CONCEPT MOD", _dcm("128741", "Longitudinal Temporal Event Type"), _dcm("121079", "Baseline"))
    return {**_num(name, str(count), unit, [event]), "RelationshipType": "HAS OBS CONTEXT"}


def _site(lesion: Lesion) -> list[Item]:
    if lesion.place is None:
        return []
    site = _code("HAS CONCEPT MOD", Code("363698007", "SCT", "Finding Site"), lesion.place)
    if lesion.laterality:
        side = LATERALITIES[lesion.laterality]
        site["ContentSequence"] = [_code("HAS CONCEPT MOD", Code("272741003", "SCT", "Laterality"), side)]
    return [site]


def _state(lesion: Lesion, sighting: Sighting) -> list[Item]:
    """Its part in the response, and what became of looking for it where there is no number."""
    category, state = CATEGORIES.get(lesion.role), STATES.get(sighting.outcome)
    told = [_code("CONTAINS", BASELINE_CATEGORY, category)] if category else []
    return [*told, _code("CONTAINS", TUMOR_STATE, state)] if state else told


def _algorithm(measurement: Measurement) -> list[Item]:
    name = PRODUCT if isinstance(measurement.evidence, Segmented) else f"{PRODUCT}, {measurement.evidence.kind}"
    return [
        _text("HAS CONCEPT MOD", _dcm("111001", "Algorithm Name"), name),
        _text("HAS CONCEPT MOD", _dcm("111003", "Algorithm Version"), __version__),
    ]


def _sum(assessment: Assessment) -> Item:
    assert assessment.sum_mm is not None
    value = format(Decimal(assessment.sum_mm), "f")
    return _num(_own("SUMDIAM", "Sum of Diameters"), value, MM, [_method(assessment)])


def _responses(assessment: Assessment) -> Iterable[Item]:
    answers: tuple[tuple[Code, str, Mapping[str, Code]], ...] = (
        (_dcm("112048", "Current Response"), assessment.overall, _RESPONSES),
        (_own("TRGRESP", "Target Response"), assessment.target, _TARGETS),
        (_own("NTRGRESP", "Non-target Response"), assessment.non_target, _NON_TARGETS),
        (_own("NEWLPROG", "New Lesion Progression"), _new_lesion(assessment), {}),
        (_dcm("112049", "Best Overall Response"), assessment.best_overall_response, _RESPONSES),
    )
    for concept, answer, codes in answers:
        if answer:
            code = codes.get(answer) or _own(answer.upper()[:16], answer)
            response = _code("CONTAINS", concept, code)
            response["ContentSequence"] = [_method(assessment)]
            yield response


def _new_lesion(assessment: Assessment) -> str:
    return "" if assessment.new_lesion == "no" else assessment.new_lesion


def _method(assessment: Assessment) -> Item:
    name = assessment.criterion
    method = _METHODS.get(name) or _own(name.upper()[:16], name)
    return _code("HAS CONCEPT MOD", _dcm("112021", "Response Evaluation Method"), method)


# ---- Content items


def _item(relationship: str, value_type: str, name: Code | None, **values: object) -> Item:
    named = {} if name is None else {"ConceptNameCodeSequence": coded(name)}
    return {"RelationshipType": relationship, "ValueType": value_type, **named, **values}


def _container(name: Code, content: list[Item], template: str = "") -> Item:
    container = _item("CONTAINS", "CONTAINER", name, ContinuityOfContent="SEPARATE", ContentSequence=content)
    if template:
        container["ContentTemplateSequence"] = _template(template)
    return container


def _template(identifier: str) -> list[Item]:
    return [{"MappingResource": "DCMR", "TemplateIdentifier": identifier}]


def _code(relationship: str, name: Code, value: Code) -> Item:
    return _item(relationship, "CODE", name, ConceptCodeSequence=coded(value))


def _text(relationship: str, name: Code, value: str) -> Item:
    return _item(relationship, "TEXT", name, TextValue=value)


def _uid(relationship: str, name: Code, value: str) -> Item:
    return _item(relationship, "UIDREF", name, UID=value)


def _num(name: Code, value: str, unit: str, children: list[Item]) -> Item:
    units = coded(Code(unit, "UCUM", UNITS.get(unit, unit)))
    measured = {"NumericValue": value, "MeasurementUnitsCodeSequence": units}
    return _item("CONTAINS", "NUM", name, MeasuredValueSequence=[measured], ContentSequence=children)
