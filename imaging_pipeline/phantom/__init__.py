"""The synthetic patient: analytic anatomy, scanners, DICOM."""
