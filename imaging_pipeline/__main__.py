"""The console entry point, safe to start inside a folder of hostile scans."""

import sys
from pathlib import Path

# `python -m` looks for modules in the working folder first: a numpy.py planted among scans would run.
if sys.path and sys.path[0] == str(Path.cwd()):
    del sys.path[0]


def main() -> None:
    """Run the command line."""
    from imaging_pipeline.cli import cli

    cli()


if __name__ == "__main__":
    main()
