"""The command line. Data on stdout, talk on stderr; exit 0 yes, 1 no, 2 usage, 3 failed, 75 try again, 78 stopped for an operator."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point `frazil`."""
    from frazil.cli.app import run

    sys.exit(run(sys.argv[1:]))
