"""The benchmark runs end to end on few events, refuses who did another job, and its page comes from its results."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks import events, log

from frazil.bench import material, page
from frazil.bench.job import Job
from frazil.bench.measure import Choice, Measurement, measure, require_peers
from frazil.bench.parity import ParityError, same, same_rows
from frazil.cli.app import run
from frazil.errors import ConfigError
from tests.shared import ROOT

EVENTS = 600
PEERS = {"kernel", "python", "orjson", "msgspec", "pydantic", "polars", "duckdb", "pyarrow"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def results(place: Path) -> dict[str, Any]:
    """A whole run as `make bench` does it: its own input, the broken records among it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "CACHE", place)
        job = events.generate(EVENTS)
    return json.loads(json.dumps(measure(job, place, Choice(rounds=1, calls=1, command="make bench", profile="quick"))))


def test_every_candidate_does_the_same_job_and_is_timed(results: dict[str, Any]) -> None:
    assert results["left_out"] == []
    operations = {one["operation"]: {row["candidate"]: row for row in one["candidates"]} for one in results["operations"]}
    assert set(operations["schema validation"]) == PEERS
    assert set(operations["JSON parsing"]) == PEERS - {"pydantic"}
    assert set(operations["Iceberg Parquet writing"]) == {"kernel", "python", "polars", "duckdb", "pyarrow"}
    assert set(operations["CSV to validated batches"]) == {"kernel", "python", "polars", "duckdb", "pyarrow"}
    assert set(operations["a batch of the log judged"]) == {"kernel", "reference"}
    assert all(row["least"] <= row["ns"] <= row["most"] and row["ns"] > 0 for rows in operations.values() for row in rows.values())
    assert all(rows["kernel"]["times"] == 1 for rows in operations.values())


def test_the_founding_claim_has_its_four_rows(results: dict[str, Any]) -> None:
    names = [row["operation"] for row in results["founding"]]
    assert names == ["JSON parsing", "schema validation", "transformation", "Iceberg Parquet writing"]
    assert all(row["times"] == pytest.approx(row["python_ns"] / row["kernel_ns"]) for row in results["founding"])


def test_the_chain_is_measured_on_every_number_of_cores_with_its_memory(results: dict[str, Any]) -> None:
    cores = {row["cores"] for row in results["chain"]}
    assert 1 in cores
    assert {row["candidate"] for row in results["chain"] if row["cores"] == 1} == {"kernel", "python", "polars", "duckdb", "pyarrow"}
    assert {row["candidate"] for row in results["encoding"]} == {"kernel", "polars", "duckdb"}
    for row in [*results["chain"], *results["encoding"]]:
        assert row["cpu"]["least"] <= row["cpu"]["median"] <= row["cpu"]["most"]
        assert 0 < row["rss_mb"]["imported"] <= row["rss_mb"]["first_call"] <= row["rss_mb"]["peak"]
        assert row["bytes"] > 0
        assert row["start_cpu"] > 0


def test_the_page_says_what_the_results_say(results: dict[str, Any], tmp_path: Path) -> None:
    results = json.loads(json.dumps(results))
    results["founding"][0]["kernel_ns"] = 123_456.0
    text = page.write(results, tmp_path).read_text()
    assert "| JSON parsing | 123,456 |" in text
    assert text.index("## The founding claim") < text.index("## The whole chain")
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (tmp_path / picture).read_text().startswith("<svg ")
    leaving = text.split("## What each leaves out")[1]
    assert all(f"| {name} |" in leaving.replace("*", "") for name in ("DuckDB", "polars", "pydantic", "plain Python", "Frazil's kernel"))
    assert "## Over HTTP" not in text


