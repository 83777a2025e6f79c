"""❽ Checks of what landed and of the marts, their history, and alerts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True)
class CheckResult:
    """One expectation on one table. `failing` holds the keys of at most 100 failing rows; `share` is failing / checked rows, 0 to 1."""

    suite: str
    table: str
    column: str | None
    expectation: str
    severity: Severity
    passed: bool
    observed: Any
    share: float
    failing: Sequence[dict[str, Any]]
    message: str


@dataclass(frozen=True)
class QualityReport:
    """One run of suites. `score` is the share of passed checks, 0 to 1."""

    run_id: str
    started_at: datetime
    seconds: float
    checks: Sequence[CheckResult]

    @property
    def score(self) -> float:
        return sum(check.passed for check in self.checks) / len(self.checks) if self.checks else 1.0

    @property
    def critical(self) -> tuple[CheckResult, ...]:
        """Failed checks that stop a pipeline."""
        return tuple(check for check in self.checks if not check.passed and check.severity == "critical")
