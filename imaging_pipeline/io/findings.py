"""What intake has to say of a series, in one place: every code with what was expected and what to do.

E- refuses the series, W- measures it with the caution, N- is only worth knowing.
"""

from __future__ import annotations

from imaging_pipeline.errors import Problem

_AGAIN = "export the series again from its source"
_OTHER = "use another reconstruction of the scan"
_APART = "separate the acquisitions at their source"
_FINE = "nothing to do"

_WORDS = {
    # What is in the folder
    "E-FILE-UNREADABLE": ("something that may be read", "check its permissions"),
    "W-FS-SKIPPED": ("a plain file", "copy the file itself here"),
    "E-ARCHIVE-DAMAGED": ("a whole zip or tar", "pack it again"),
    "E-ARCHIVE-SIZE": ("an archive of scans", "nothing to do if it is none; else unpack it by hand"),
    "E-ARCHIVE-PATH": ("a name below the archive's own folder", "find out where the archive was made"),
    "N-FS-DICOMDIR": ("images", f"{_FINE}: the folder itself is read, not what the file says of it"),
    # Where the slices lie
    "E-GEOM-ORIENT": ("two perpendicular unit vectors in every slice", _AGAIN),
    "E-GEOM-POS": ("a position in every slice", _AGAIN),
    "E-GEOM-SPACING": ("one pixel spacing, 0.01 to 10 mm, in every slice", _AGAIN),
    "E-GEOM-SINGLE": ("a slice thickness, where a slice stands alone", _AGAIN),
    "E-GEOM-GAP": ("slices without a gap", "transfer the missing slices"),
    "E-GEOM-UNEVEN": ("slices within 10 % of an even spacing", _OTHER),
    "E-GEOM-SHIFT": ("slices within 0.1 mm of a straight line", _OTHER),
    "E-GEOM-TILT": ("a gantry tilt up to 35 degrees", _OTHER),
    "E-GEOM-AMBIGUOUS": ("one image at a position, or something that tells them apart", _APART),
    "W-GEOM-TILT": ("slices stacked along their normal", f"{_FINE}: the volume is straightened by interpolation"),
    "W-GEOM-UNEVEN": ("an even spacing", f"{_FINE}: slices are interpolated from their true positions"),
    "W-GEOM-THICKNESS": ("what the positions say", f"{_FINE}: the positions are used"),
    "W-GEOM-FEW": ("three slices or more, which show whether one is missing", "check that the series is whole"),
    "W-GEOM-SINGLE": ("several slices", "take no volume from it: its thickness is what the scanner states"),
    "W-GEOM-LOST": ("no refused file beside it", "transfer those files again, or move them elsewhere"),
    "W-GEOM-LOCALIZER": ("slices", "take no measurement from it"),
    "W-GEOM-MOSAIC": ("one slice in an image", "take no position from it"),
    "W-GEOM-PIXELS": ("a calibrated pixel size", "take no millimetres from it"),
    "W-GEOM-MAGNIFICATION": ("the pixel size in the patient", "take no lengths from it beyond a first impression"),
    "N-GEOM-OVERLAP": ("slices side by side", f"{_FINE}: overlapping reconstructions are usual"),
    # What belongs together
    "E-SERIES-DAMAGED": ("readable files", _AGAIN),
    "E-UID-CONFLICT": ("one content for each instance UID", "find out which of the files is right"),
    "W-SERIES-SPLIT": ("one stack", f"{_FINE}: each stack is taken as a series of its own"),
    "W-SERIES-MIXED": ("one technique in all slices", "do not compare its densities between slices"),
    "N-SERIES-IMAGES": ("one image", f"{_FINE}: each image is taken as a series of its own"),
    "N-FILE-COPY": ("each slice once", f"{_FINE}: one of each is used"),
    "W-VISIT-REFUSED": ("a series that can be used", "no number is taken there; transfer the series again"),
    "N-VISIT-SEVERAL": (
        "one series of a role",
        "name one by its SeriesInstanceUID if another than the used one is meant",
    ),
    # What the pixels mean
    "E-UNSUPPORTED": ("slices of a modality that has a loader", "leave it out, or export it as classic DICOM"),
    "E-PIX-FORMAT": ("MONOCHROME2, up to 16 bits, right-justified in 16", _AGAIN),
    "E-PIX-PLANAR": ("8 or 16 bits, right-justified, grey, or for ultrasound RGB, YBR or palette", _AGAIN),
    "N-PIX-INVERTED": ("MONOCHROME2", f"{_FINE}: its values are turned round"),
    "E-NM-VIEWS": ("an anterior and a posterior view, each named by its code", _AGAIN),
    "E-PIX-UNITS": ("activity (BQML), counts (CNTS) or SUV (GML)", _OTHER),
    "E-PIX-RESCALE": (
        "both RescaleSlope, above 0, and RescaleIntercept; neither only where no unit needs them",
        _AGAIN,
    ),
    "E-HU-RESCALE": ("RescaleSlope, above 0, and RescaleIntercept in every slice", _AGAIN),
    "N-PIX-PADDING": ("an image without padding", f"{_FINE}: voxels outside the field of view are read as air"),
    "W-PIX-LOSSY": ("pixels as acquired", "do not compare its densities"),
    "W-HU-TYPE": ("Hounsfield units", "check that its densities are Hounsfield units before using them"),
    "W-HU-JUMP": ("neighbouring slices within 100 HU", "look at these slices before using densities"),
    "W-HU-OFFSET": ("air at -1000 HU", "check the rescale before using densities"),
    "W-UNIT-ASSUMED": ("a stated unit", "convert it from DICOM if it is no CT"),
    # Who and when
    "E-PAT-MIX": ("one person", "separate the patients, or correct the identity"),
    "E-PAT-NEAR": ("one spelling for one patient", "correct it if both are one; they are not merged"),
    "W-PHI-BURNED": ("an image without text", "look for a name in the picture before you show or share it"),
    "W-PHI-FACE": ("a scan without a face", "a face can be rendered from it: share it with care"),
    "E-DATE": ("a calendar day between birth and today", "correct the dates at their source"),
    "W-DATE": ("one day, stated alike", f"{_FINE} if the first is right"),
}


def finding(code: str, subject: str, found: str) -> Problem:
    """A problem of intake in its own words."""
    return Problem(code, subject, found, *_WORDS[code])
