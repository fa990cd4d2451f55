"""Random but plausible courses of disease, as documents of `assess`; near the thresholds more often than chance."""

from __future__ import annotations

import datetime
from random import Random

FACTORS = (0, 0.2, 0.5, 0.69, 0.7, 0.7, 0.71, 0.9, 1, 1, 1.1, 1.19, 1.2, 1.2, 1.21, 1.5)


def document(random: Random) -> dict:
    """One patient: up to four targets, two non-targets, eight visits."""
    targets = [
        {"id": f"T{number}", "role": "target", "organ": f"organ {number}", "node": random.random() < 0.3}
        for number in range(random.randint(0, 4))
    ]
    non_targets = [
        {"id": f"N{number}", "role": "non_target", "organ": "", "node": False} for number in range(random.randint(0, 2))
    ]
    sizes = {lesion["id"]: random.randint(100, 600) / 10 for lesion in targets}
    date = datetime.date(2024, 1, 1)
    visits = []
    for number in range(random.randint(2, 8)):
        visits.append(
            {
                "id": f"V{number}",
                "date": date.isoformat(),
                "measurements": {lesion["id"]: _finding(random, lesion, sizes, number) for lesion in targets},
                "non_targets": {lesion["id"]: _state(random) for lesion in non_targets},
                "new_lesions": _new(random) if number else "no",
                "confirms_new_from": [],
            }
        )
        date += datetime.timedelta(days=random.choice((14, 27, 28, 41, 42, 56)))
        factor = random.choice(FACTORS)
        together = random.random() < 0.6
        for name in sizes:
            sizes[name] = round(sizes[name] * (factor if together else random.choice(FACTORS)), 1)
            if sizes[name] == 0 and random.random() < 0.4:
                sizes[name] = random.randint(1, 120) / 10
    _confirm(random, visits)
    _merge(random, targets, visits)
    return {"kind": "timeline", "lesions": targets + non_targets, "visits": visits}


def _finding(random: Random, lesion: dict, sizes: dict, number: int) -> dict:
    field = "short_axis_mm" if lesion["node"] else "longest_diameter_mm"
    size = sizes[lesion["id"]]
    chance = random.random()
    if number and chance < 0.06:
        return {"state": "not_evaluable"}
    if number and chance < 0.1:
        return {"state": "too_small"}
    if number and size == 0 and chance < 0.6:
        return {"state": "absent"}
    if number and chance > 0.95:
        return {"fragments": [{field: round(size / 2, 1)}, random.choice(({field: 3.3}, {"state": "not_evaluable"}))]}
    return {field: size if number or size else 10.0}


def _state(random: Random) -> str:
    return random.choices(("present", "absent", "not_evaluated", "progression"), (6, 4, 1, 0.4))[0]


def _new(random: Random) -> str:
    return random.choices(("no", "equivocal", "unequivocal"), (20, 1, 0.5))[0]


def _confirm(random: Random, visits: list) -> None:
    for later, visit in enumerate(visits):
        doubted = [earlier["id"] for earlier in visits[:later] if earlier["new_lesions"] == "equivocal"]
        if doubted and random.random() < 0.3:
            visit["confirms_new_from"] = [random.choice(doubted)]


def _merge(random: Random, targets: list, visits: list) -> None:
    plain = [lesion["id"] for lesion in targets if not lesion["node"]]
    if len(plain) > 1 and random.random() < 0.15:
        for visit in visits[random.randint(1, len(visits)) :]:
            visit["measurements"][plain[0]] = {"merged_into": plain[1]}
