"""The only place where files, DICOM and other people's formats exist."""
