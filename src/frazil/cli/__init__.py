"""The command line. Data on stdout, talk on stderr; exit 0 yes, 1 no, 2 usage, 3 failed, 75 try again, 78 stopped for an operator."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point `frazil`."""
    import os

    from frazil.cli.app import run

    # Started with a closed stdout or stderr: what is said there goes nowhere, and no file that is opened later gets its number.
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.exit(run(sys.argv[1:]))
