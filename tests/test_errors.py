"""A problem is one line that names subject, finding and remedy, whatever the data holds."""

import pickle

import pytest

from imaging_pipeline.errors import PipelineError, Problem, RefusedError, Severity, one_line


def test_a_problem_reads_as_one_line():
    problem = Problem("W-GEOM-TILT", "1.2.3", "a tilt of 14.0 degrees", "0 degrees", "resampled; check the outline")
    assert str(problem) == (
        "W-GEOM-TILT 1.2.3: found a tilt of 14.0 degrees; expected 0 degrees; resampled; check the outline"
    )


@pytest.mark.parametrize(
    ("code", "severity"), [("E-X", Severity.ERROR), ("W-X", Severity.WARNING), ("N-X", Severity.NOTE)]
)
def test_the_code_states_the_severity(code, severity):
    assert Problem(code, "", "", "", "").severity is severity


@pytest.mark.parametrize("hostile", ["a\nb", "\x1b[31mred", "\u202eabc", "\u2028", "\x00", "\x85", "\ud800"])
def test_control_and_direction_characters_are_escaped(hostile):
    text = one_line(hostile)
    assert text.isprintable()
    assert "\\" in text


def test_plain_words_of_any_language_stay_as_they_are():
    assert one_line("Wirbelkörper 椎体 ≥ 10 mm") == "Wirbelkörper 椎体 ≥ 10 mm"


def test_an_error_crosses_a_process_border_unchanged():
    error = RefusedError("E-X", "file", found="this", expected="that", remedy="do")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is RefusedError
    assert again.problem == error.problem


def test_every_kind_of_error_has_a_documented_exit_code():
    kinds = [PipelineError, *PipelineError.__subclasses__()]
    assert {kind.exit_code for kind in kinds} <= {2, 3, 4, 6, 7, 8}
