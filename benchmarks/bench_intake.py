"""Index and load beside peers in one run: `python benchmarks/bench_intake.py`, about five minutes.

Ours and every peer work in a process of their own, alternately, in pairs after
a warm-up, warm cache; each times itself. The figure is the median of the pairs'
ratios (peer / ours) with its range; beside it that of processor time, which a busy
machine leaves alone. What they answer is compared before anything
is timed; where they do less than ours, the row says so. The files are made here:
4,000 slices under the header of a real scanner (the CT that pydicom ships), as
many under a short header, a series of 300 slices, and some in each compression.
Writes Markdown and JSON to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PAIRS, SLOW_PAIRS, SLOW_SECONDS = 5, 3, 4.0
SERIES, SLICES, LOADED = 20, 200, 300
TAGS = ((0x0020, 0x000E), (0x0020, 0x0032), (0x0020, 0x0037), (0x0028, 0x0030))
SYNTAXES = {"JPEG-LS": ("JPEGLSLossless", 60), "RLE": ("RLELossless", 60), "JPEG 2000": ("JPEG2000Lossless", 20)}

HEAD = (
    "| step | peer | ours, s | peer, s | peer / ours (range) | of processor time | peak MiB, ours / peer |",
    "|--|--|--|--|--|--|--|",
)

Answer = Any


# ---- Files


def body() -> np.ndarray:
    """A slice of 512 x 512 HU: a body with organs, and a scanner's noise."""
    row, column = np.indices((512, 512)) - 256.0
    tissue = np.where(
        (row / 170) ** 2 + (column / 220) ** 2 < 1, 40 + 30 * np.sin(row / 19) * np.cos(column / 23), -1000
    )
    return np.clip(tissue + np.random.default_rng(0).normal(0, 12, tissue.shape), -1024, 3000).astype("<i2")


def real_header() -> Any:
    """The slice of a GE scanner that pydicom ships: 256 elements, private ones among them."""
    import pydicom
    from pydicom.data import get_testdata_file

    slice_ = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    slice_.BitsStored, slice_.HighBit, slice_.PixelData = 16, 15, b"\0\0"
    slice_["PixelData"].VR = "OW"
    for keyword in ("DataSetTrailingPadding", "SpacingBetweenSlices"):
        if keyword in slice_:
            del slice_[keyword]
    return slice_


