"""The sample case against its truth: `python benchmarks/figures_sample.py [SCANS RESULTS]`.

Runs the pipeline on the sample case (written if missing) and prints, for each
lesion and visit, Dice, the longest diameter, density and calcified fraction
beside the truth, and the response beside the expected one. Exits 1 below the bars.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from imaging_pipeline.domain.case import Case, Outcome
from imaging_pipeline.domain.images import Mask
from imaging_pipeline.io.nifti import read_nifti
from imaging_pipeline.io.record import read_case

ROOT = Path(__file__).parents[1]
BARRED = ("L4", "AX")
DICE_BAR, DIAMETER_BAR_MM = 0.85, 2.0
CATEGORIES = ("target", "non_target", "overall")
QUANTITIES = ("longest_diameter", "mean_density", "calcified_fraction")


def dice(mask: Mask, truth_path: Path) -> float:
    """Overlap of an outline with the true mask on the scan's grid."""
    volume = read_nifti(truth_path)
    truth = Mask(volume.array > 0, volume.grid, "truth")
    ours = mask.on(truth.grid).array
    return 2.0 * np.count_nonzero(ours & truth.array) / (np.count_nonzero(mask.array) + np.count_nonzero(truth.array))


def rows(case: Case, values, truth: dict, folder: Path):
    """One row per lesion and visit that has a truth."""
    dates = {visit.number: visit.date for visit in case.visits}
    numbers = {
        (item.lesion_id, item.visit, item.quantity): item
        for item in case.measurements
        if item.evidence.kind == "segmented"
    }
    for sighting in case.sightings:
        date = dates[sighting.visit]
        true = truth["visits"][date]["lesions"].get(sighting.lesion_id)
        if true is None:
            continue
        row = {
            "lesion": sighting.lesion_id,
            "visit": date,
            "tracked": sighting.outcome is Outcome.MEASURED,
            "dice": float("nan"),
        }
        if row["tracked"]:
            row["dice"] = dice(values[sighting.mask], folder / date / f"{sighting.lesion_id}.nii.gz")
        for name in QUANTITIES:
            item = numbers.get((sighting.lesion_id, sighting.visit, name))
            expected = true["quantities"].get(name)
            row[name] = (item.value if item else float("nan"), float("nan") if expected is None else expected)
        yield row


def good(row: dict) -> bool:
    """Whether a row of the two lesions the bars are for reaches them."""
    found, true = row["longest_diameter"]
    return row["tracked"] and row["dice"] >= DICE_BAR and abs(found - true) <= DIAMETER_BAR_MM


def main(scans: Path, results: Path) -> int:
    """Print the table; 0 when every bar is reached."""
    program = str(Path(sys.executable).parent / "imaging-pipeline")
    if not (scans / "truth.json").exists():
        subprocess.run([program, "sample", str(scans)], check=True)
    subprocess.run(
        [program, "run", str(scans), "--config", str(ROOT / "configs/mpnst.yaml"), "--out", str(results)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with (results / "identities.csv").open(newline="") as stream:
        identities = dict(csv.reader(stream))
    truths = json.loads((scans / "truth.json").read_text())["patients"]
    reached = True
    for place in sorted(results.glob("cases/*")):
        patient = identities[place.name]
        truth = truths[patient]
        case, values = read_case(place)
        print(
            f"{patient}\nlesion  visit       tracked  dice   diameter mm (true)   mean HU (true)    calcified % (true)"
        )
        for row in rows(case, values, truth, scans / "truth" / patient):
            pairs = "   ".join(f"{found:7.2f} ({true:7.2f})" for found, true in (row[name] for name in QUANTITIES))
            print(f"{row['lesion']:7} {row['visit']}  {row['tracked']!s:7}  {row['dice']:.3f}  {pairs}")
            reached &= row["lesion"] not in BARRED or good(row)
        for judgement in case.assessments:
            date = case.visits[judgement.visit].date
            expected = truth["visits"][date]["expected"].get(judgement.criterion)
            if expected is None:
                print(f"{judgement.criterion} at {date}: {judgement.overall or '-'}, which the truth does not hold")
                continue
            right = all(getattr(judgement, name) == expected.get(name, "") for name in CATEGORIES)
            wanted = expected.get("overall", "") or "-"
            said = f"{judgement.criterion} at {date}: {judgement.overall or '-'}, expected {wanted}"
            print(f"{said}: {'right' if right else 'WRONG'}")
            reached &= right
    print("every bar reached" if reached else "a bar was missed")
    return 0 if reached else 1


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:3]]
    sys.exit(main(*(given or (ROOT / "sample_data/case", ROOT / "results"))))
