import io
import re
import zlib
from base64 import b64decode, b64encode
from dataclasses import replace
from decimal import Decimal
from functools import cache
from hashlib import sha256
from html.parser import HTMLParser
from itertools import permutations, product

import numpy as np
import pytest
from PIL import Image

from imaging_pipeline.corrections import signature
from imaging_pipeline.domain.case import Assessment, Edited, Measurement, Outcome, Review, Treatment
from imaging_pipeline.domain.digests import digest
from imaging_pipeline.domain.geometry import Grid, as_matrix
from imaging_pipeline.domain.images import Mask, Series, Volume
from imaging_pipeline.domain.lesions import Kind
from imaging_pipeline.errors import Problem, one_line
from imaging_pipeline.io.record import read_case, write_case
from imaging_pipeline.io.report import viewer, write_cohort, write_report
from imaging_pipeline.io.report.attention import attention, concerns, statements, worst_first
from imaging_pipeline.io.report.cohort import cohort_page
from imaging_pipeline.io.report.figures import Plane, Window, hung, key_image, window_for
from imaging_pipeline.io.report.histograms import histograms
from imaging_pipeline.io.report.lookup import Lookup
from imaging_pipeline.io.report.patient import patient_page
from imaging_pipeline.io.report.plots import Course, Sample, chart, nice_ticks, tick_label
from imaging_pipeline.io.report.reading import changes, signatures
from imaging_pipeline.io.report.viewer import scenes
from imaging_pipeline.io.report.wording import (
    NARROW,
    alike,
    change,
    flag,
    other_categories,
    response_words,
    shown,
    subjects,
    tone,
    where,
)
from tests.io.cases import AXILLA, HOSTILE, L4, mpnst_case


class Page(HTMLParser):
    """Elements with their attributes, and the text a reader sees, every white space a plain one."""

    def __init__(self, markup):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.raw = [], [], {"style": "", "script": "", "data": ""}
        self._inside = []
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside.append("data" if dict(attrs).get("type") == "application/json" else tag)

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() not in (tag, "data"):
            pass

    def handle_data(self, data):
        if self._inside and self._inside[-1] in self.raw:
            self.raw[self._inside[-1]] += data
        else:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]

    def tags(self):
        return {tag for tag, _ in self.elements}


@pytest.fixture(scope="module")
def patient():
    return mpnst_case()


@pytest.fixture(scope="module")
def written(tmp_path_factory, patient):
    path = tmp_path_factory.mktemp("case") / "report.html"
    write_report(*patient, path)
    return path


@pytest.fixture(scope="module")
def page(written):
    return Page(written.read_text())


@pytest.fixture(scope="module")
def hostile_pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    case, values = mpnst_case(hostile=HOSTILE)
    write_report(case, values, folder / "cases" / case.case / "report.html")
    problems = tuple(Problem("E-FILE", text, text, text, text) for text in HOSTILE)
    write_cohort((case,), folder / "report.html", problems)
    return folder / "cases" / case.case / "report.html", folder / "report.html"


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What is on the page


def test_the_first_lines_say_who_when_and_what_came_of_it(page):
    start = page.text[:500]
    assert "p-4f1c9a20be73" in start
    assert "3 visits, 2023-05-28 to 2024-02-20" in start
    assert "No radiologist has signed it." in start
    assert "SD stable disease sum 43.00 mm, −17.3 % from baseline" in start
    assert "NE not evaluable sum 42.00 mm, −19.2 % from baseline" in start


def test_what_needs_attention_comes_after_the_response_and_before_any_lesion(page):
    assert page.text.index("Response by visit") < page.text.index("Needs attention")
    assert page.text.index("Needs attention") < page.text.index("Lesions at a glance")
    assert page.text.index("Two poses" if "Two poses" in page.text else "two poses") < page.text.index(
        "confidence 0.42"
    )


def test_every_visit_has_its_response_with_reasons_and_certainty(page):
    assert "sum 43.00 mm is above 36.40 mm" in page.text
    assert "AX: longest diameter 42.00 mm (41.10–42.90); outline confidence 42 %" in page.text


def test_a_value_shows_interval_change_and_evidence(page, patient):
    series = patient[0].visits[1].series[0].series_instance_uid
    text = page.text
    assert "28.70–30.50" in text
    assert "−1.3" in text
    assert f"CT {series}" in text
    assert "slice 41 of 80" in text
    assert "The longest line inside the outline in one acquired plane" in text


def test_reported_stands_beside_measured_and_the_contradiction_is_named(page):
    assert "41.00 mm on CT figure legend 30.00 mm on CT ▲ contradicts" in page.text