def test_the_page_takes_up_figures_of_other_runs_with_their_own_stamp(results: dict[str, Any], tmp_path: Path) -> None:
    machine = results["machine"] | {"processor": "another machine"}
    said = "1 MiB + fdatasync       p50    3.00  p95    4.00  p99    5.00 ms\n"
    said += "  8 x 1000      1234567 records/s   p50    2.70  p95   12.00  p99   18.00 ms\n"
    of_log = {"measured": "2001-02-03", "machine": machine, **log.figures(said)}
    shape = {"batch": 1000, "clients": 8, "requests_per_second": 900.0, "events_per_second": 900_000.0}
    of_http = shape | {"p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0, "machine": machine, "measured": "2001-02-04"}
    text = page.write(results, tmp_path, http=of_http, log=of_log).read_text()
    assert "Measured 2001-02-03 on another machine" in text
    assert "Measured 2001-02-04 on another machine" in text
    assert "| 8 | 1,000 | 1,234,567 | 2.70 | 12.00 | 18.00 |" in text
    assert "| frazil | 1,000 | 8 | 900 | 900,000 |" in text


def test_what_the_log_example_prints_is_checked() -> None:
    with pytest.raises(ValueError, match="no figures"):
        log.figures("something else")


def test_a_peer_that_does_another_job_ends_the_run_before_anything_is_timed(
    results: dict[str, Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong peer: DuckDB with a rule too few, and then with another value."""
    job = Job.load(place / f"job-{EVENTS}.json")
    timed: list[str] = []
    monkeypatch.setattr(Measurement, "time", lambda self, kept: timed.append("timed"))
    honest = Measurement.alone

    def forgetful(self: Measurement, what: str, candidate: str, cores: int, calls: int, *, digesting: bool = False) -> dict[str, Any]:
        if candidate != "duckdb":
            return honest(self, what, candidate, cores, calls, digesting=digesting)
        return in_process(job, "rules", "true")

    monkeypatch.setattr(Measurement, "alone", forgetful)
    without = tuple(PEERS - {"kernel", "duckdb"})
    with pytest.raises(ParityError, match="duckdb did another job: valid") as refused:
        measure(job, place, Choice(rounds=1, calls=1, without=without))
    assert refused.value.code == "bench.not_the_same"
    assert refused.value.hint
    assert not timed


def in_process(job: Job, name: str, wrong: str) -> dict[str, Any]:
    """DuckDB's stages with one part of its SQL replaced."""
    import tempfile

    from frazil.bench.candidates import duck
    from frazil.bench.clock import Laps
    from frazil.bench.parity import Found

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setattr(duck, name, lambda *_, **__: wrong)
        found = Found(job.contract, digesting=True)
        duck.run(job, Laps(), found, Path(directory) / "out", 1)
    return {"counts": found.counts, "digests": found.digests}


def test_a_peer_with_other_values_is_named_with_its_columns(results: dict[str, Any], place: Path) -> None:
    job = Job.load(place / f"job-{EVENTS}.json")
    from frazil.bench.candidates import duck

    right = in_process(job, "typed", duck.typed(job.contract))
    wrong = in_process(job, "typed", duck.typed(job.contract).replace('"value" as "value"', '"value" + 1 as "value"'))
    same("duckdb", wrong["counts"], right["counts"])
    same_rows("duckdb", right["digests"], right["digests"])
    with pytest.raises(ParityError, match=r"other values than the kernel's in transform: value, \(row\)"):
        same_rows("duckdb", wrong["digests"], right["digests"])


def test_shuffled_members_and_formats_hold_the_same_events(results: dict[str, Any], place: Path) -> None:
    job = Job.load(place / f"job-{EVENTS}.json")
    plain, shuffled = (Path(path).read_text().splitlines() for path in (job.clean, job.shuffled))
    assert [json.loads(line) for line in plain[: job.format_events]] == [json.loads(line) for line in shuffled]
    assert plain[: job.format_events] != shuffled
    assert set(job.formats) == {"csv", "avro", "parquet"}


def test_a_user_measures_the_contract_of_a_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shop's contract has decimals, which the benchmark's own has not."""
    project = ["--project", str(ROOT / "shop")]
    rest = ["bench", "--contract", "events", "--events", "300", "--rounds", "1", "--page", str(tmp_path), "--json"]
    assert run([*project, *rest, *(word for name in ("python", "orjson", "pyarrow") for word in ("--without", name))]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["input"]["events"] == 300
    assert found["contract"]["name"] == "events"
    [validation] = [one for one in found["operations"] if one["operation"] == "schema validation"]
    assert {row["candidate"] for row in validation["candidates"]} == {"kernel", "msgspec", "pydantic", "polars", "duckdb"}
    assert (tmp_path / "benchmarks.md").exists()


def test_a_sample_is_judged_and_only_its_good_records_go_to_peers(tmp_path: Path) -> None:
    contract = ROOT / "benchmarks/events.odcs.yaml"
    made = material.generated(contract, 200, tmp_path)
    Path(tmp_path / "own").mkdir()
    mine = tmp_path / "mine.ndjson"
    mine.write_bytes(Path(made.whole).read_bytes() + b"\n\nno event\n")
    job = material.sample(contract, mine, tmp_path / "own")
    assert (job.events, job.bad, job.duplicates) == (201, made.bad + 1, made.duplicates)
    assert len(Path(job.clean).read_bytes().splitlines()) == job.valid
    (tmp_path / "none.ndjson").write_bytes(b"{}\n")
    with pytest.raises(ConfigError, match="none of 1 records") as refused:
        material.sample(contract, tmp_path / "none.ndjson", tmp_path / "own")
    assert refused.value.code == "bench.nothing_good"


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "polars" else found(name, *rest))
    with pytest.raises(ConfigError, match="not installed: polars"):
        require_peers()
    assert run(["bench", "--contract", str(ROOT / "benchmarks/events.odcs.yaml")]) == 3
    assert "pip install 'frazil[bench]'" in capsys.readouterr().err


def test_leaving_out_who_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--without", "duckbd"]) == 2
    assert "no candidate duckbd; known: duckdb" in capsys.readouterr().err


def test_a_contract_beyond_the_peers_is_measured_alone(tmp_path: Path) -> None:
    text = (ROOT / "benchmarks/events.odcs.yaml").read_text().replace("name: events", "name: tagged")
    tags = "      - {name: tags, logicalType: array, items: {name: tag, logicalType: string}}\n      - name: context\n"
    contract = tmp_path / "tagged.odcs.yaml"
    contract.write_text(text.replace("      - name: context\n", tags))
    job = material.generated(contract, 200, tmp_path)
    found = Measurement(job, job.save(tmp_path / "job.json"), Choice())
    assert {candidate for what, candidate in found.schedule() if what != "process"} == {"kernel"}
    assert [one["why"] for one in found.left_out] == ["cannot be made from this contract: `tags` is an array"]


def test_make_bench_writes_the_page_anew_from_results(results: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(results))
    arguments = ["--page-only", "--results", str(tmp_path / "results.json"), "--docs", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "benchmarks.md").read_text().startswith("# Benchmarks")


def test_the_committed_page_is_the_one_of_the_committed_results(tmp_path: Path) -> None:
    arguments = ["--page-only", "--docs", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, check=True)
    assert (ROOT / "docs/benchmarks.md").read_text() == (tmp_path / "benchmarks.md").read_text()
    drawn = {file.name: file.read_text() for file in (tmp_path / "benchmarks").iterdir()}
    assert {file.name: file.read_text() for file in (ROOT / "docs/benchmarks").glob("*.svg")} == drawn
