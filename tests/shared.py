"""Where the real events and the hostile corpora lie; they are not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _find() -> Path | None:
    named = os.environ.get("FRAZIL_SHARED")
    place = Path(named) if named else ROOT.parent / "shared"
    return place if (place / "corpora").is_dir() else None


SHARED = _find()
"""The directory with `data/` and `corpora/`, or None."""