def test_a_lesion_that_was_never_measured_says_why_at_each_visit(page):
    assert "baseline 2023-05-28: not imaged at this visit" in page.text
    assert "after 6 cycles 2023-10-18: no longer there" in page.text
    assert "review 2024-02-20: imaged, but not evaluable" in page.text


def test_a_change_of_technique_is_marked_against_the_first_scan(page):
    assert "changed: kernel B60f" in page.text
    assert "changed: kVp 100" in page.text
    assert "changed: slice" not in page.text


def test_methods_versions_and_digests_close_the_page(page, patient):
    end = page.text[page.text.index("Methods") :]
    assert all(sentence in end for sentence in patient[0].provenance.methods)
    assert patient[0].provenance.configuration in end
    assert all(digest in end for digest in patient[0].provenance.inputs)


def signing(case, visit, reader="reader 1"):
    return Review(reader, "2024-03-01T10:00:00Z", "sign", visit, signature(case.measurements, visit), "")


def test_a_signature_is_named_with_its_visits_while_their_numbers_stand(patient):
    case, _ = patient
    signed = replace(case, reviews=tuple(signing(case, visit) for visit in range(3)))
    assert signatures(case) == "Automatic result. No radiologist has signed it."
    assert signatures(signed) == "Signed by reader 1."
    partly = replace(case, reviews=(signing(case, 0), signing(case, 0, "reader 2")))
    assert signatures(partly) == (
        "baseline: signed by reader 1, reader 2. after 6 cycles: not signed. review: not signed"
    )
    changed = replace(signed, measurements=tuple(each for each in case.measurements if each.visit != 1 or each.flags))
    assert "after 6 cycles: not signed" in signatures(changed)


def test_what_a_reader_changed_stands_before_and_after_with_its_reason(tmp_path, patient):
    case, values = patient
    act = Review(
        "reader 1", "2024-03-01T10:00:00Z", "adjust", 1, "ab" * 32, "", "AX", "longest_diameter",
        ((0.0, 0.0, 0.0), (40.0, 0.0, 0.0)), comment="the tail belongs to it",
    )  # fmt: skip
    evidence = Edited("ab" * 32, digest(act), act.points_lps)
    drawn = Measurement("AX", 1, "longest_diameter", 40.0, "mm", evidence, modality="CT")
    reviewed = replace(case, measurements=(*case.measurements, drawn), reviews=(act,))
    write_report(reviewed, values, tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text()).text
    assert "after 6 cycles longest diameter 43.00 mm 40.00 mm reader 1 2024-03-01T10:00:00Z the tail belongs" in text
    assert [
        list(changes(lesion.lesion_id, Lookup(reviewed))) for lesion in case.lesions if lesion.lesion_id == "L4"
    ] == [[]]


def test_a_quiet_case_says_so(tmp_path, patient):
    case, values = patient
    calm = tuple(
        each for each in case.measurements if each.evidence.kind != "reported" and each.comparable is not False
    )
    write_report(replace(case, problems=(), measurements=calm), values, tmp_path / "report.html")
    assert "Needs attention Nothing." in Page((tmp_path / "report.html").read_text()).text


def test_a_case_without_values_or_judgement_still_makes_a_page(tmp_path, patient):
    bare = replace(patient[0], assessments=(), measurements=())
    write_report(bare, {}, tmp_path / "report.html")
    assert "imaged, but not evaluable" in Page((tmp_path / "report.html").read_text()).text


# The page asks for nothing and runs nothing


def test_equal_cases_give_equal_bytes(tmp_path, written):
    write_report(*mpnst_case(), tmp_path / "report.html")
    assert files_of(tmp_path) == files_of(written.parent)


def test_a_case_read_back_gives_the_same_page(tmp_path, patient, written):
    write_case(*patient, tmp_path / "stored")
    write_report(*read_case(tmp_path / "stored"), tmp_path / "page" / "report.html")
    assert files_of(tmp_path / "page") == files_of(written.parent)


def test_nothing_is_loaded_from_anywhere(page):
    places = [*page.attributes("src"), *page.attributes("href"), *page.attributes("action"), *page.attributes("srcset")]
    assert all(place.startswith(("data:", "#")) for place in places)
    assert "url(" not in page.raw["style"]
    assert "@import" not in page.raw["style"]


def test_the_policy_admits_this_style_and_this_script_and_nothing_else(page):
    (policy,) = [each["content"] for tag, each in page.elements if each.get("http-equiv") == "Content-Security-Policy"]
    style, script = (b64encode(sha256(page.raw[name].encode()).digest()).decode() for name in ("style", "script"))
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert page.attributes("style") == []


