"""The process that is dbt: runs one command line and hands its results over as a file.

dbt's own `target/run_results.json` may still be the one of an earlier run when dbt stops before it ran a node.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """`RESULTS WORDS…`: run dbt with the words; RESULTS is written when nodes were run. Returns dbt's exit code."""
    from dbt.cli.main import dbtRunner

    results, words = Path(arguments[0]), arguments[1:]
    target = Path(os.environ["DBT_TARGET_PATH"]) / "run_results.json"
    target.unlink(missing_ok=True)
    done = dbtRunner().invoke(words)
    if target.is_file():
        shutil.copyfile(target, results)
    if done.exception is not None:
        sys.stderr.write(f"{type(done.exception).__name__}: {done.exception}\n")
        return 2
    return 0 if done.success else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
