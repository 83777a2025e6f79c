"""Who pumps: see `frazil.table.lease`, which stages below may use, too."""

from frazil.table.lease import Lease, holder

__all__ = ["Lease", "holder"]
