"""Every check in one go: `python -m tests.run`. Ends with the counts of tests, exits 1 when anything failed.

The steps go on after a failure, so that one run names everything that is wrong.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
COUNTS = re.compile(r"(\d+) (passed|failed|error|errors|skipped)")
RUST_COUNTS = re.compile(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")


@dataclass(frozen=True)
class Step:
    name: str
    command: tuple[str, ...]
    lint: bool = True


STEPS = (
    Step("ruff check", (f"{BIN}/ruff", "check", ".")),
    Step("ruff format", (f"{BIN}/ruff", "format", "--check", ".")),
    Step("mypy", (f"{BIN}/mypy",)),
    Step("stubtest", (f"{BIN}/stubtest", "--ignore-disjoint-bases", "--allowlist", "tests/stubtest.txt", "data_processor_rs")),
    Step("import-linter", (f"{BIN}/lint-imports",)),
    Step("rustfmt", ("cargo", "fmt", "--all", "--check")),
    Step("clippy", ("cargo", "clippy", "--locked", "--profile", "quick", "--workspace", "--all-targets", "--", "-D", "warnings")),
    Step("cargo test", ("cargo", "test", "--locked", "--profile", "quick", "--workspace"), lint=False),
    Step("pytest", (f"{BIN}/pytest", "-q", "-n", "2", "--dist", "worksteal"), lint=False),
)


def run(step: Step) -> tuple[bool, dict[str, int], float]:
    """Run one step, showing its output; whether it passed, the counts of tests it printed, seconds it took."""
    print(f"\n=== {step.name}", flush=True)
    began = time.monotonic()
    counts: dict[str, int] = {}
    with subprocess.Popen(step.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if rust := RUST_COUNTS.search(line):
                for name, number in zip(("passed", "failed", "skipped"), rust.groups(), strict=True):
                    counts[name] = counts.get(name, 0) + int(number)
            elif " in " in line and step.name == "pytest":
                found = COUNTS.findall(line)
                counts = {name.rstrip("s") if name == "errors" else name: int(number) for number, name in found} or counts
    return process.returncode == 0, counts, time.monotonic() - began


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["lint", "tests"], help="the static checks, or the tests")
    only = parser.parse_args(arguments).only
    steps = [step for step in STEPS if only is None or step.lint == (only == "lint")]
    results = [(step, *run(step)) for step in steps]
    total = {"passed": 0, "failed": 0, "skipped": 0}
    print("\n=== summary")
    for step, passed, counts, seconds in results:
        print(f"{'ok    ' if passed else 'FAILED'} {step.name:<14} {seconds:6.1f} s  " + ", ".join(f"{n} {k}" for k, n in counts.items()))
        total["passed"] += counts.get("passed", 0)
        total["failed"] += counts.get("failed", 0) + counts.get("error", 0)
        total["skipped"] += counts.get("skipped", 0)
    if any(not step.lint for step in steps):
        print(f"\n{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 0 if all(passed for _, passed, _, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
