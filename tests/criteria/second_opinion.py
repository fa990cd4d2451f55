"""RECIST 1.1 once more, written from the paper's tables alone: fractions, look-up tables and strings of codes.

It shares nothing with the package and takes the same documents. No confidence
in its style is asked for, only that its errors are others'.
"""

from __future__ import annotations

import datetime
import itertools
import re
from fractions import Fraction

ANY = ("CR", "PR", "SD", "PD", "NE", "NON-CR/NON-PD", None)

# Table 1 and Table 2: target, non-target, new lesion, overall. The first line that fits holds.
TABLES = (
    (("PD",), ANY, (True, False), "PD"),
    (ANY, ("PD",), (True, False), "PD"),
    (ANY, ANY, (True,), "PD"),
    (("CR",), ("CR", None), (False,), "CR"),
    (("CR",), ("NON-CR/NON-PD", "NE"), (False,), "PR"),
    (("PR",), ANY, (False,), "PR"),
    (("SD",), ANY, (False,), "SD"),
    (("NE",), ANY, (False,), "NE"),
    ((None,), ("CR",), (False,), "CR"),
    ((None,), ("NON-CR/NON-PD",), (False,), "NON-CR/NON-PD"),
    ((None,), ("NE",), (False,), "NE"),
    ((None,), (None,), (False,), "NED"),
)


def overall(target, non_target, new):
    return next(
        result
        for targets, non_targets, news, result in TABLES
        if target in targets and non_target in non_targets and new in news
    )


def sizes_at(document, visit):
    """What was seen of each target (at least), which were seen whole, and the size from which each is there."""
    targets = [lesion for lesion in document["lesions"] if lesion["role"] == "target"]
    found = visit["measurements"]

    def seen(lesion, entry):
        if entry is None or entry.get("state") == "not_evaluable":
            return Fraction(0), False
        if "merged_into" in entry:
            return Fraction(0), seen(lesion, found.get(entry["merged_into"]))[1]
        if "fragments" in entry:
            parts = [seen(lesion, part) for part in entry["fragments"]]
            return sum(part[0] for part in parts), all(part[1] for part in parts)
        if "state" in entry:
            return {"absent": Fraction(0), "too_small": Fraction(5)}[entry["state"]], True
        return Fraction(str(entry["short_axis_mm" if lesion["node"] else "longest_diameter_mm"])), True

    sizes = {lesion["id"]: seen(lesion, found.get(lesion["id"])) for lesion in targets}
    limits = {lesion["id"]: Fraction(10) if lesion["node"] else Fraction(1, 10**9) for lesion in targets}
    return sizes, limits


def target_codes(document, retention):
    """Target response of each follow-up, and whether each was CR of everything so far."""
    first, limits = sizes_at(document, document["visits"][0])
    if not first:
        return [None] * (len(document["visits"]) - 1)
    baseline = sum(size for size, _ in first.values()) if all(whole for _, whole in first.values()) else None
    sums, codes, complete = [baseline], [], False
    for visit in document["visits"][1:]:
        sizes, _ = sizes_at(document, visit)
        lower = sum(size for size, _ in sizes.values())
        whole = all(is_whole for _, is_whole in sizes.values())
        back = [name for name, (size, _) in sizes.items() if size >= limits[name]]
        nadir = min([total for total in sums if total is not None], default=None)
        if baseline is None:
            code = "NE"
        elif whole and not back:
            code = "CR"
        elif (complete and back) or (lower - nadir >= 5 and lower * 5 >= nadir * 6):
            code = "PD"
        elif not whole:
            code = "NE"
        elif lower * 10 <= baseline * 7:
            code = "PR"
        else:
            since_pd = "".join({"CR": "r", "PR": "r", "PD": "!"}.get(before, ".") for before in codes)
            code = "PR" if retention == "eortc" and re.search(r"r[^!]*$", since_pd) else "SD"
        codes.append(code)
        complete = complete or overall(code, non_target_code(document, visit, complete), is_new(visit)) == "CR"
        sums.append(lower if whole else None)
    return codes


def non_target_code(document, visit, complete):
    states = [
        visit["non_targets"].get(lesion["id"], "not_evaluated")
        for lesion in document["lesions"]
        if lesion["role"] == "non_target"
    ]
    if not states:
        return None
    if "progression" in states or (complete and "present" in states):
        return "PD"
    worst = next(state for state in ("not_evaluated", "present", "absent") if state in states)
    return {"not_evaluated": "NE", "present": "NON-CR/NON-PD", "absent": "CR"}[worst]


def is_new(visit):
    return visit["new_lesions"] == "unequivocal" or bool(visit["confirms_new_from"])


def judge(document, retention="eortc"):
    """Target, non-target and overall response of each follow-up."""
    complete = False
    rows = []
    for target, visit in zip(target_codes(document, retention), document["visits"][1:], strict=True):
        non_target = non_target_code(document, visit, complete)
        row = (target, non_target, overall(target, non_target, is_new(visit)))
        complete = complete or row[2] == "CR"
        rows.append(row)
    return rows


# Best overall response: the sequence as a string of letters, up to the first PD.

LETTERS = {"CR": "C", "PR": "P", "SD": "S", "NON-CR/NON-PD": "N", "NED": "0", "PD": "D", "NE": "-"}
CODES = {letter: code for code, letter in LETTERS.items()}
ORDER = "CPSN0D-"


def best(dated, start, sd_days=42, confirm_days=28, max_ne=1):
    """Unconfirmed and confirmed best overall response of (date, code) pairs."""
    word = "".join(LETTERS[code] for _, code in dated)
    word = re.split(r"(?<=D)", word)[0]
    lost = re.search(r"C.*?[PSN]", word)
    word = word[: lost.end()] if lost else word
    days = [(date - start).days for date, _ in dated][: len(word)]
    if not word:
        return None, None
    counted = ["-" if letter in "SN" and day < sd_days else letter for letter, day in zip(word, days, strict=True)]
    unconfirmed = min(counted, key=ORDER.index)
    for reached, pattern in (("C", r"C[C-]*C"), ("P", r"P([CP-]*C|[P-]*P)")):
        for first, second in itertools.combinations(range(len(word)), 2):
            part = word[first : second + 1]
            apart = days[second] - days[first] >= confirm_days
            if apart and re.fullmatch(pattern, part) and part.count("-") <= max_ne:
                return CODES[unconfirmed], CODES[reached]
    # Table 3, last column: what was not repeated is SD from the least interval on.
    fallen = [
        {"C": "S", "P": "S"}.get(letter, letter) if day >= sd_days or letter in "0D" else "-"
        for letter, day in zip(word, days, strict=True)
    ]
    if lost and fallen[-1] == "-":
        fallen[-1] = "D"
    return CODES[unconfirmed], CODES[min(fallen, key=ORDER.index)]


def progression(document, rows):
    """Date of the first PD; a confirmed equivocal new lesion dates it back."""
    confirmed = set(itertools.chain.from_iterable(visit["confirms_new_from"] for visit in document["visits"]))
    dates = [
        visit["date"]
        for visit, (_, _, code) in zip(document["visits"][1:], rows, strict=True)
        if code == "PD" or visit["id"] in confirmed
    ]
    return min(dates, default=None)


def dated(document, rows):
    """Overall responses with their dates, as they count for the best one."""
    confirmed = set(itertools.chain.from_iterable(visit["confirms_new_from"] for visit in document["visits"]))
    return [
        (datetime.date.fromisoformat(visit["date"]), "PD" if visit["id"] in confirmed else code)
        for visit, (_, _, code) in zip(document["visits"][1:], rows, strict=True)
    ]
