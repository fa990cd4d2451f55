"""The nouns: frozen, without files, DICOM or algorithms."""
