"""The synthetic patient: analytic anatomy, scanners, DICOM, and the truth about it all."""
