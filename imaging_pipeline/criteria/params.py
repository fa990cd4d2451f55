"""What a protocol may set: the defaults are the decisions this project took where sources conflict."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field

from imaging_pipeline.config import Model, validated


class Params(Model):
    """Parameters of all criteria; each is used by the criteria that know it."""

    pr_retention: Literal["eortc", "literal"] = Field(
        default="eortc", description="eortc: PR stays until PD. literal: PR is tested against baseline at each visit."
    )
    treatment_start: datetime.date | None = Field(
        default=None, description="Start of treatment or randomisation; without it, times count from baseline."
    )
    new_therapy: datetime.date | None = Field(
        default=None, description="Start of another anti-cancer therapy: later visits are no part of the best response."
    )
    sd_min_days: int = Field(default=42, ge=0, description="SD counts as best response from this day on.")
    confirm_min_days: int = Field(default=28, ge=0, description="Least interval between a response and its repeat.")
    max_ne_between: int = Field(default=1, ge=0, description="NE visits allowed between a response and its repeat.")
    accept_sd_between: bool = Field(default=False, description="Whether one SD may lie between two PR.")
    missing_as_ne: bool = Field(default=False, description="Best response NE for a patient without any visit.")
    early_cr_then_sd: Literal["PD", "NE"] = Field(
        default="PD", description="Best response when CR is lost before SD counts: PD (the paper) or NE (admiralonco)."
    )
    equivocal_backdate: bool = Field(
        default=True, description="Whether a confirmed equivocal new lesion dates PD to its first appearance."
    )
    icpd_min_days: int = Field(default=28, ge=0, description="An earlier scan does not confirm an iUPD.")
    who_pd_basis: Literal["any_lesion", "sum"] = Field(
        default="any_lesion", description="Whether one lesion's growth is WHO's progression, or only the sum's."
    )
    pr_volume_ratio: Decimal = Field(default=Decimal("0.343"), gt=0, lt=1, description="0.7 cubed: -65.7 %.")
    pd_volume_ratio: Decimal = Field(default=Decimal("1.728"), gt=1, description="1.2 cubed: +72.8 %.")
    mda_fill_in_points: Decimal = Field(
        default=Decimal(10), gt=0, description="Fall of the lytic fraction, in points, that is partial fill-in."
    )
    mda_rim_points: Decimal = Field(
        default=Decimal(25), gt=0, description="Rise of the rim's continuity, in points, that is a new sclerotic rim."
    )
    mda_extent_pct: Decimal = Field(
        default=Decimal(25), gt=0, description="Change of the product of perpendicular diameters that is growth."
    )


DEFAULTS = Params()


def read_params(values: Mapping[str, Any], subject: str = "params") -> Params:
    """Parameters by name.

    Raises
    ------
    ConfigurationError
        For an unknown name, naming the nearest known one, or a value that does not fit.
    """
    return validated(Params, dict(values), subject) if values else DEFAULTS
