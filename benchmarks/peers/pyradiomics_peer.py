"""pyradiomics in an environment of its own: reads one lesion, then answers each line on standard input.

`python pyradiomics_peer.py LESION.npz`; each answer is one JSON line: milliseconds, and at the first the values.
"""

import json
import logging
import sys
import time

import numpy as np
import SimpleITK as sitk  # noqa: N813
from radiomics import __version__, firstorder, shape

logging.getLogger("radiomics").setLevel(logging.ERROR)


def image_of(array, spacing_mm):
    """A SimpleITK image of an (S, R, C) array."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(step) for step in reversed(spacing_mm)])
    return image


def features(image, mask):
    """All shape and first-order features."""
    found = {}
    for family in (shape.RadiomicsShape, firstorder.RadiomicsFirstOrder):
        calculator = family(image, mask)
        calculator.enableAllFeatures()
        found |= {name: float(value) for name, value in calculator.execute().items()}
    return found


def main():
    """Answer until the input ends."""
    lesion = np.load(sys.argv[1])
    image = image_of(lesion["array"], lesion["spacing_mm"])
    mask = image_of(lesion["marked"].astype(np.uint8), lesion["spacing_mm"])
    for _ in sys.stdin:
        start = time.perf_counter()
        found = features(image, mask)
        milliseconds = 1000.0 * (time.perf_counter() - start)
        print(json.dumps({"ms": milliseconds, "values": found, "version": str(__version__)}), flush=True)


if __name__ == "__main__":
    main()