def test_hostile_strings_are_text_on_every_page(hostile_pages):
    for path in hostile_pages:
        found = Page(path.read_text())
        assert not found.tags() & {"img", "iframe", "object", "embed", "form", "base"}
        handlers = [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
        assert handlers == []
        assert "canary" not in found.raw["script"] + found.raw["style"]
        # Data is read as JSON, which never runs; no element can begin in it.
        assert not set(found.raw["data"]) & {"<", ">", "&", "\u202e", "\x1b"}
        assert not any("canary" in place for place in (*found.attributes("href"), *found.attributes("src")))
        assert "<script>alert('canary')</script>" in found.text
        assert "{{ canary }}" in found.text
        assert len([tag for tag, each in found.elements if tag == "script" and "type" not in each]) == 1


OPENINGS = (
    "",
    '"',
    "'",
    "`",
    "--&gt;",
    "-->",
    "]]>",
    "</title>",
    "</style>",
    "</script>",
    "</svg>",
    "</td>",
    "\\",
    "&#34;",
    "\x00",
)
PAYLOADS = (
    "<script>canary()</script>", "<svg onload=canary()>", "<img src=x onerror=canary()>", "<iframe srcdoc=canary>",
    "javascript:canary()", "<style>@import '//canary.example'</style>", "<base href=//canary.example>",
    "<a href=javascript:canary()>x</a>", "<meta http-equiv=refresh content='0;//canary.example'>", "{{ canary }}",
    "{% include 'canary' %}", "${canary}", "<math><mi xlink:href=data:,canary>", "<details open ontoggle=canary()>",
    "<form action=//canary.example><input autofocus onfocus=canary()>",
)  # fmt: skip
CLOSINGS = ("", ">", "\u202e", "<!--")
MANY = tuple("".join(parts) for parts in product(OPENINGS, PAYLOADS, CLOSINGS))


def filled(strings):
    """The case with strings wherever a file's or a reader's words go, each used somewhere."""
    case, values = mpnst_case(hostile=strings)
    problems = tuple(Problem("W-X", each, each, each, each) for each in strings)
    treatments = tuple(Treatment(each, "2023-06-03") for each in strings[:5])
    reviews = tuple(Review(each, each, "accept", 0, "ab", "", comment=each) for each in strings)
    flagged = tuple(replace(each, flags=strings[5:8]) for each in case.measurements)
    return replace(case, problems=problems, treatments=treatments, reviews=reviews, measurements=flagged), values


def test_nine_hundred_hostile_strings_change_no_element_of_a_page(tmp_path):
    assert len(set(MANY)) == 900
    pages = {}
    for name, strings in (("hostile", MANY), ("harmless", tuple(f"word {number}" for number in range(900)))):
        case, values = filled(strings)
        write_report(case, values, tmp_path / name / "report.html")
        write_cohort((case,), tmp_path / name / "cohort.html", case.problems)
        pages[name] = [Page((tmp_path / name / file).read_text()) for file in ("report.html", "cohort.html")]
    for hostile, harmless in zip(pages["hostile"], pages["harmless"], strict=True):
        assert [(tag, [*attributes]) for tag, attributes in hostile.elements] == [
            (tag, [*attributes]) for tag, attributes in harmless.elements
        ]
        assert hostile.raw["script"] == harmless.raw["script"]
    shown = pages["hostile"][0].text
    assert [each for each in MANY if " ".join(one_line(each).split()) not in shown] == []


def test_control_and_bidirectional_characters_are_shown_as_escapes(hostile_pages):
    for path in hostile_pages:
        markup = path.read_text()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\u2028]", markup)
        assert "\\u202e\\x1b[31m\\u2028" in markup


