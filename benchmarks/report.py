"""Results as a page with tables and charts."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

LEFT_OUT = {
    "frazil kernel": "nothing: dead letters keep their bytes and every violation; of equal ids the first stays; field ids and metrics",
    "DuckDB 2.0": "bad rows are left out, neither kept nor explained; which of equal ids stays is not defined; no field ids, no metrics",
    "polars": "reads the file without the broken records, since it stops at the first; bad rows are left out; no field ids, no metrics",
}


def bars(path: Path, title: str, entries: list[tuple[str, float]], unit: str, *, digits: int = 2) -> None:
    """A horizontal bar chart as SVG; shorter is better."""
    most, left, width, row = max(value for _, value in entries), 250, 460, 34
    height = 54 + row * len(entries)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 120}" height="{height}" font-family="sans-serif" font-size="13">',
        f'<rect width="100%" height="100%" fill="#ffffff"/><text x="12" y="26" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for at, (name, value) in enumerate(entries):
        y, long = 44 + at * row, max(2.0, width * value / most)
        fill = "#0f766e" if "kernel" in name else "#94a3b8"
        lines.append(f'<text x="{left - 10}" y="{y + 16}" text-anchor="end">{escape(name)}</text>')
        lines.append(f'<rect x="{left}" y="{y}" width="{long:.1f}" height="22" rx="3" fill="{fill}"/>')
        lines.append(f'<text x="{left + long + 8:.1f}" y="{y + 16}">{value:,.{digits}f} {escape(unit)}</text>')
    path.write_text("\n".join([*lines, "</svg>"]) + "\n")


def chain_table(chains: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| Candidate | cores | CPU s | wall s | first call, CPU s | peak MiB | files MB | CPU, kernel = 1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cores in sorted({row["cores"] for row in chains}):
        of_cores = [row for row in chains if row["cores"] == cores]
        [ours] = [row["cpu"] for row in of_cores if "kernel" in row["name"]]
        lines += [
            f"| {row['name']} | {cores} | {row['cpu']:.2f} | {row['wall']:.2f} | {row['first_cpu']:.2f} | {row['peak_rss_mb']} "
            f"| {row['result']['bytes'] / 1e6:.1f} | {row['cpu'] / ours:.1f}× |"
            for row in of_cores
        ]
    return lines


SINGLE = """{count:,} of the same events, one core. Plain Python is `benchmarks/python_way.py`: `json.loads`, checks by hand, sets and
dicts; its Parquet file is written by pyarrow. The kernel judges while it parses, so its first two rows do the same work."""

MATERIAL = """Input: {events:,} generated shop events, {megabytes:.0f} MB of NDJSON, {bad:,} broken records of ten kinds, {duplicates:,}
repeats. Before anything is timed, twenty aggregates over the files of all candidates are compared: they are the same. Rounds are
interleaved, each in a fresh process; figures are medians, CPU seconds those of all threads. "First call" is the first in its
process, the others follow in the same one."""


def setting(results: dict[str, Any]) -> str:
    machine = results["machine"]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, Python {machine['python']}"
    )
    load = f"load average when it began {machine['load_average'][0]}"
    return f"Measured {results['measured']} on {where}; {load}. Kernel built as `{results['profile']}`."


def material(given: dict[str, Any]) -> str:
    return MATERIAL.format(megabytes=given["bytes"] / 1e6, **given)


def operation_table(operations: list[dict[str, Any]]) -> list[str]:
    return ["| Operation | kernel, ns/event | plain Python, ns/event | times |", "|---|---|---|---|"] + [
        f"| {row['operation']} | {row['kernel_ns']:,.0f} | {row['python_ns']:,.0f} | {row['times']:.1f}× |" for row in operations
    ]


def write(results: dict[str, Any], docs: Path) -> None:
    """`benchmarks.md` and its charts."""
    pictures = docs / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    given = results["input"]
    one_core = [(row["name"], row["cpu"]) for row in results["chain"] if row["cores"] == 1]
    bars(pictures / "chain.svg", f"Whole chain, {given['events']:,} events, one core, CPU seconds", one_core, "s")
    operations = [(f"{side}: {row['operation'].split(',')[0]}", row[key]) for row in results["operations"][:6]
                  for side, key in (("kernel", "kernel_ns"), ("Python", "python_ns"))]  # fmt: skip
    bars(pictures / "operations.svg", "Single operations, one core, ns per event", operations, "ns", digits=0)
    text = [
        "# Benchmarks",
        "",
        setting(results),
        "",
        material(given),
        "",
        f"Command: `{results['command']}`",
        "",
        "## The whole chain",
        "NDJSON file → parsed, validated → deduplicated → Parquet by day, zstd level 1, UUIDs as 16 bytes where the candidate can.",
        "",
        *chain_table(results["chain"]),
        "",
        "![Whole chain](benchmarks/chain.svg)",
        "",
        "What each leaves out:",
        "",
        *[f"- **{name}**: {what}." for name, what in LEFT_OUT.items()],
        "",
        "## Single operations",
        SINGLE.format(count=results["operations_events"]),
        "",
        *operation_table(results["operations"]),
        "",
        "![Single operations](benchmarks/operations.svg)",
    ]
    if http := results.get("http"):
        text += ["", "## Over HTTP", *http_lines(http)]
    (docs / "benchmarks.md").write_text("\n".join(text) + "\n")


def http_lines(http: dict[str, Any]) -> list[str]:
    return [
        f"`frazil serve`, embedded log, client on the same cores, {http['clients']} connections, bodies of {http['batch']:,} events.",
        "Every event is validated, every answer comes after the fsync.",
        "",
        "| events/s | p50 ms | p95 ms | p99 ms | requests |",
        "|---|---|---|---|---|",
        f"| {http['events_per_second']:,.0f} | {http['p50_ms']:.1f} | {http['p95_ms']:.1f} | {http['p99_ms']:.1f} | {http['requests']:,} |",
    ]
