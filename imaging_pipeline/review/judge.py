"""An act as the page asks for it, turned into an act on the case as it is now, or refused."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from imaging_pipeline.corrections import signature
from imaging_pipeline.domain.case import Case, Review, Sighting, Values
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.errors import ConfigurationError
from imaging_pipeline.io.masks import read_mask_on
from imaging_pipeline.io.report.lookup import Lookup
from imaging_pipeline.review import hanging, standing
from imaging_pipeline.review.requests import ActRequest, Uploaded, bad_act

#: Acts that change what is measured say why.
_NEED_A_REASON = ("adjust", "reject", "add")


@dataclass(frozen=True)
class Judge:
    """A reader before a case, at one moment."""

    case: Case
    values: Values
    acts: tuple[Review, ...]
    reader: str
    now: str

    def judged(self, request: ActRequest) -> tuple[Review, Mask | None]:
        """The act, and the outline it puts in place.

        Raises
        ------
        ConfigurationError
            When the act does not fit the case as it is now.
        RefusedError, SpaceError
            When the outline that comes with it cannot be used.
        """
        if request.visit >= len(self.case.visits):
            raise bad_act("no such visit", "a visit of the case")
        if request.act in _NEED_A_REASON and not request.comment.strip():
            raise bad_act("no reason", "a few words on why")
        visit = self.case.visits[request.visit]
        if request.act == "sign":
            if any(act.act != "sign" and act not in self.case.reviews for act in self.acts):
                raise bad_act("numbers without some of the acts before", "a signature of numbers that are up to date")
            self._require(request.judged, signature(self.case.measurements, visit.number))
            return self._review(request, visit.number), None
        if request.act == "add":
            return self._added(request, visit.number)
        sighting = self._sighting(request, visit.number)
        self._require(request.judged, standing.present_outline(self.case, sighting, self.acts))
        mask = None
        if request.act == "adjust":
            mask = self._outline(request, sighting)
            if (mask is None) == (not request.points_lps):
                raise bad_act("neither a line nor an outline, or both", "one of them")
            if request.points_lps:
                self._require_line(request, sighting)
        return self._review(request, visit.number, sighting.lesion_id), mask

    def _review(self, request: ActRequest, visit: int, lesion_id: str = "", judged: str | None = None) -> Review:
        return Review(
            reader=self.reader,
            time=self.now,
            act=request.act,
            visit=visit,
            judged=request.judged if judged is None else judged,
            previous="",
            lesion_id=lesion_id,
            quantity=request.quantity if request.points_lps else "",
            points_lps=request.points_lps,
            kind=request.kind if request.act == "add" else "",
            finding=request.finding,
            comment=request.comment.strip(),
        )

    def _added(self, request: ActRequest, visit: int) -> tuple[Review, Mask]:
        name = request.name.strip()
        if not name or not request.kind or any(name == lesion.lesion_id for lesion in self.case.lesions):
            raise bad_act("no name and kind, or a name that is taken", "a new name and a kind")
        mask = self._outline(request, None)
        if mask is None:
            raise bad_act("no outline", "an outline of the new lesion")
        series = self._drawn_on(request)
        self._require(request.judged, series.digest)
        return self._review(request, visit, name), mask

    def _sighting(self, request: ActRequest, visit: int) -> Sighting:
        if request.lesion is None or request.lesion >= len(self.case.lesions):
            raise bad_act("no such lesion", "a lesion of the case")
        sighting = Lookup(self.case).sighting(self.case.lesions[request.lesion].lesion_id, visit)
        if sighting is None:
            raise bad_act("a lesion that was not looked for at this visit", "one that was")
        return sighting

    def _require(self, judged: str, present: str) -> None:
        if judged != present:
            raise ConfigurationError(
                "E-REVIEW-CHANGED",
                "this act",
                found="a judgement of what has changed since the page was opened",
                expected="a judgement of what is there now",
                remedy="look at the case as it is now and judge again",
            )

    def _require_line(self, request: ActRequest, sighting: Sighting) -> None:
        view = self.values.get(sighting.view)
        if not request.quantity or len(request.points_lps) != 2 or request.points_lps[0] == request.points_lps[1]:
            raise bad_act("no line of two ends", "which diameter, and its two ends")
        if not isinstance(view, Volume) or not all(view.grid.contains(point) for point in request.points_lps):
            raise bad_act("an end outside the picture", "both ends inside it")

    def _drawn_on(self, request: ActRequest) -> Series:
        """The series an outline was painted on or drawn for."""
        if request.painted is not None:
            return self._painted_view(request).series
        assert request.uploaded is not None
        series = self.case.visits[request.visit].series
        if request.uploaded.series >= len(series):
            raise bad_act("no such series", "a series of the visit")
        return series[request.uploaded.series]

    def _painted_view(self, request: ActRequest) -> Volume:
        assert request.painted is not None
        view = self.values.get(request.painted.view)
        of_visit = self.case.visits[request.visit].series
        if not isinstance(view, Volume) or view.series not in of_visit:
            raise bad_act("no such view", "a view of this visit")
        return view

    def _outline(self, request: ActRequest, sighting: Sighting | None) -> Mask | None:
        if (request.painted is None) == (request.uploaded is None):
            if request.painted is not None:
                raise bad_act("two outlines", "one")
            return None
        if request.painted is not None:
            mask = hanging.painted(request.painted.bits, self._painted_view(request), self.reader)
            if mask is None:
                raise bad_act("an outline of another size", "an outline on the view's voxels")
        else:
            assert request.uploaded is not None
            mask = _from_file(request.uploaded, self._drawn_on(request))
        if sighting is not None and sighting.series_uid not in ("", self._drawn_on(request).series_instance_uid):
            raise bad_act("an outline on another series", "one on the series the lesion is measured in")
        if not mask.array.any():
            raise bad_act("an empty outline", "at least one voxel, or a rejection")
        return mask.crop(mask.box(1))


def _from_file(uploaded: Uploaded, series: Series) -> Mask:
    """The outline in an uploaded file, which never gets a name of its own on this machine."""
    if series.grid is None:
        raise bad_act("a series without a place in the patient", "a CT or MR series")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{uploaded.format}"
        path.write_bytes(uploaded.content)
        return read_mask_on(path, series.grid, uploaded.label)
