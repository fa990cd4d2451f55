"""What images beside the one a lesion is followed in tell of it: diameters of ultrasound, ratios of all others."""

from __future__ import annotations

import math

from imaging_pipeline.domain.case import Drawn, Measurement
from imaging_pipeline.domain.geometry import PointLps, Space
from imaging_pipeline.domain.images import Series
from imaging_pipeline.domain.lesions import Lesion
from imaging_pipeline.domain.prompts import Line
from imaging_pipeline.domain.quantities import CATALOGUE, Needs
from imaging_pipeline.errors import Problem, SpaceError
from imaging_pipeline.numerics.measurement import Findings
from imaging_pipeline.numerics.uncertainty import Estimate, between_readers, within

#: Quantities that one modality alone tells; sizes are told by the image the lesion is followed in.
RATIOS = frozenset({Needs.MR, Needs.SCINTIGRAPHY, Needs.RADIOGRAPH})
#: Standard deviation of a length between two pixels chosen by eye, in pixels: each end is rounded to one.
ENDS_SD_PIXELS = math.sqrt(2.0 / 12.0)


def only_aside(found: Findings, modality: str, subject: str) -> Findings:
    """Of what was measured in an image, what stands beside the numbers of the image the lesion is followed in.

    Parameters
    ----------
    modality : the image's. Of ultrasound the diameters stay: nothing else is measured there.
    subject : what to call the image.
    """
    kept = tuple(item for item in found.measurements if modality == "US" or CATALOGUE[item.quantity].needs in RATIOS)
    if kept or found.problems:
        return Findings(kept, found.problems)
    nothing = Problem(
        "W-ASIDE",
        subject,
        "nothing that this image alone tells of the lesion",
        "MR, scintigraphy or radiograph of bone, or ultrasound",
        "remove the prompt, or mark the lesion there as one of its own",
    )
    return Findings((), (nothing,))


def measure_line(series: Series, line: Line, lesion: Lesion, visit: int) -> Findings:
    """Lines that a reader drew beside the followed scan were measured by their image's own scale.

    Parameters
    ----------
    series : an image with a pixel size.
    line : ends in the grid's millimetres.

    Raises
    ------
    SpaceError
        Where the image has no pixel size.
    """
    grid = series.grid
    if grid is None or grid.space is Space.PIXELS:
        raise SpaceError(
            "E-SPACE",
            lesion.lesion_id,
            found="a line on an image without a pixel size",
            expected="an image in millimetres",
            remedy="calibrate the image",
        )
    sd_mm = ENDS_SD_PIXELS * max(grid.spacing_mm[1:])
    drawn = {"longest_diameter": line.long_axis_lps, "perpendicular_diameter": line.short_axis_lps}
    return Findings(
        tuple(_drawn(name, ends, sd_mm, series, lesion, visit) for name, ends in drawn.items() if ends is not None)
    )


def _drawn(
    quantity: str, ends: tuple[PointLps, PointLps], sd_mm: float, series: Series, lesion: Lesion, visit: int
) -> Measurement:
    entry = CATALOGUE[quantity]
    estimate: Estimate = within(math.dist(*ends), sd_mm, ends, lowest=0.0)
    readers = between_readers(quantity, estimate) or (None, None)
    bounds = (estimate.lower95, estimate.upper95, *readers)
    lower, upper, reader_lower, reader_upper = (None if bound is None else entry.rounded(bound) for bound in bounds)
    return Measurement(
        lesion.lesion_id,
        visit,
        quantity,
        entry.rounded(estimate.value),
        entry.unit,
        Drawn(ends),
        lower,
        upper,
        series.modality,
        series.series_instance_uid,
        reader_lower95=reader_lower,
        reader_upper95=reader_upper,
    )
