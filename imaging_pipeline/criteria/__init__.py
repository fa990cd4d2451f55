"""Response criteria: measurements in, judgements out; no images, no files."""