def luminance(colour):
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_every_pair_of_colours_reaches_wcag_aa_in_both_schemes(page, scheme):
    roots = re.findall(r":root \{(.*?)\}", page.raw["style"], re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", roots[scheme]))
    text = [(name, ground) for name in ("ink", "muted", "link") for ground in ("sheet", "ground")]
    text += [(name, f"{name}-ground") for name in ("good", "same", "bad", "open")] + [
        ("open", "sheet"),
        ("bad", "sheet"),
    ]
    assert [pair for pair in text if contrast(*(colours[name] for name in pair)) < 4.5] == []
    lines = [(name, "sheet") for name in colours if re.match(r"s\d|bar-", name)]
    assert [pair for pair in lines if contrast(*(colours[name] for name in pair)) < 3.0] == []


# Pictures


def scene(points_lps):
    """A patient whose brightness tells left from right, front from back and head from foot."""
    left, posterior, superior = np.moveaxis(np.asarray(points_lps), -1, 0)
    return 40.0 + 2.0 * left + 3.0 * posterior + 0.5 * superior


def volume_along(axes, signs, spacing_mm=(2.0, 1.0, 1.0)):
    """The scene on a grid whose slice, row and column axes run along the given LPS axes."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for index, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, index] = sign * spacing_mm[index]
    shape = (31, 61, 61)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid = Grid(shape, as_matrix(affine))
    array = scene(grid.to_lps(np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3)).reshape(*shape, 3))
    series = Series("1.2", "1.3", "1.4", "CT", "2024-01-01", "ct", (), grid)
    return Volume(array.astype(np.float32), grid, "[hnsf'U]", series)


def grey_of(picture):
    return np.asarray(Image.open(io.BytesIO(picture.png))).astype(float)


STANDARD = {0: ("A", "P", "S", "I"), 1: ("R", "L", "S", "I"), 2: ("R", "L", "A", "P")}


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((-1, 1), repeat=3)))
def test_a_picture_hangs_as_usual_however_the_scan_is_stored(axes, signs):
    volume = volume_along(axes, signs)
    mask = Mask(np.ones(volume.grid.shape, dtype=bool), volume.grid, "test")
    plane = Plane((0.0, 0.0, 0.0), *hung(volume.grid), 40.0)
    letters = plane.letters
    assert (letters["left"], letters["right"], letters["top"], letters["bottom"]) == STANDARD[axes[0]]
    grey = grey_of(key_image(volume, mask, (), plane, Window(40.0, 400.0, "test")))
    corners = {"left": grey[:, 0], "right": grey[:, -1], "top": grey[0], "bottom": grey[-1]}
    toward = {"L": 20 * 2.0, "P": 20 * 3.0, "S": 20 * 0.5, "R": -20 * 2.0, "A": -20 * 3.0, "I": -20 * 0.5}
    for edge, values in corners.items():
        expected = (toward[letters[edge]] / 400 + 0.5) * 255
        assert abs(values.mean() - expected) < 1.0


def test_a_tilted_picture_states_both_directions():
    angle = np.radians(30)
    tilted = Plane((0, 0, 0), (np.cos(angle), np.sin(angle), 0.0), (-np.sin(angle), np.cos(angle), 0.0), 10.0)
    assert tilted.letters["right"] == "LP"
    assert tilted.letters["top"] == "AL"


def test_outline_and_axes_lie_where_the_lesion_is(patient):
    case, values = patient
    sections = patient_page(case, values).lesions
    for section, course in ((sections[0], L4), (sections[1], AXILLA)):
        for each, (axes_mm, _) in zip(section.visits, course, strict=True):
            picture = each.picture.key
            outline = np.array(picture.outlines[0])
            extent = outline.max(axis=0) - outline.min(axis=0)
            # The outline follows the voxels: up to a pixel on either side.
            assert extent == pytest.approx([2 * axes_mm[0], 2 * axes_mm[1]], abs=2 * 0.98)
            for (start, end), length in zip(picture.axes, axes_mm, strict=False):
                assert np.hypot(*np.subtract(end, start)) == pytest.approx(2 * length, abs=0.02)


def test_all_pictures_of_a_lesion_have_one_scale_window_and_place(patient):
    for section in patient_page(*patient).lesions[:2]:
        keys = [each.picture.key for each in section.visits]
        assert len({key.plane.side_mm for key in keys}) == 1
        assert len({str(key.window) for key in keys}) == 1
        # The body moved between the visits by a whole shift; its picture did not.
        middles = [np.mean(key.axes[0], axis=0) for key in keys]
        assert np.ptp(middles, axis=0).max() < 1.0


def test_key_images_are_also_files_by_visit_and_lesion(written, page):
    files = {name for name in files_of(written.parent) if name.endswith(".png")}
    dates = ("2023-05-28", "2023-10-18", "2024-02-20")
    assert files == {f"visits/{date}/{lesion}/key_axial.png" for date in dates for lesion in ("L4", "AX")}
    inlined = {b64decode(place.split(",")[1]) for place in page.attributes("href") if place.startswith("data:image")}
    assert inlined == {(written.parent / name).read_bytes() for name in files}


def test_outside_the_cut_out_a_picture_is_black():
    volume = volume_along((2, 1, 0), (1, 1, 1))
    mask = Mask(np.ones(volume.grid.shape, dtype=bool), volume.grid, "test")
    plane = Plane((0.0, 0.0, 0.0), *hung(volume.grid), 200.0)
    grey = grey_of(key_image(volume, mask, (), plane, Window(40.0, 400.0, "test")))
    assert grey[:, :90].max() == 0
    assert grey[160, 160] == pytest.approx(127.5, abs=2)


def test_windows_are_the_usual_ones():
    volume = volume_along((2, 1, 0), (1, 1, 1))
    assert str(window_for(volume, Kind.BONE)) == "bone W 1800 L 400"
    assert str(window_for(volume, Kind.NODE)) == "soft tissue W 400 L 40"
    signal = Volume(
        np.arange(volume.array.size, dtype=np.float32).reshape(volume.grid.shape), volume.grid, "1", volume.series
    )
    window = window_for(signal, Kind.BONE)
    assert window.level == pytest.approx(volume.array.size / 2, rel=0.01)
    assert window.width == pytest.approx(0.98 * volume.array.size, rel=0.01)


# The viewer's scans


def unpacked(visit):
    """Values and outline of a scene's visit, undone as the page's script does."""
    deltas = np.frombuffer(zlib.decompress(b64decode(visit["voxels"])), np.uint8).reshape(2, *visit["shape"])
    codes, inside = np.cumsum(deltas, axis=-1, dtype=np.uint8)
    values, bytes_ = zip(*visit["codes"], strict=True)
    return np.interp(codes, bytes_, values), inside >= 128


def test_the_viewers_scans_are_the_acquired_ones_within_its_grey_steps(patient):
    case, values = patient
    visit = scenes(Lookup(case), values)["L4"]["visits"][2]
    array, inside = unpacked(visit)
    sighting = next(each for each in case.sightings if (each.lesion_id, each.visit) == ("L4", 2))
    view, mask = values[sighting.view], values[sighting.mask]
    index = view.grid.to_index(np.array(visit["to_lps"])[:, 3])
    place = tuple(np.rint(index).astype(int))
    shown = tuple(np.rint(np.array(visit["to_index"])[:, 3]).astype(int))
    window = tuple(slice(each - 3, each + 4) for each in place)
    same = tuple(slice(each - 3, each + 4) for each in shown)
    assert np.abs(array[same] - view.array[window]).max() <= 10  # half of the 20 HU a step is between 300 and 1500 HU
    assert np.array_equal(inside[same], mask.on(view.grid).array[window])


def test_a_point_of_the_box_is_the_same_point_of_the_patient_at_every_visit(patient):
    case, values = patient
    visits = scenes(Lookup(case), values)["AX"]["visits"]
    centres = [np.array(each["to_lps"])[:, 3] for each in visits]
    for number, centre in enumerate(centres):
        assert centre - centres[0] == pytest.approx(number * np.array([4.3, -2.7, 11.0]), abs=1e-6)


def test_the_scans_of_a_page_stay_within_its_size(patient, monkeypatch):
    case, values = patient
    monkeypatch.setattr(viewer, "VOXELS_PER_PAGE", 20_000)
    found = scenes(Lookup(case), values)
    voxels = sum(np.prod(visit["shape"]) for scene in found.values() for visit in scene["visits"])
    assert voxels <= 20_000
    for scene in found.values():
        for visit in scene["visits"]:
            array, inside = unpacked(visit)
            assert inside.any()
            assert array.min() < 0 < array.max()


def test_without_a_registration_the_visits_lie_centre_on_centre(patient):
    case, values = patient
    alone = replace(case, sightings=tuple(replace(each, transform=None) for each in case.sightings))
    visits = scenes(Lookup(alone), values)["L4"]["visits"]
    offset = np.array(visits[1]["to_lps"])[:, 3] - np.array(visits[0]["to_lps"])[:, 3]
    assert offset == pytest.approx([4.3, -2.7, 11.0], abs=1.0)


def test_a_sagittal_scan_is_shown_along_its_own_slices(patient):
    case, _ = patient
    sighting = case.sightings[0]
    grid = Grid((9, 61, 61), as_matrix([[4, 0, 0, -16], [0, 0, 1, -30], [0, -1, 0, 30], [0, 0, 0, 1]]))
    series = replace(case.visits[0].series[0], grid=grid, modality="MR")
    offset = grid.to_lps(np.indices(grid.shape).reshape(3, -1).T)
    mask = Mask((np.linalg.norm(offset, axis=1) < 12).reshape(grid.shape), grid, "test")
    view = Volume(offset[:, 0].reshape(grid.shape).astype(np.float32), grid, "1", series)
    seen = replace(sighting, mask=mask.digest, view=view.digest)
    one = replace(case, sightings=(seen,), lesions=case.lesions[:1])
    (scene,) = scenes(Lookup(one), {mask.digest: mask, view.digest: view}).values()
    assert (scene["normal"], scene["steps_mm"]) == (0, (4.0, 1.0, 1.0))
    array, _ = unpacked(scene["visits"][0])
    # Signal rises to the patient's left, along the first voxel axis.
    assert np.diff(array.mean(axis=(1, 2))) == pytest.approx(4.0, abs=0.3)
    assert [window[0] for window in scene["visits"][0]["windows"]] == ["1st to 99th percentile"]


# Mineral and histograms


def test_mineral_is_outlined_inside_the_lesion_only(patient):
    sections = patient_page(*patient).lesions
    keys = [each.picture.key for each in sections[0].visits]
    assert keys[0].mineral == ()
    # At the third visit all of the lesion is of 421 HU; so much of its surroundings of 180 is noise and left out.
    shape = np.array(max(keys[2].mineral, key=len))
    assert np.ptp(shape, axis=0) == pytest.approx([2 * 14.6, 2 * 9.8], abs=2 * 0.98)


def test_histograms_of_a_lesion_have_one_axis_and_say_what_they_show():
    soft, dense = np.full(1000, 50), np.r_[np.full(500, 50), np.full(500, 400)]
    first, second = histograms([soft, dense])
    assert first.ticks == second.ticks
    assert first.mineral == second.mineral
    assert "median 50 HU" in first.words
    assert "50 % of voxels above 180 HU" in second.words
    assert list(histograms([])) == []


# Treatments


def test_treatments_are_bands_behind_the_curves_from_their_first_to_their_last_day(patient):
    treatments = (
        Treatment("first", "2023-06-27", "2023-10-18"),
        Treatment("going on", "2023-10-18"),
        Treatment("long before", "2020-01-01", "2020-06-01"),
    )
    page = patient_page(replace(patient[0], treatments=treatments), patient[1])
    chart_ = page.lesions[0].charts[0]
    first, second = chart_.bands
    dates = [tick.place for tick in chart_.across]
    assert dates[0] < first.left < dates[1]
    assert first.left + first.width == pytest.approx(dates[1], abs=0.2)
    assert (second.left, second.left + second.width) == pytest.approx((dates[1], dates[2]), abs=0.2)
    assert chart_.top == patient_page(*patient).lesions[0].charts[0].top + 2 * 14


def test_the_swimmer_plot_has_a_lane_a_patient_the_longest_first(patient):
    case = replace(patient[0], treatments=(Treatment("given", "2023-06-27", "2023-10-18"),))
    short = replace(case, case="p-short", visits=case.visits[:2], assessments=case.assessments[:2])
    swimmer = cohort_page((short, case), ()).swimmer
    assert [lane.case for lane in swimmer.lanes] == [case.case, "p-short"]
    assert [each.label for each in swimmer.lanes[0].responses] == ["", "SD", "NE"]
    (given,) = swimmer.lanes[0].treatments
    assert swimmer.lanes[0].responses[0].left < given.left < given.left + given.width
    assert given.left + given.width == pytest.approx(swimmer.lanes[0].responses[1].left, abs=0.2)


# Charts and words


def test_ticks_are_round_and_enclose_the_range():
    assert nice_ticks(0, 52) == (0, 20, 40, 60)
    assert nice_ticks(-37, 24) == (-40, -20, 0, 20, 40)
    assert nice_ticks(5, 5)[0] <= 5 <= nice_ticks(5, 5)[-1]
    assert tick_label(-20, (-20, 0)) == "−20"
    assert tick_label(2.5, (0, 2.5)) == "2.5"


@pytest.mark.parametrize(("low", "high"), [(0, 1e-7), (-1e6, 3), (0.999, 1.001), (-3, -2)])
def test_ticks_enclose_any_range(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 8


def test_a_chart_keeps_order_and_starts_sizes_at_zero():
    course = Course("longest", (Sample(0, 30, "a", 29, 31), Sample(90, 60, "b")))
    drawn = chart("Diameter", "mm", [course], [(0, "2024-01-01"), (90, "2024-03-31")], from_zero=True, least_span=10)
    first, last = drawn.lines[0].marks
    assert drawn.up[0].label == "0"
    assert first.left < last.left
    # Twice the value is twice as high above the axis.
    assert drawn.bottom - last.top == pytest.approx(2 * (drawn.bottom - first.top), abs=0.2)
    assert first.high < first.top < first.low


@pytest.mark.parametrize("samples", [(), (Sample(0.0, 40.0, ""),)])
def test_less_than_two_values_are_no_course_to_draw(samples):
    assert chart("Density", "HU", [Course("lesion", samples)], [(0, "")], from_zero=False, least_span=1) is None


def test_dates_that_would_overlap_leave_only_their_ticks():
    dates = [(float(day), f"day {day}") for day in range(0, 400, 20)]
    course = Course("sum", (Sample(0.0, 1.0, ""), Sample(380.0, 2.0, "")))
    labels = [tick.label for tick in chart("", "", [course], dates, from_zero=True, least_span=1).across]
    assert len(labels) == 20
    assert 3 <= len([label for label in labels if label]) <= 5


def test_sizes_change_in_per_cent_and_densities_in_their_unit(patient):
    numbers = Lookup(patient[0]).numbers
    size = [numbers[("AX", visit, "longest_diameter")] for visit in (0, 1)]
    density = [numbers[("AX", visit, "mean_density")] for visit in (0, 1)]
    assert change(size[1], size[0]) == "−17.3\u202f%"
    assert change(density[1], density[0]) == "−7.0\u202fHU"
    assert change(size[0], size[0]) == ""


def test_volumes_are_shown_in_millilitres():
    assert shown(6995.2, "volume") == "7.00"
    assert shown(71.4, "volume") == "0.071"
    assert shown(-12.0, "mean_density") == "−12.0"


@pytest.mark.parametrize(
    ("code", "colour"),
    [("CR", "good"), ("iCR", "good"), ("SD", "same"), ("iUPD", "bad"), ("iCPD", "bad"), ("NE", "open"), ("", "none")],
)
def test_a_response_has_its_colour_in_either_criterion(code, colour):
    assert tone(code) == colour
    assert bool(response_words(code)) == bool(code)


def test_problems_of_one_code_stand_together_under_the_lesions_they_touch():
    problems = [
        Problem("W-A", f"{lesion} at 2024-01-0{day}", "a", "b", "c") for day in (1, 2) for lesion in ("L4", "AX")
    ]
    groups = concerns([problems[0], Problem("W-B", "L4", "a", "b", "c"), *problems[1:]])
    assert [(group[0].code, len(group)) for group in groups] == [("W-A", 4), ("W-B", 1)]
    assert subjects(groups[0]) == "L4, AX"
    assert subjects(groups[0][:1]) == "L4 at 2024-01-01"


def test_what_reports_contradict_is_a_line_for_each_lesion():
    """Behind "2 times" the second lesion's contradiction would be out of sight."""
    places = ("L4 at 2023-05-28", "AX at 2024-02-20", "AX at 2023-10-18")
    groups = concerns(Problem("W-REPORTED-CONTRADICTION", place, "a", "b", "c") for place in places)
    assert [[problem.subject for problem in group] for group in groups] == [[places[0]], list(places[1:])]


def test_problems_that_differ_only_in_their_place_are_one_line():
    places = ("T4 at 2024-01-01", "T4 at 2024-03-01", "L4 at 2024-01-01", "lumbar ct")
    same = [Problem("W-SEG-CONFIDENCE", place, "confidence 0.39", "at least 0.60", "look") for place in places]
    other = replace(same[0], found="confidence 0.54")
    groups = alike([same[0], other, *same[1:]])
    assert [len(group) for group in groups] == [4, 1]
    assert where(groups[0]) == "T4 at 2024-01-01, 2024-03-01; L4 at 2024-01-01; lumbar ct"


def test_a_flag_is_said_in_words_and_keeps_its_share():
    assert flag("W-COMPARE-KVP") == "other tube voltage"
    assert flag("W-HU-METAL 4.0%") == "metal inside the outline, 4.0%"
    assert flag("one_view") == "one view"


def test_other_categories_are_said_the_likeliest_first():
    stated = Assessment("recist-1.1", 1, "SD", other_categories={}, other_reader_categories={"PD": 0.4, "PR": 22.0})
    words = [sentence.replace(NARROW, " ") for sentence in other_categories(stated)]
    assert words == ["the intervals leave no other category", "another reader might find PR (22 %), PD (< 1 %)"]
    allowed = replace(stated, other_categories={"PR": 16.0}, other_reader_categories={})
    words = [sentence.replace(NARROW, " ") for sentence in other_categories(allowed)]
    assert words == ["the intervals allow PR (16 %)", "another reader would find the same"]
    assert not list(other_categories(replace(stated, other_categories=None, other_reader_categories=None)))


def test_what_touches_the_judgement_comes_before_what_could_not_be_told():
    codes = ["N-A", "W-MEASURE-MUSCLE", "W-SEG-CONFIDENCE", "E-REGISTER"]
    ordered = worst_first(Problem(code, "", "", "", "") for code in codes)
    assert [each.code for each in ordered] == ["E-REGISTER", "W-SEG-CONFIDENCE", "W-MEASURE-MUSCLE", "N-A"]


def test_a_series_is_named_by_its_role_and_date(patient):
    lookup = Lookup(patient[0])
    assert lookup.named("1.2.826.0.1.3680043.8.498.110") == "lumbar ct of 2023-10-18"
    assert lookup.named("L4") == "L4"


def test_attention_puts_errors_first_and_adds_what_the_measurements_tell(patient):
    items = attention(Lookup(patient[0]))
    assert items[0].code == "E-REGISTER"
    assert items[-1].code == "N-FILE-PREAMBLE"
    found = {item.code: item.found for item in items}
    assert "mean density" in found["W-COMPARE"]


@pytest.mark.parametrize(("stated", "contradicted"), [(31.0, False), (36.0, True)])
def test_a_stated_value_contradicts_where_it_would_change_the_category(patient, stated, contradicted):
    case = patient[0]
    measurements = tuple(
        replace(each, value=stated) if each.evidence.kind == "reported" and each.lesion_id == "L4" else each
        for each in case.measurements
    )
    (about_l4,) = (
        each for each in statements(Lookup(replace(case, measurements=measurements))) if each.stated.lesion_id == "L4"
    )
    assert about_l4.measured.value == 30.0
    assert about_l4.contradicted is contradicted


def test_the_sighting_that_was_measured_speaks_for_the_visit(patient):
    case = patient[0]
    other = replace(case.sightings[0], outcome=Outcome.NOT_EVALUABLE, mask="", view="")
    lookup = Lookup(replace(case, sightings=(other, *case.sightings)))
    assert lookup.sighting("L4", 0) == case.sightings[0]


# The cohort


@cache
def one_case():
    return mpnst_case()[0]


def cohort(changes):
    case = one_case()
    cases = []
    for number, percent in enumerate(changes):
        last = replace(case.assessments[-1], change_from_baseline_pct=Decimal(percent), best_overall_response="SD")
        cases.append(replace(case, case=f"p-{number:03d}", assessments=(*case.assessments[:1], last), problems=()))
    return cases


def test_the_cohort_has_one_row_and_one_link_per_patient(tmp_path):
    cases = cohort([-40, 10, 25])
    write_cohort(cases, tmp_path / "report.html", ())
    found = Page((tmp_path / "report.html").read_text())
    for case in cases:
        assert f"cases/{case.case}/report.html" in found.attributes("href")
    assert "3 patients" in found.text
    assert len([tag for tag, _ in found.elements if tag == "tr"]) == 4


def test_patients_with_problems_come_first_and_are_named():
    cases = cohort([-40, 10, 25])
    cases[2] = replace(cases[2], problems=(Problem("E-X", "AX", "a", "b", "c"),))
    page = cohort_page(cases, (*cases[2].problems, Problem("W-Y", "p-lost", "a", "b", "c")))
    assert [row.case for row in page.rows] == ["p-002", "p-000", "p-001"]
    assert [(group.shown[0].item.code, group.shown[0].case) for group in page.problems] == [
        ("E-X", "p-002"),
        ("W-Y", ""),
    ]


def test_the_waterfall_falls():
    page = cohort_page(cohort([-40, 10, 25, -5]), ())
    signed = [bar.height if bar.top < page.waterfall.zero else -bar.height for bar in page.waterfall.bars]
    assert signed == sorted(signed, reverse=True)
    assert len(page.spider.threads) == 4


def test_every_spider_thread_starts_at_no_change():
    page = cohort_page(cohort([-40, 10]), ())
    starts = {thread.points.split()[0] for thread in page.spider.threads}
    assert starts == {f"{page.spider.left},{page.spider.zero}"}


def test_the_cohort_is_the_same_bytes_each_time(tmp_path):
    for name in ("one", "two"):
        write_cohort(cohort([-40, 10, 25]), tmp_path / name, ())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_many_problems_of_one_kind_are_counted():
    problems = tuple(Problem("W-Z", f"file {number}", "a", "b", "c") for number in range(500))
    (group,) = cohort_page((), problems).problems
    assert (group.count, len(group.shown)) == (500, 20)


def test_an_empty_cohort_is_a_page_too(tmp_path):
    write_cohort((), tmp_path / "report.html", ())
    assert "0 patients" in Page((tmp_path / "report.html").read_text()).text
