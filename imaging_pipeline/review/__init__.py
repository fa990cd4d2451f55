"""The local page on which a radiologist corrects and signs a case; it listens on this machine only."""
