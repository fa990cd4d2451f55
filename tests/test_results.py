"""What a run says of itself at its end."""

from imaging_pipeline.results import CaseOutcome, RunOutcome


def test_a_run_whose_cases_failed_does_not_claim_that_nothing_was_to_do():
    outcome = RunOutcome((CaseOutcome("p-1", None, ()),), ())
    assert outcome.sentence == "1 failed; 0 stage results computed, 0 recalled"
    assert outcome.exit_code(strict=False) == 4
