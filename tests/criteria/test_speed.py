"""Ten thousand patients through `assess` on one core."""

from __future__ import annotations

import datetime
import json
import time
from random import Random

import pytest

from imaging_pipeline.criteria.documents import answer_lines, dumps

PATIENTS, VISITS, TARGETS, BAR_SECONDS = 10_000, 8, 5, 10


def patient(random):
    lesions = [
        {"id": f"T{number}", "role": "target", "organ": f"organ {number // 2}", "node": number == 4}
        for number in range(TARGETS)
    ]
    visits = []
    for number in range(VISITS):
        sizes = {lesion["id"]: round(random.uniform(5, 60), 1) for lesion in lesions}
        visits.append(
            {
                "id": f"V{number}",
                "date": (datetime.date(2024, 1, 1) + datetime.timedelta(days=56 * number)).isoformat(),
                "measurements": {
                    lesion["id"]: {"short_axis_mm" if lesion["node"] else "longest_diameter_mm": sizes[lesion["id"]]}
                    for lesion in lesions
                },
                "non_targets": {"N1": "present"},
                "new_lesions": "no",
            }
        )
    return {"kind": "timeline", "lesions": [*lesions, {"id": "N1", "role": "non_target"}], "visits": visits}


@pytest.mark.slow
def test_ten_thousand_patients_of_eight_visits_and_five_targets():
    random = Random(1)
    lines = [json.dumps(patient(random)) for _ in range(PATIENTS)]
    start = time.process_time()
    answers = [dumps(answered) for answered in answer_lines(lines)]
    seconds = time.process_time() - start
    print(f"{PATIENTS} patients, {VISITS} visits, {TARGETS} targets: {seconds:.1f} s of one core, text to text")
    assert len(answers) == PATIENTS
    assert not any('"error"' in text for text in answers)
    assert seconds < BAR_SECONDS
