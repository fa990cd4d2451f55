"""What is followed: a lesion and its names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from imaging_pipeline.domain.codes import LYMPH_NODE, Code
from imaging_pipeline.domain.digests import digest


class Kind(StrEnum):
    """What sort of tissue a lesion is in; decides which rules and quantities apply."""

    BONE = "bone"
    NODE = "node"
    SOFT_TISSUE = "soft_tissue"


class Role(StrEnum):
    """RECIST's role of a lesion; AUTO until the rules have decided."""

    AUTO = "auto"
    TARGET = "target"
    NON_TARGET = "non_target"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Lesion:
    """One thing followed over time.

    `lesion_id` is the reader's name for it ("L4"), `tracking_uid` its name for
    ever, in every visit, modality and file.
    """

    lesion_id: str
    tracking_uid: str
    label: str
    kind: Kind
    role: Role = Role.AUTO
    role_reason: str = ""
    site: Code | None = None
    laterality: str = ""
    organ: str = ""
    bone_type: str = ""

    @property
    def place(self) -> Code | None:
        """Its finding site as every output names it; of a node without one, that it is a lymph node."""
        return self.site or (LYMPH_NODE if self.kind is Kind.NODE else None)


def tracking_uid(case: str, lesion_id: str) -> str:
    """A lesion's name for ever, derived from what it is: the same in every run, visit and file.

    Source: DICOM PS3.5 B.2, UIDs made from a UUID under the root 2.25.
    """
    return f"2.25.{UUID(hex=digest((case, lesion_id))[:32], version=4).int}"
