"""Unique identifiers that the same seed draws again."""

from __future__ import annotations

from hashlib import sha256


def identifier(seed: tuple[int, int], *purpose: object) -> str:
    """A DICOM UID for one purpose of one synthetic patient.

    Source: DICOM PS3.5 B.2, UIDs derived from a UUID (root 2.25).
    """
    words = ("imaging_pipeline phantom", *seed, *purpose)
    number = bytearray(sha256("/".join(str(word) for word in words).encode()).digest()[:16])
    # Marked as a UUID of version 8 (vendor-specific), variant RFC 9562, so that it cannot meet a random one.
    number[6] = number[6] & 0x0F | 0x80
    number[8] = number[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(number, 'big')}"