def short_header() -> Any:
    """No more than a CT image must have, and little that it should: 44 elements."""
    from pydicom.dataset import Dataset

    slice_ = real_header()
    kept = ["SpecificCharacterSet", "ImageType", "SOPClassUID", "Modality", "Manufacturer", "KVP", "ConvolutionKernel"]
    kept += ["ImageOrientationPatient", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored"]
    kept += ["HighBit", "PixelRepresentation", "RescaleIntercept", "RescaleSlope", "PixelData"]
    short = Dataset()
    for keyword in kept:
        if keyword in slice_:
            short[keyword] = slice_[keyword]
    short.file_meta = slice_.file_meta
    short.preamble = bytes(128)
    return short


def write_series(folder: Path, slice_: Any, number: int, slices: int, syntax: str = "ExplicitVRLittleEndian") -> None:
    """One series: every slice with its own UIDs, place, time and pixels."""
    from pydicom import uid as uids

    folder.mkdir(parents=True)
    pixels = body()
    slice_.PatientID, slice_.PatientName = f"P{number // 4}", f"Doe^{number // 4}"
    slice_.StudyInstanceUID, slice_.SeriesInstanceUID = f"1.2.826.0.1.{number // 2 + 1}", f"1.2.826.0.1.{number + 100}"
    slice_.StudyDate = slice_.SeriesDate = slice_.AcquisitionDate = slice_.ContentDate = (
        f"2023{number % 4 * 3 + 1:02}10"
    )
    slice_.FrameOfReferenceUID = f"{slice_.SeriesInstanceUID}.9"
    slice_.SliceThickness, slice_.PixelSpacing = 1.25, [0.66, 0.66]
    slice_.Rows, slice_.Columns = pixels.shape
    for place in range(slices):
        slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = f"{slice_.SeriesInstanceUID}.{place + 1}"
        slice_.InstanceNumber, slice_.ContentTime = place + 1, f"12{place // 60:02}{place % 60:02}"
        slice_.ImagePositionPatient = [-158.135803, -179.035797, round(-75.7 - 1.25 * place, 3)]
        intercept = int(slice_.RescaleIntercept)
        slice_.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
        slice_.PixelData = (np.roll(pixels, place) - np.int16(intercept)).astype("<i2").tobytes()
        slice_["PixelData"].VR = "OW"
        if syntax != "ExplicitVRLittleEndian":
            slice_.compress(getattr(uids, syntax), generate_instance_uid=False)
        slice_.save_as(folder / f"IM{place:04}.dcm", enforce_file_format=True)


def make_files(folder: Path) -> None:
    """All that is read below."""
    for name, header in (("real", real_header), ("short", short_header)):
        for number in range(SERIES):
            write_series(folder / name / f"P{number // 4}" / f"S{number}", header(), number, SLICES)
    write_series(folder / "series", real_header(), 0, LOADED)
    for name, (syntax, slices) in SYNTAXES.items():
        write_series(folder / name, real_header(), 0, slices, syntax)


@cache
def files_of(folder: str) -> list[str]:
    """The paths of all slices, in no order that says anything."""
    return sorted(map(str, Path(folder).rglob("*.dcm")))


# ---- Who can index a folder: the number of slices by series


def ours_index(folder: str) -> Answer:
    """Every check, patients, visits, geometry verdicts."""
    from imaging_pipeline.config import Config
    from imaging_pipeline.io.folder import index

    found = index(Path(folder), Config())
    series = [record.series for patient in found.patients for record in patient.series]
    return {each.series_instance_uid: len(each.instances) for each in series}


def gdcm_index(folder: str) -> Answer:
    """GDCM's scanner, four tags."""
    import gdcm

    paths, scanner = files_of(folder), gdcm.Scanner()
    for tag in TAGS:
        scanner.AddTag(gdcm.Tag(*tag))
    assert scanner.Scan(paths)
    return Counter(scanner.GetValue(path, gdcm.Tag(*TAGS[0])).strip("\0 ") for path in paths)


def pydicom_index(folder: str) -> Answer:
    """pydicom's headers, the same four tags."""
    import pydicom

    headers = [pydicom.dcmread(p, stop_before_pixels=True, specific_tags=list(TAGS)) for p in files_of(folder)]
    return Counter(str([header.get(tag) for tag in TAGS] and header.SeriesInstanceUID) for header in headers)


def simpleitk_index(folder: str) -> Answer:
    """SimpleITK's series lookup, folder by folder; the files in order, nothing else."""
    import SimpleITK

    found = {}
    for place in sorted({str(Path(path).parent) for path in files_of(folder)}):
        for uid in SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(place):
            found[uid] = len(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(place, uid))
    return found


def dcm2niix_index(folder: str) -> Answer:
    """dcm2niix, told only to report the series; whole process."""
    ran = subprocess.run(["dcm2niix", "-n", "-1", "-b", "n", "-d", "9", folder], capture_output=True, text=True)
    assert str(len(files_of(folder))) in ran.stdout
    return None


# ---- Who can tell that nothing changed


def ours_again(folder: str) -> Answer:
    """The index of an unchanged folder, recalled."""
    from imaging_pipeline.config import Config
    from imaging_pipeline.io.folder import index

    found = index(Path(folder), Config(), Path(folder).parent / "memory")
    series = [record.series for patient in found.patients for record in patient.series]
    return {each.series_instance_uid: len(each.instances) for each in series}


def walk_and_stat(folder: str) -> Answer:
    """os.walk and os.stat."""
    for place, _, names in os.walk(folder):
        for name in names:
            os.stat(f"{place}/{name}")  # noqa: PTH116 - as bare as can be


def scan_and_stat(folder: str) -> Answer:
    """os.scandir and DirEntry.stat, the quickest Python can do."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                scan_and_stat(entry.path)
            else:
                entry.stat(follow_symlinks=False)


# ---- Who can load a series: the HU volume


def ours_volume(folder: str) -> Answer:
    """Folder to volume, indexed and judged."""
    from imaging_pipeline.io.loaders import open_series

    return open_series(Path(folder))[0].array


def simpleitk_volume(folder: str) -> Answer:
    """SimpleITK with series lookup."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(folder))
    return SimpleITK.GetArrayFromImage(reader.Execute())


def simpleitk_ordered(folder: str) -> Answer:
    """SimpleITK, told the order."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(files_of(folder)[::-1])
    return SimpleITK.GetArrayFromImage(reader.Execute())


def _sorted_slices(folder: str) -> list[Any]:
    import pydicom

    return sorted((pydicom.dcmread(path) for path in files_of(folder)), key=lambda each: each.ImagePositionPatient[2])


def pydicom_frombuffer(folder: str) -> Answer:
    """pydicom, sorted by position, pixels by numpy.frombuffer into one array."""
    slices = _sorted_slices(folder)
    volume = np.empty((len(slices), slices[0].Rows, slices[0].Columns), np.int16)
    for number, each in enumerate(slices):
        stored = np.frombuffer(each.PixelData, "<i2").reshape(volume.shape[1:])
        np.add(stored, np.int16(each.RescaleIntercept), out=volume[number])
    return volume


def pydicom_stack(folder: str) -> Answer:
    """pydicom, sorted by position, pixel_array by its plug-ins."""
    return np.stack([each.pixel_array + np.int16(each.RescaleIntercept) for each in _sorted_slices(folder)])


def highdicom_volume(folder: str) -> Answer:
    """highdicom's volume of a series."""
    import highdicom
    import pydicom

    volume = highdicom.get_volume_from_series([pydicom.dcmread(path) for path in files_of(folder)], dtype=np.float32)
    return volume.array if volume.affine[2, 0] > 0 else volume.array[::-1]


def dcm2niix_volume(folder: str) -> Answer:
    """dcm2niix, uncompressed NIfTI, and nibabel."""
    import nibabel

    with tempfile.TemporaryDirectory() as out:
        subprocess.run(
            ["dcm2niix", "-z", "n", "-b", "n", "-o", out, "-f", "x", folder], capture_output=True, check=True
        )
        image = nibabel.load(Path(out) / "x.nii")
        volume = np.asarray(image.dataobj).T
    return np.ascontiguousarray(volume[:, ::-1])


def reading_files(folder: str) -> Answer:
    """The files' bytes, each file's kept, nothing else."""
    return None if [Path(path).read_bytes() for path in files_of(folder)] else folder


def reading_bytes(folder: str) -> Answer:
    """The files' bytes into one array, nothing else."""
    paths = files_of(folder)
    room = np.empty((len(paths), Path(paths[0]).stat().st_size + 64), np.uint8)
    for path, place in zip(paths, room, strict=True):
        with Path(path).open("rb", buffering=0) as stream:
            stream.readinto(place)


# ---- One process each


def serve(task: Callable[[str], Answer], folder: str) -> None:
    """Do the task once for every line that comes in; tell how long it took, and the first time what came out."""
    first = True
    for _ in sys.stdin:
        before = _memory_kib("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        busy, start = _busy_seconds(), time.perf_counter()
        answer = task(folder)
        took = {"seconds": time.perf_counter() - start, "cpu": _busy_seconds() - busy}
        peak = (_memory_kib("VmHWM") - before) / 1024
        print(json.dumps({**took, "peak_mib": peak, "answer": _said(answer) if first else None}), flush=True)
        first = False
    os._exit(0)  # GDCM's wheel dies in its destructors


def _busy_seconds() -> float:
    """Processor time of this process and the programs it ran, which a busy machine does not lengthen."""
    uses = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def _memory_kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def _said(answer: Answer) -> Answer:
    if not isinstance(answer, np.ndarray):
        return answer
    return sha256(np.ascontiguousarray(answer, np.int16)).hexdigest() + str(answer.shape)


class Runner:
    """A task in a process of its own."""

    def __init__(self, task: Callable[[str], Answer], folder: Path) -> None:
        command = [sys.executable, __file__, "--task", task.__name__, "--folder", str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = self.run()

    def run(self) -> dict[str, Any]:
        """The task once more."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} died")
        return dict(json.loads(line))

    def end(self) -> None:
        """Stop it."""
        self._process.communicate()


def compared(
    step: str, ours: Callable[[str], Answer], peers: list[Callable[[str], Answer]], folder: Path
) -> list[dict[str, Any]]:
    """Ours beside each peer."""
    rows = []
    mine = Runner(ours, folder)
    for peer in peers:
        what = (peer.__doc__ or "").splitlines()[0].rstrip(".")
        if "dcm2niix" in peer.__name__ and shutil.which("dcm2niix") is None:
            rows.append({"step": step, "peer": f"{what}: not installed, skipped"})
            continue
        other = Runner(peer, folder)
        comparable = None not in (mine.first["answer"], other.first["answer"])
        if comparable and mine.first["answer"] != other.first["answer"]:
            raise SystemExit(f"{step}: {peer.__name__} answers another thing than ours: not compared")
        count = SLOW_PAIRS if other.first["seconds"] > SLOW_SECONDS else PAIRS
        pairs = [(mine.run(), other.run()) for _ in range(count)]
        other.end()
        ratios = sorted(theirs["seconds"] / own["seconds"] for own, theirs in pairs)
        rows.append(
            {
                "step": step,
                "peer": what,
                "ours_s": median(own["seconds"] for own, _ in pairs),
                "peer_s": median(theirs["seconds"] for _, theirs in pairs),
                "ratio": median(ratios),
                "low": ratios[0],
                "high": ratios[-1],
                "cpu_ratio": median(theirs["cpu"] / own["cpu"] for own, theirs in pairs),
                "pairs": len(pairs),
                "ours_peak_mib": max(own["peak_mib"] for own, _ in pairs),
                "peer_peak_mib": max(theirs["peak_mib"] for _, theirs in pairs),
                "equal_output": comparable,
            }
        )
        print(_line(rows[-1]), flush=True)
    mine.end()
    return rows


def _line(row: dict[str, Any]) -> str:
    if "ratio" not in row:
        return f"| {row['step']} | {row['peer']} | | | | | |"
    return (
        f"| {row['step']} | {row['peer']} | {row['ours_s']:.3f} | {row['peer_s']:.3f} | "
        f"{row['ratio']:.2f} ({row['low']:.2f}-{row['high']:.2f}) | {row['cpu_ratio']:.2f} | "
        f"{row['ours_peak_mib']:.0f} / {row['peer_peak_mib']:.0f} |"
    )


def two_processes() -> float:
    """How much two processes of pure computation speed up: below 1.7 the machine is busy, or has one core."""
    start = time.perf_counter()
    _spin(0), _spin(1)
    alone = time.perf_counter() - start
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(abs, range(2)))
        start = time.perf_counter()
        list(pool.map(_spin, range(2)))
        return alone / (time.perf_counter() - start)


def _spin(start: int) -> int:
    return sum(number for number in range(start, 4_000_000))


def measured(files: Path) -> list[dict[str, Any]]:
    """Every row."""
    indexers = [gdcm_index, pydicom_index, simpleitk_index, dcm2niix_index]
    count = SERIES * SLICES
    print("\n".join(HEAD))
    rows = compared(f"index {count} files, a scanner's header", ours_index, indexers, files / "real")
    rows += compared(f"index {count} files, a short header", ours_index, [gdcm_index], files / "short")
    rows += compared(f"second index of {count} files", ours_again, [walk_and_stat, scan_and_stat], files / "real")
    loaders = [simpleitk_volume, simpleitk_ordered, pydicom_frombuffer, pydicom_stack, highdicom_volume]
    loaders += [dcm2niix_volume, reading_files, reading_bytes]
    rows += compared(f"load {LOADED} slices, folder to HU", ours_volume, loaders, files / "series")
    for name, (_, slices) in SYNTAXES.items():
        step = f"load {slices} slices of {name}"
        rows += compared(step, ours_volume, [pydicom_stack, simpleitk_ordered], files / name)
    return rows


def main() -> None:
    """Make the files, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, help="keep the files here, and use those that are there")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.task:
        serve(globals()[asked.task], asked.folder)
    with tempfile.TemporaryDirectory() as temporary:
        files = asked.files or Path(temporary)
        if not (files / "series").exists():
            make_files(files)
        about = {
            "load_average": os.getloadavg(),
            "cores": os.cpu_count(),
            "two_processes": two_processes(),
            "python": platform.python_version(),
            "cache": "warm",
            "versions": {name: version(name) for name in ("numpy", "pydicom", "python-gdcm", "simpleitk", "highdicom")},
        }
        rows = measured(files)
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / "intake.md").write_text("\n".join([*HEAD, *map(_line, rows), "", json.dumps(about), ""]))
    (results / "intake.json").write_text(json.dumps({"rows": rows, **about}, indent=1))
    print(json.dumps(about))


if __name__ == "__main__":
    main()
