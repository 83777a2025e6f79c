"""Results as a page with tables and charts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from frazil.bench import charts

Results = dict[str, Any]
NAMES: Final = {"kernel": "**Frazil's kernel**", "python": "plain Python", "reference": "readable reference", "duckdb": "DuckDB"}
LEAVES_OUT: Final = {
    "kernel": "nothing: every violation of every record with path, code and message; of equal keys the first stays; field ids and metrics",
    "python": "messages and hints, duplicate members, bounds of the event time, checks of e-mail, IPv6 and URI; field ids and metrics",
    "orjson": "it parses; the rules are those of plain Python",
    "msgspec": "it stops at a record's first violation; bounds of decimals; no table, no file",
    "pydantic": "its violations have codes of its own; no table, no file",
    "polars": "it stops at the first broken record, so it reads the file without them; UUIDs stay text; no field ids, no metrics",
    "duckdb": "bad rows are left out, neither kept nor explained; which of equal keys stays is not defined; no field ids, no metrics",
    "pyarrow": "it stops at the first broken record, so it reads the file without them; UUIDs stay text; no field ids, no metrics",
    "fastavro": "it reads; the rules are those of plain Python",
    "reference": "nothing: it is the oracle of the tests, written to be read",
}
NOTES: Final = {
    "JSON parsing": "The kernel types values and applies the rules while it parses. For the others it is text to objects or columns.",
    "schema validation": "Parsing included, since the kernel does both at once.",
    "transformation": "Date and hour; instants from text, UUIDs as 16 bytes where one can: the kernel did that while parsing.",
    "Iceberg Parquet writing": "By day, zstd level 1. Plain Python's file is written by pyarrow from dicts.",
    "deduplication": "Against all that came before, piece by piece; DuckDB makes a new table.",
    "hand-over to Arrow": "A batch given to pyarrow over the Arrow C interface; polars and DuckDB convert their text to it.",
    "shuffled keys, parsed and validated": "Members of every object in another order in each record.",
    "CSV to validated batches": "Columns are named `properties.price`; peers do not place them in objects.",
    "Avro to validated batches": "An object container without compression; times are typed in the file.",
    "Parquet to validated batches": "As pyarrow writes it: zstd, dictionaries, ids as text, instants typed.",
    "a batch of the log judged": "What the pump calls, against the readable reference on its first 5,000 records.",
}


OWN: Final = (
    "With the extra (`pip install 'frazil[bench]'`) the same runs on a contract of yours, on generated events or on a file of NDJSON:",
    "",
    "```console",
    "$ frazil bench --contract events --events 100000",
    "$ frazil bench --contract contracts/orders.odcs.yaml --sample orders.ndjson --without duckdb",
    "```",
    "",
    "Types and rules of the peers follow from the contract. `--json` prints the figures, `--page DIR` writes a page like this.",
    "A contract with arrays, free JSON, epoch numbers or times without a zone is measured without peers: they have no such rules.",
)


def write(results: Results, docs: Path, *, http: Results | None = None, log: Results | None = None, kafka: Results | None = None) -> Path:
    """`benchmarks.md` below `docs`, its charts in `docs/benchmarks/`; everything in them comes from the results."""
    pictures = docs / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    text = ["# Benchmarks", "", *_setting(results), ""]
    if results["founding"]:
        text += ["## The founding claim", "", *_founding(results, pictures), ""]
    text += ["## The whole chain", "", *_chain(results, pictures), ""]
    text += ["## The same with the peers' encoding, first call", "", *_encoding(results, pictures), ""]
    text += ["## Single operations", "", *_operations(results, pictures), ""]
    text += ["## What each leaves out", "", *_left_out(results), ""]
    text += ["## Over HTTP", "", *http_lines(http), ""] if http else []
    text += ["## The embedded log", "", *log_lines(log), ""] if log else []
    text += ["## On Kafka", "", *kafka_lines(kafka), ""] if kafka else []
    text += ["## Your own events", "", *OWN, ""]
    page = docs / "benchmarks.md"
    page.write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
    return page


def _named(candidate: str) -> str:
    return NAMES.get(candidate, candidate)


def _plain(candidate: str) -> str:
    return _named(candidate).replace("*", "")


def machine_line(results: Results) -> str:
    """When and where."""
    machine = results["machine"]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, Python {machine['python']}"
    )
    when = f"Measured {results['measured']}" if "measured" in results else "Measured"
    return f"{when} on {where}; load average when it began {machine['load_average'][0]}."


def _setting(results: Results) -> list[str]:
    given, contract = results["input"], results["contract"]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    sure = "the broken ones of sorts that every engine can tell" if given["sure"] else "peers read the good ones only"
    return [
        f"`{results['command']}` wrote this page. {machine_line(results)}",
        f"Kernel built as `{results['profile']}`. {versions}. The run took {results['seconds'] / 60:.1f} minutes.",
        "",
        f"Input: {given['events']:,} events of the contract `{contract['name']}` ({contract['fields']} fields),",
        f"{given['bytes'] / 1e6:.0f} MB of NDJSON, {given['bad']:,} broken records ({sure}), {given['duplicates']:,} repeats.",
        "",
        "Before anything is timed, every candidate does its work once, and a sum of hashes over each column of what it made must be",
        "the kernel's, as must the counts of good and bad records. Then the candidates take turns, each time in a fresh process on one",
        f"core (or two, where it says so): {results['rounds']} rounds of {results['calls']} calls, the first call apart. Candidates that",
        "work line by line make one call. Figures are medians, least and most in brackets; times are CPU seconds of all threads unless",
        "they are called wall. Bytecode of Python is cached, and imports come before the clock starts.",
        *[f"\nLeft out: {one['candidate']} ({one['what']}): {one['why']}." for one in results["left_out"]],
    ]


def _founding(results: Results, pictures: Path) -> list[str]:
    entries = [(f"{who}: {row['operation']}", row[name], name == "kernel_ns")
               for row in results["founding"] for who, name in (("kernel", "kernel_ns"), ("Python", "python_ns"))]  # fmt: skip
    charts.bars(pictures / "founding.svg", "Kernel and plain Python, ns per event, one core", entries, "ns", digits=0)
    return [
        f"Each operation against plain Python on {results['input']['events']:,} records, one core.",
        "",
        "| Operation | kernel, ns/event | plain Python, ns/event | times |",
        "|---|---:|---:|---:|",
        *[
            f"| {row['operation']} | {row['kernel_ns']:,.0f} | {row['python_ns']:,.0f} | {row['times']:.1f}× |"
            for row in results["founding"]
        ],
        "",
        "![Kernel and plain Python](benchmarks/founding.svg)",
    ]


def _spread(figure: Results) -> str:
    return f"{figure['median']:.2f} ({figure['least']:.2f}–{figure['most']:.2f})"


def _chain(results: Results, pictures: Path) -> list[str]:
    one_core = [(_plain(row["candidate"]), row["cpu"]["median"], row["candidate"] == "kernel")
                for row in results["chain"] if row["cores"] == 1]  # fmt: skip
    charts.bars(pictures / "chain.svg", "Whole chain, warm, one core, CPU seconds", one_core, "s")
    memory = [(_plain(row["candidate"]), float(row["rss_mb"]["first_call"]), row["candidate"] == "kernel")
              for row in results["chain"] if row["cores"] == 1]  # fmt: skip
    charts.bars(pictures / "memory.svg", "Whole chain, first call, one core, resident MiB", memory, "MiB", digits=0)
    return [
        "NDJSON file → parsed, validated → deduplicated → Parquet by day, zstd level 1, UUIDs as 16 bytes where the candidate can.",
        "Plain Python's and pyarrow's chain is the sum of their stages. Memory is resident, of the whole process with its imports.",
        "",
        (
            "| Candidate | cores | warm, CPU s | warm, wall s | first call, CPU s | resident MiB: imports | first call | most | files MB "
            "| CPU, kernel = 1 | wall, kernel = 1 |"
        ),
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *[
            f"| {_named(row['candidate'])} | {row['cores']} | {_spread(row['cpu'])} | {_spread(row['wall'])} | {row['first_cpu']:.2f} "
            f"| {row['rss_mb']['imported']} | {row['rss_mb']['first_call']} | {row['rss_mb']['peak']} | {row['bytes'] / 1e6:.1f} "
            f"| {row['times_cpu']:.1f}× | {row['times_wall']:.1f}× |"
            for row in results["chain"]
        ],
        "",
        "![Whole chain](benchmarks/chain.svg)",
        "",
        "![Memory](benchmarks/memory.svg)",
    ]


def _encoding(results: Results, pictures: Path) -> list[str]:
    entries = [(_plain(row["candidate"]), row["first_cpu"], row["candidate"] == "kernel")
               for row in results["encoding"] if row["cores"] == 1]  # fmt: skip
    charts.bars(pictures / "encoding.svg", "Text ids, zstd 3, first call, one core, CPU seconds", entries, "s")
    return [
        "UUIDs as text and zstd level 3, as the peers write; the first call of a fresh process. Process start is what it takes to import.",
        "",
        "| Candidate | cores | CPU s | wall s | process start, CPU s | resident MiB | files MB | CPU, kernel = 1 | wall, kernel = 1 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *[
            f"| {_named(row['candidate'])} | {row['cores']} | {_spread(row['cpu'])} | {_spread(row['wall'])} | {row['start_cpu']:.2f} "
            f"| {row['rss_mb']['peak']} | {row['bytes'] / 1e6:.1f} | {row['times_cpu']:.1f}× | {row['times_wall']:.1f}× |"
            for row in results["encoding"]
        ],
        "",
        "![The peers' encoding](benchmarks/encoding.svg)",
    ]


def _operations(results: Results, pictures: Path) -> list[str]:
    text = ["CPU ns per event on one core. Each row stands by itself."]
    for number, operation in enumerate(results["operations"], start=1):
        name, rows = operation["operation"], sorted(operation["candidates"], key=lambda row: row["ns"])
        picture = pictures / f"operation-{number}.svg"
        entries = [(_plain(row["candidate"]), row["ns"], row["candidate"] == "kernel") for row in rows]
        charts.bars(picture, f"{name}, ns per event", entries, "ns", digits=0)
        text += [
            "",
            f"### {name[0].upper()}{name[1:]}",
            "",
            f"{NOTES[name]} {operation['events']:,} events.",
            "",
            "| Candidate | ns/event | least–most | kernel = 1 |",
            "|---|---:|---:|---:|",
            *[
                f"| {_named(row['candidate'])} | {row['ns']:,.0f} | {row['least']:,.0f}–{row['most']:,.0f} | {row['times']:.1f}× |"
                for row in rows
            ],
            "",
            f"![{name}](benchmarks/{picture.name})",
        ]
    return text


def _left_out(results: Results) -> list[str]:
    present = {row["candidate"] for operation in results["operations"] for row in operation["candidates"]}
    return [
        "| Candidate | leaves out |",
        "|---|---|",
        *[f"| {_named(name)} | {said} |" for name, said in LEAVES_OUT.items() if name in present],
    ]


def http_lines(http: Results) -> list[str]:
    """The section on HTTP; measured in a run of its own."""
    runs = http.get("runs") or [http]
    return [
        f"`python -m benchmarks.http`: {machine_line(http)}",
        "`frazil serve` on the embedded log beside the same server doing nothing, the client on the same cores.",
        "Every event is validated, every answer comes after the fsync; afterwards the log holds just what was acknowledged.",
        "",
        "| Server | events per body | connections | requests/s | events/s | p50 ms | p95 ms | p99 ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *[
            f"| {run.get('server', 'frazil')} | {run['batch']:,} | {run['clients']} | {run['requests_per_second']:,.0f} "
            f"| {run['events_per_second']:,.0f} | {run['p50_ms']:.1f} | {run['p95_ms']:.1f} | {run['p99_ms']:.1f} |"
            for run in runs
        ],
    ]


def log_lines(log: Results) -> list[str]:
    """The section on the log; measured in a run of its own."""
    return [
        f"`python -m benchmarks.log`: {machine_line(log)}",
        "Durable appends of records of 350 bytes; each thread waits for its append, as requests do.",
        "Afterwards the log holds just what was acknowledged.",
        f"The disk itself took {log['disk']['p50_ms']:.1f} ms (p99 {log['disk']['p99_ms']:.1f}) to make a megabyte durable.",
        "",
        "| Threads | records per append | records/s | p50 ms | p95 ms | p99 ms |",
        "|---:|---:|---:|---:|---:|---:|",
        *[
            f"| {run['threads']} | {run['records']:,} | {run['records_per_second']:,.0f} "
            f"| {run['p50_ms']:.2f} | {run['p95_ms']:.2f} | {run['p99_ms']:.2f} |"
            for run in log["runs"]
        ],
    ]


def kafka_lines(kafka: Results) -> list[str]:
    """The section on Kafka; measured in a run of its own."""
    door, lake, again = kafka["door"], kafka["lake"], kafka["restart"]
    shares = (door["api_cpu_us_per_event"], door["broker_cpu_us_per_event"], door["client_cpu_us_per_event"])
    return [
        f"`python -m benchmarks.kafka`: {machine_line(kafka)}",
        "One broker on the same cores. Afterwards the log holds just what was acknowledged, the books balance, each event is there once.",
        "",
        "| | events/s | CPU per event |",
        "|---|---:|---|",
        (
            f"| API -> Kafka, bodies of {door['batch']:,} events, {door['clients']} connections, p95 {door['p95_ms']:.0f} ms "
            f"| {door['events_per_second']:,.0f} | API {shares[0]:.1f} µs, broker {shares[1]:.1f} µs, client {shares[2]:.1f} µs |"
        ),
        (
            f"| Kafka -> Iceberg, {lake['events']:,} events, the start of Python included | {lake['events_per_second_whole_run']:,.0f} "
            f"| processor {lake['process_cpu_us_per_event']:.1f} µs, broker {lake['broker_cpu_us_per_event']:.1f} µs |"
        ),
        f"| the same, from the first commit to the last | {lake['events_per_second']:,.0f} | |",
        "",
        (
            f"From the start of a processor to its first commit: {again['stopped_s']['median']:.1f} s after it was stopped "
            f"(worst {again['stopped_s']['worst']:.1f} s), {again['killed_s']['median']:.1f} s after `kill -9` "
            f"(worst {again['killed_s']['worst']:.1f} s)."
        ),
    ]
