"""Lesions followed through scans: size, density, calcification, response."""

__version__ = "0.1.0"
