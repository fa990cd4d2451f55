"""The scores of the spine on a patient's page: ranges, with what is not known beside them."""

import re
from dataclasses import replace

import pytest

from imaging_pipeline.domain.case import Score
from imaging_pipeline.io.record import read_case, write_case
from imaging_pipeline.io.report import write_report
from imaging_pipeline.io.report.wording import score
from tests.io.cases import mpnst_case

GRADE = Score("genant", "L4", 0, 1, 0, 1, "normal to mild", ("height loss 21.0 %, 18.0 to 24.0",))
SINS = Score(
    "sins", "L4", 0, None, 6, 12, "stable to potentially unstable", ("location: mobile (L4)",),
    ("pain", "posterolateral"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (GRADE, "1 (0–1)"),
        (SINS, "6–12"),
        (replace(GRADE, least=1), "1"),
        (replace(SINS, value=8, least=8, most=8), "8"),
    ],
)
def test_a_score_is_one_number_only_where_all_is_known(found, words):
    assert score(found) == words


def page_of(case, values, tmp_path):
    write_report(case, values, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def rows_of(page):
    table = page[page.index('<table class="scores">') :].partition("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", " ", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)] for row in rows
    ]


def test_a_lesions_scores_stand_with_their_grounds_and_what_is_not_known(tmp_path):
    case, values = mpnst_case()
    assert rows_of(page_of(replace(case, scores=(GRADE, SINS)), values, tmp_path)) == [
        ["Genant grade", "1 (0–1)", "normal to mild", "height loss 21.0 %, 18.0 to 24.0", "–"],
        ["SINS", "6–12", "stable to potentially unstable", "location: mobile (L4)", "pain, posterolateral"],
    ]


def test_a_case_without_scores_says_nothing_of_them(tmp_path):
    assert "Scores of the spine" not in page_of(*mpnst_case(), tmp_path)


def test_scores_are_kept_with_the_case(tmp_path):
    case, values = mpnst_case()
    scored = replace(case, scores=(GRADE, SINS))
    write_case(scored, values, tmp_path)
    assert read_case(tmp_path)[0] == scored
