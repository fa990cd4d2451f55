"""The description of a trial's datasets: define.xml 2.1.

Source: CDISC Define-XML 2.1 (ODM 1.3.2 with the def extension).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from xml.etree import ElementTree as Tree

from imaging_pipeline.io.datasets import Column, Dataset, item_oid
from imaging_pipeline.io.terminology import TERMINOLOGY

_ODM = "http://www.cdisc.org/ns/odm/v1.3"
_DEF = "http://www.cdisc.org/ns/def/v2.1"
_XLINK = "http://www.w3.org/1999/xlink"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"

_CLASSES = {"RELREC": "RELATIONSHIP", "SUPPTU": "RELATIONSHIP"}
_STRUCTURES = {
    "TU": "One record per identified lesion per evaluator",
    "TR": "One record per assessment per lesion per visit per evaluator",
    "RS": "One record per response assessment per visit per criterion per evaluator",
    "RELREC": "One record per related dataset",
    "SUPPTU": "One record per supplemental qualifier per identification record",
}
_TYPES = {"string": "text", "integer": "integer", "decimal": "float"}

#: Said once of what a reviewer would otherwise ask about.
_COMMENTS = {
    "COM.SUMDIAM": "SUMDIAM is supplied by the assessing system, not derived by the sponsor.",
    "COM.OWN": "Terms that extend a codelist are the assessing system's own quantities.",
}


def define_xml(datasets: Sequence[Dataset], study_id: str, made: str) -> bytes:
    """The metadata of datasets that lie beside it as transport files."""
    for prefix, uri in (("", _ODM), ("def", _DEF), ("xlink", _XLINK)):
        Tree.register_namespace(prefix, uri)
    root = Tree.Element(
        _odm("ODM"),
        {
            "FileType": "Snapshot",
            "FileOID": f"DEFINE.{study_id}",
            "ODMVersion": "1.3.2",
            "CreationDateTime": made,
            _def("Context"): "Other",
        },
    )
    study = _child(root, _odm("Study"), OID=f"STUDY.{study_id}")
    names = _child(study, _odm("GlobalVariables"))
    for tag, text in (("StudyName", study_id), ("StudyDescription", study_id), ("ProtocolName", study_id)):
        _child(names, _odm(tag)).text = text
    metadata = _child(study, _odm("MetaDataVersion"), OID=f"MDV.{study_id}", Name=f"{study_id}, tumour assessments")
    metadata.set(_def("DefineVersion"), "2.1.0")
    _standards(metadata)
    for dataset in datasets:
        _dataset(metadata, dataset)
    for dataset in datasets:
        for column in dataset.columns:
            _variable(metadata, dataset, column)
    for dataset in datasets:
        _codelists(metadata, dataset)
    for oid, text in _COMMENTS.items():
        _described(_child(metadata, _def("CommentDef"), OID=oid), text)
    Tree.indent(root)
    content: bytes = Tree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _odm(tag: str) -> str:
    return f"{{{_ODM}}}{tag}"


def _def(tag: str) -> str:
    return f"{{{_DEF}}}{tag}"


def _child(parent: Tree.Element, tag: str, **attributes: str) -> Tree.Element:
    return Tree.SubElement(parent, tag, attributes)


def _described(parent: Tree.Element, text: str) -> None:
    description = _child(parent, _odm("Description"))
    translated = Tree.SubElement(description, _odm("TranslatedText"), {_LANGUAGE: "en"})
    translated.text = text


def _standards(metadata: Tree.Element) -> None:
    standards = _child(metadata, _def("Standards"))
    for oid, name, kind, version in (
        ("STD.SDTMIG", "SDTMIG", "IG", "3.4"),
        ("STD.CT", "CDISC/NCI", "CT", "2024-03-29"),
    ):
        standard = _child(standards, _def("Standard"), OID=oid, Name=name, Type=kind, Version=version, Status="Final")
        if kind == "CT":
            standard.set("PublishingSet", "SDTM")


def _dataset(metadata: Tree.Element, dataset: Dataset) -> None:
    name = dataset.name
    group = _child(
        metadata,
        _odm("ItemGroupDef"),
        OID=f"IG.{name}",
        Domain=name.removeprefix("SUPP"),
        Name=name,
        Repeating="Yes",
        IsReferenceData="No",
        SASDatasetName=name,
        Purpose="Tabulation",
    )
    group.set(_def("Structure"), _STRUCTURES[name])
    group.set(_def("StandardOID"), "STD.SDTMIG")
    group.set(_def("ArchiveLocationID"), f"LF.{name}")
    if name == "TR":
        group.set(_def("CommentOID"), "COM.SUMDIAM")
    _described(group, dataset.label)
    for number, column in enumerate(dataset.columns, start=1):
        values = dataset.values(column.name)
        mandatory = "Yes" if values and None not in values else "No"
        reference = _child(
            group, _odm("ItemRef"), ItemOID=item_oid(dataset, column), OrderNumber=str(number), Mandatory=mandatory
        )
        if column.name in dataset.keys:
            reference.set("KeySequence", str(dataset.keys.index(column.name) + 1))
    _child(group, _def("Class"), Name=_CLASSES.get(name, "FINDINGS"))
    leaf = _child(group, _def("leaf"), ID=f"LF.{name}")
    leaf.set(f"{{{_XLINK}}}href", f"{name.lower()}.xpt")
    _child(leaf, _def("title")).text = f"{name.lower()}.xpt"


def _variable(metadata: Tree.Element, dataset: Dataset, column: Column) -> None:
    kind = "date" if column.name.endswith("DTC") else _TYPES[column.kind]
    item = _child(metadata, _odm("ItemDef"), OID=item_oid(dataset, column), Name=column.name, SASFieldName=column.name)
    item.set("DataType", kind)
    if kind != "date":
        item.set("Length", str(dataset.length(column)))
    if column.kind == "decimal":
        item.set("SignificantDigits", str(_digits(dataset, column)))
    _described(item, column.label)
    if column.name in TERMINOLOGY:
        _child(item, _odm("CodeListRef"), CodeListOID=f"CL.{column.name}")
    origin = "Derived" if column.name.endswith(("DY", "SEQ", "LOBXFL")) else "Assigned"
    _child(item, _def("Origin"), Type=origin, Source="Vendor")


def _digits(dataset: Dataset, column: Column) -> int:
    texts = (str(value) for value in dataset.values(column.name) if value is not None)
    return max((len(text.partition(".")[2]) for text in texts), default=0)


def _codelists(metadata: Tree.Element, dataset: Dataset) -> None:
    for column in dataset.columns:
        if column.name not in TERMINOLOGY:
            continue
        code, terms = TERMINOLOGY[column.name]
        used = dict(_used(dataset, column))
        listed = _child(metadata, _odm("CodeList"), OID=f"CL.{column.name}", Name=column.label, DataType="text")
        listed.set(_def("StandardOID"), "STD.CT")
        if not used.keys() <= terms.keys():
            listed.set(_def("CommentOID"), "COM.OWN")
        for value, decode in used.items():
            _term(listed, value, decode, terms)
        _child(listed, _odm("Alias"), Context="nci:ExtCodeID", Name=code)


def _term(listed: Tree.Element, value: str, decode: str, terms: Mapping[str, str]) -> None:
    entry = _child(listed, _odm("CodeListItem" if decode else "EnumeratedItem"), CodedValue=value)
    if value not in terms:
        entry.set(_def("ExtendedValue"), "Yes")
    if decode:
        text = Tree.SubElement(_child(entry, _odm("Decode")), _odm("TranslatedText"), {_LANGUAGE: "en"})
        text.text = decode
    if terms.get(value):
        _child(entry, _odm("Alias"), Context="nci:ExtCodeID", Name=terms[value])


def _used(dataset: Dataset, column: Column) -> Iterator[tuple[str, str]]:
    """The terms in use, sorted, each with the test it is short for, if it is."""
    if not column.name.endswith("TESTCD"):
        yield from ((value, "") for value in sorted({str(value) for value in dataset.values(column.name)}))
        return
    tests = dataset.values(column.name.removesuffix("CD"))
    pairs = {str(value): str(test) for value, test in zip(dataset.values(column.name), tests, strict=True)}
    yield from sorted(pairs.items())
