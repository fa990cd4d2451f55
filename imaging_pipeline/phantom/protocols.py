"""Who scans what: the regions of the body and the scanners that come in turn at the visits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging_pipeline.phantom.disease import CHEST_CT, LUMBAR_CT
from imaging_pipeline.phantom.patient import Patient

#: Mineral's CT number against 120 kVp, rounded: a mild effect in the right direction is what is meant.
MINERAL_AT_KVP = {100: 1.12, 110: 1.05, 120: 1.0, 130: 0.96}


@dataclass(frozen=True, slots=True)
class Machine:
    """A scanner as it is set: `spread_mm` is the standard deviation of its point spread in the plane."""

    field_of_view_mm: float
    matrix: int
    thickness_mm: float
    kernel: str
    spread_mm: float
    kvp: int
    noise_hu: float

    @property
    def pixel_mm(self) -> float:
        """Distance between pixels."""
        return self.field_of_view_mm / self.matrix

    @property
    def mineral(self) -> float:
        """Effect of the tube voltage on mineral."""
        return MINERAL_AT_KVP[self.kvp]


@dataclass(frozen=True, slots=True)
class Region:
    """What is to be shown, in mm of the patient's anatomical frame."""

    role: str
    description: str
    body_part_examined: str
    centre_x_mm: float
    centre_y_mm: float
    bottom_mm: float
    top_mm: float


@dataclass(frozen=True, slots=True)
class Protocol:
    """How one series is acquired."""

    region: Region
    machine: Machine
    table: bool = True

    @property
    def series_description(self) -> str:
        """What, how thick, which kernel."""
        return f"{self.region.description} {self.machine.thickness_mm:g} {self.machine.kernel}"


#: The scanners of the visits, in turn; spine and chest are reconstructed with kernels of their own.
_LUMBAR_MACHINES = (
    Machine(240.0, 512, 2.0, "B50f", 0.46, 120, 17.0),
    Machine(320.0, 512, 2.5, "Br49f", 0.50, 130, 14.0),
    Machine(280.0, 512, 1.5, "DETAIL", 0.42, 110, 22.0),
)
_CHEST_MACHINES = (
    Machine(380.0, 512, 2.5, "B30f", 0.62, 120, 13.0),
    Machine(400.0, 512, 3.0, "Br40f", 0.56, 120, 12.0),
    Machine(360.0, 512, 2.0, "STANDARD", 0.66, 110, 18.0),
)
_MINI_LUMBAR_MACHINES = (
    Machine(208.0, 104, 4.0, "B30f", 0.62, 120, 14.0),
    Machine(208.0, 104, 4.0, "Br40f", 0.56, 120, 14.0),
    Machine(208.0, 104, 4.0, "STANDARD", 0.66, 100, 14.0),
)
_MINI_CHEST_MACHINES = (
    Machine(224.0, 112, 4.0, "B30f", 0.62, 120, 14.0),
    Machine(224.0, 112, 4.0, "Br40f", 0.56, 120, 14.0),
    Machine(224.0, 112, 4.0, "STANDARD", 0.66, 100, 14.0),
)


def protocols(patient: Patient, visit: int, scale: str = "full") -> tuple[Protocol, Protocol]:
    """The lumbar and the chest CT of a visit; field of view, slice, kernel and voltage change between visits.

    `scale` is "full" (512 x 512), or "mini": a coarse cut-out around the spine and the right axilla.
    """
    height = {vertebra.name: vertebra.centre[2] for vertebra in patient.anatomy.vertebrae}
    chest_y = float(patient.anatomy.cage.section(np.array(height["T4"]))[2])
    turn = visit % len(_LUMBAR_MACHINES)
    if scale == "mini":
        lumbar = Region(LUMBAR_CT, "Lumbar CT", "LSPINE", 0.0, -4.0, height["L5"] - 68.0, height["L1"] - 4.0)
        chest = Region(CHEST_CT, "Chest CT", "CHEST", -64.0, chest_y, height["T7"] - 6.0, height["T1"] + 4.0)
        return (
            Protocol(lumbar, _MINI_LUMBAR_MACHINES[turn], table=False),
            Protocol(chest, _MINI_CHEST_MACHINES[turn], table=False),
        )
    lumbar = Region(LUMBAR_CT, "Lumbar CT", "LSPINE", 0.0, -18.0, height["L5"] - 70.0, height["T12"] + 2.0)
    chest = Region(CHEST_CT, "Chest CT", "CHEST", -10.0, chest_y, height["T9"] - 16.0, height["T1"] + 12.0)
    return Protocol(lumbar, _LUMBAR_MACHINES[turn]), Protocol(chest, _CHEST_MACHINES[turn])
