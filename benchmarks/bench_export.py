"""SEG and SR of one visit: this package against highdicom used plainly on all source slices, in one run.

Both start from the same case, masks and measurements in memory and end with two
files in memory. highdicom needs the source images as data sets; reading them is
timed apart and not counted. Run from the repository: python -m benchmarks.bench_export
"""

import io
import statistics
import sys
import time
import warnings
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from imaging_pipeline.domain.quantities import CATALOGUE  # noqa: E402
from imaging_pipeline.io.objects import FINDINGS, outlined  # noqa: E402
from imaging_pipeline.io.seg import segmentations  # noqa: E402
from imaging_pipeline.io.structured_report import structured_report  # noqa: E402
from imaging_pipeline.io.tables import chosen, number  # noqa: E402
from tests.io.exported import MINI, REAL, mini, real  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
REPEATS = 5


def ours(case, values, visit):
    """Both objects as bytes."""
    outlines, _ = segmentations(case, values, visit)
    report = structured_report(case, values, visit, outlines)
    return [outline.file.content for outline in outlines] + [report.content]


def theirs(case, values, visit, images):
    """The same content by highdicom: every slice of each series given, one report of all lesions."""
    by_series = {}
    for seen in outlined(case, values, visit):
        by_series.setdefault(seen.source.series.series_instance_uid, []).append(seen)
    segs = [_seg(members, images[uid]) for uid, members in by_series.items()]
    return [_written(seg) for seg in segs] + [_written(_report(case, visit, images, segs, by_series))]


def _code(code):
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _seg(members, images):
    grid = members[0].source.series.grid
    pixels = np.stack([member.mask.on(grid).array for member in members], axis=-1)
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=place,
            segment_label=member.lesion.lesion_id,
            segmented_property_category=hd.sr.CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure"),
            segmented_property_type=_code(FINDINGS[member.lesion.kind]),
            algorithm_type="SEMIAUTOMATIC",
            algorithm_identification=_algorithm(),
            tracking_uid=member.lesion.tracking_uid,
            tracking_id=member.lesion.lesion_id,
        )
        for place, member in enumerate(members, start=1)
    ]
    return hd.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=hd.UID(),
        series_number=1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="bench",
        manufacturer_model_name="bench",
        software_versions="1",
        device_serial_number="1",
    )


def _algorithm():
    return hd.AlgorithmIdentificationSequence("competition", hd.sr.CodedConcept("123106", "DCM", "Neighborhood"), "1")


def _report(case, visit, images, segs, by_series):
    groups = []
    numbers = chosen(case.measurements)
    for seg, (uid, members) in zip(segs, by_series.items(), strict=True):
        for place, member in enumerate(members, start=1):
            source = hd.sr.SourceSeriesForSegmentation(uid)
            segment = hd.sr.ReferencedSegment(hd.UID(seg.SOPClassUID), seg.SOPInstanceUID, place, source_series=source)
            measurements = [
                _measurement(quantity, numbers[member.lesion.lesion_id, visit.number, name])
                for name, quantity in CATALOGUE.items()
                if (member.lesion.lesion_id, visit.number, name) in numbers
            ]
            groups.append(
                hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                    tracking_identifier=hd.sr.TrackingIdentifier(member.lesion.tracking_uid, member.lesion.lesion_id),
                    referenced_segment=segment,
                    finding_type=_code(FINDINGS[member.lesion.kind]),
                    time_point_context=hd.sr.TimePointContext(time_point=visit.label),
                    measurements=measurements,
                )
            )
    observer = hd.sr.ObserverContext(
        hd.sr.CodedConcept("121007", "DCM", "Device"), hd.sr.DeviceObserverIdentifyingAttributes(uid=hd.UID())
    )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=hd.sr.CodedConcept("25045-6", "LN", "CT unspecified body region"),
        imaging_measurements=groups,
    )
    evidence = [image for uid in by_series for image in images[uid]] + segs
    return hd.sr.Comprehensive3DSR(
        evidence=evidence,
        content=report,
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="bench",
    )


def _measurement(quantity, measurement):
    return hd.sr.Measurement(
        name=_code(quantity.code),
        value=float(number(measurement.value, quantity.name)),
        unit=hd.sr.CodedConcept(quantity.unit, "UCUM", quantity.unit),
        derivation=_code(quantity.derivation) if quantity.derivation else None,
    )


def _written(dataset):
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def seconds(work):
    """Median of several runs, after one that warms up."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def source_images(visit, folder):
    """Every image of the visit's series, in the order of its slices."""
    found = {}
    for path in folder.rglob("*.dcm"):
        image = pydicom.dcmread(path)
        if not image.get("SpecificCharacterSet", True):
            del image.SpecificCharacterSet  # highdicom refuses one that is there and empty
        found[str(image.SOPInstanceUID)] = image
    return {
        series.series_instance_uid: [found[each.sop_instance_uid] for each in series.instances]
        for series in visit.series
        if all(each.sop_instance_uid in found for each in series.instances)
    }


def main():
    """One line for each case."""
    warnings.simplefilter("ignore")  # highdicom on what the scans' own headers hold
    scenes = [("mini case, baseline", *mini(), MINI)]
    scenes += [(name, *real(DATA, name), DATA / REAL[name][0]) for name in REAL] if DATA.is_dir() else []
    print(f"{'case':<28}{'frames':>7}{'ours s':>9}{'highdicom s':>13}{'times':>7}{'reading s':>11}")
    for name, case, values, folder in scenes:
        visit = case.visits[0]
        start = time.perf_counter()
        images = source_images(visit, folder)
        reading = time.perf_counter() - start
        mine = seconds(lambda: ours(case, values, visit))  # noqa: B023
        other = seconds(lambda: theirs(case, values, visit, images))  # noqa: B023
        frames = sum(np.count_nonzero(each.mask.array.any(axis=(1, 2))) for each in outlined(case, values, visit))
        print(f"{name:<28}{frames:>7}{mine:>9.3f}{other:>13.3f}{other / mine:>7.1f}{reading:>11.3f}")


if __name__ == "__main__":
    main()
