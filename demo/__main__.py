"""Run the demo; exit 1 when anything does not balance.

make demo
python -m demo [--events N] [--dir DIR]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from demo.fire import Fire, open_fire
from demo.stage import Failed, Stage

CODE = "time.invalid"
PATCH = "timestamp = parse_time(timestamp, '%d %b %Y, %H:%M', 'UTC')"
QUERIES = (
    "SELECT event_type, count(*) AS events, round(sum(value), 2) AS worth FROM raw_events GROUP BY 1 ORDER BY 2 DESC",
    """SELECT p.category, count(*) AS sold, sum(e.properties.quantity * e.properties.price) AS revenue
         FROM raw_events e JOIN raw_products p ON p.product_id = e.properties.product_id
         WHERE e.event_type = 'purchase' GROUP BY 1 ORDER BY 3 DESC NULLS LAST LIMIT 5""",
    """SELECT stage, count(*) AS letters, count(DISTINCT violations[1].code) AS kinds, max(_received_at) AS newest
         FROM dead_letters WHERE contract = 'events' GROUP BY 1 ORDER BY 2 DESC""",
)
MARTS = (
    """SELECT (SELECT count(*) FROM fact_events) AS facts, (SELECT count(*) FROM dim_users) AS user_versions,
         (SELECT count(*) FROM dim_users WHERE is_current) AS users, (SELECT count(*) FROM dim_products) AS products""",
    """SELECT product_name, category, currency, purchases, pieces, revenue FROM serving_top_products
         WHERE product_name <> '' AND currency <> '' ORDER BY revenue DESC, 1 LIMIT 5""",
    """SELECT event_date, currency, purchases, revenue, refunds FROM serving_revenue_per_day
         WHERE currency <> '' ORDER BY revenue DESC, 1 LIMIT 5""",
)


@dataclass
class Story:
    """The demo's run: what it showed and whether it held."""

    console: Console
    stage: Stage
    events: int
    checks: list[tuple[str, bool]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def act(self, number: int, title: str) -> None:
        self.console.print(f"\n[bold cyan]{number}  {title}[/]  [dim]{time.monotonic() - self.began:.0f} s[/]")

    def command(self, *words: str) -> None:
        shown = " ".join(f"'{word}'" if " " in word and "'" not in word else f'"{word}"' if " " in word else word for word in words)
        self.console.print(f"[bold]$ frazil {shown}[/]", highlight=False, soft_wrap=True)

    def shown(self, *words: str, codes: tuple[int, ...] = (0,)) -> None:
        """A command with its real output."""
        self.command(*words)
        self.stage.run(*words, codes=codes, show=True)

    def check(self, says: str, holds: bool) -> None:
        self.checks.append((says, holds))
        self.console.print(f"  {'[green]✔[/]' if holds else '[bold red]✘[/]'} {says}", highlight=False, soft_wrap=True)

    # ------------------------------------------------------------ acts

    def project(self) -> dict[str, Any]:
        """A fresh project, and what will be sent to it; the generators' tallies by contract."""
        self.act(1, "A shop, and a day of its traffic")
        self.stage.clear()
        self.command("init", os.path.relpath(self.stage.root))
        self.stage.run("init", str(self.stage.root))
        (self.stage.root / "input").mkdir()
        wanted = {"events": (self.events, 0.01, 0.02, 0.02), "users": (2_000, 0.01, 0.0, 0.02), "products": (500, 0.01, 0.0, 0.02)}
        tallies = {}
        for contract, (count, invalid, late, duplicate) in wanted.items():
            shares = ("--invalid", str(invalid), "--late", str(late), "--duplicate", str(duplicate))
            words = ("generate", contract, "--count", str(count), *shares, "--seed", "7", "--out")
            self.command(*words, f"input/{contract}.ndjson")
            tallies[contract] = self.stage.facts(*words, str(self.stage.root / "input" / f"{contract}.ndjson"))
        tally = tallies["events"]
        self.console.print(
            f"  {tally['total']:,} events: {tally['late']:,} come late, {tally['duplicate']:,} repeat an earlier one, "
            f"{tally['invalid']:,} break the contract in {len(tally['kinds'])} ways; "
            f"{tallies['users']['total']:,} users, {tallies['products']['total']:,} products"
        )
        return tallies

    def fire(self) -> Fire:
        """Everything over HTTP, with two kills."""
        self.act(2, "Everything over HTTP, while processing is killed twice")
        for contract in ("users", "products"):
            words = ("send", str(self.stage.root / "input" / f"{contract}.ndjson"), "--contract", contract)
            self.command("send", f"input/{contract}.ndjson", "--contract", contract)
            told = self.stage.facts(*words, codes=(1,))
            self.console.print(f"  accepted {told['accepted']:,}, rejected {told['rejected']:,}: on disk, too, to be mended later")
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            task = bar.add_task("events in requests of 1 to 4,000", total=self.events)

            def sent(fire: Fire) -> None:
                text = "events in requests of 1 to 4,000" + " · [red]SIGKILL[/]" * len(fire.kills)
                bar.update(task, completed=fire.sent, description=text)

            fire = open_fire(self.stage, self.stage.root / "input" / "events.ndjson", (0.35, 0.7), self.events / 15, sent)
        self.console.print(
            f"  {fire.sent:,} events in {fire.requests:,} requests, each answered 202 = on disk; paced at {fire.sent / fire.seconds:,.0f}/s"
        )
        for (when, pid, landed), restart in zip(fire.kills, fire.restarts, strict=True):
            self.console.print(
                f"  [red]kill -9 {pid}[/] after {when:.1f} s, {landed:,} rows landed by it; the next one started {restart:.1f} s later"
            )
        self.console.print(f"  everything was in the table {fire.drained:.1f} s after the last answer")
        self.check("two kills, two restarts", len(fire.kills) == len(fire.restarts) == 2)
        return fire

    def books(self, title: str, tallies: dict[str, Any], repaired: int) -> None:
        """The balance of every contract against what was sent."""
        self.shown("verify")
        for row in self.stage.facts("verify", codes=(0, 1)):
            tally = tallies[row["contract"]]
            mended = repaired if row["contract"] == "events" else 0
            expected = (tally["total"], tally["distinct"] + mended, tally["invalid"] - mended, tally["duplicate"])
            there = (row["records"], row["landed"], row["dead"], row["duplicates"])
            words = f"{title}, {row['contract']}: sent {expected[0]:,} = landed {there[1]:,} + dead {there[2]:,} + duplicates {there[3]:,}"
            self.check(words, there == expected and row["pending"] == 0 and row["balanced"])

    def repair(self, tallies: dict[str, Any]) -> int:
        """One cause repaired and replayed; how many letters landed."""
        self.act(4, f"A repair: times written like '20 Nov 2026, 12:34' ({CODE})")
        count = int(tallies["events"]["kinds"].get(CODE, 0))
        words = ("dead", "replay", "--contract", "events", "--code", CODE, "--patch", PATCH)
        self.shown(*words, "--dry-run")
        self.command(*words)
        done = self.stage.facts(*words)
        self.console.print(
            f"  landed {done['landed']:,}, duplicates {done['duplicates']:,}, still bad {done['still_bad']:,}; replay {done['id']}"
        )
        self.check(
            f"all {count:,} letters of that cause landed at their original positions", done["landed"] == count and not done["still_bad"]
        )
        again = self.stage.facts(*words, codes=(0, 1))
        self.check("replayed again: nothing happens", again["landed"] == again["duplicates"] == 0)
        return count

    def queries(self, landed: int) -> None:
        self.act(5, "Three questions")
        for sql in QUERIES:
            self.shown("query", sql)
        row = self.stage.facts("query", "SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM raw_events")[0]
        self.check(f"{landed:,} rows, {landed:,} different ids: nothing doubled", row["n"] == row["ids"] == landed)

    def marts(self, landed: int) -> None:
        """From landed rows to the tested star schema, and what it says."""
        self.act(6, "A star schema, tested")
        self.shown("run", "pipeline")
        for sql in MARTS:
            self.shown("query", sql)
        counts = self.stage.facts("query", "SELECT (SELECT count(*) FROM fact_events) AS facts, (SELECT count(*) FROM dim_users) AS users")[
            0
        ]
        self.check(f"every landed event is a fact: {counts['facts']:,}", counts["facts"] == landed)
        dangling = self.stage.facts("query", "SELECT count(*) AS n FROM fact_events f ANTI JOIN dim_users u USING (user_sk)")[0]["n"]
        self.check("every fact has its version of a user, or the unknown one", dangling == 0)

    def trace(self) -> None:
        """One event followed from its request to the mart."""
        self.act(8, "The life of one event")
        wanted = "SELECT CAST(event_id AS VARCHAR) AS id FROM raw_events WHERE _replay IS NOT NULL ORDER BY _offset LIMIT 1"
        self.shown("trace", self.stage.facts("query", wanted)[0]["id"])

    def quality(self) -> None:
        """What the checks say that the pipeline has just run."""
        self.act(7, "How good it is")
        self.shown("quality", "show")

    def end(self, code: int) -> int:
        self.check("stopped in good order", code == 0)
        failed = [says for says, holds in self.checks if not holds]
        seconds = time.monotonic() - self.began
        if failed:
            self.console.print(f"\n[bold red]{len(failed)} of {len(self.checks)} checks failed[/] after {seconds:.0f} s:")
            for says in failed:
                self.console.print(f"  ✘ {says}", highlight=False)
            self.console.print(f"what ran is in {self.stage.root / 'up.log'}")
            return 1
        self.console.print(f"\n[bold green]all {len(self.checks)} checks hold[/], {seconds:.0f} s")
        place = os.path.relpath(self.stage.root)
        frazil = os.path.relpath(Path(sys.executable).parent / "frazil", self.stage.root)
        self.console.print("\nThe project stays. Have a look:", highlight=False)
        for words, why in (
            (f"cd {place}", f"`frazil` is {frazil} here"),
            ("frazil up", "start it again"),
            ("frazil dead list", "what is still broken, by cause"),
            ("frazil tables history events", "every commit: pumps, the replay"),
            ("frazil contracts show events", "the contract that drives it all"),
        ):
            self.console.print(f"  {words:<32}[dim]# {why}[/]", highlight=False)
        return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description="The shop under fire, told and checked.")
    parser.add_argument("--events", type=int, default=100_000, help="how many events (default 100,000)")
    parser.add_argument("--dir", type=Path, default=Path(".demo"), help="where the project goes (default .demo)")
    asked = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    console.print("[bold]Frazil[/]: events in over HTTP, exactly once in Iceberg tables")
    console.print(f"[dim]Python {platform.python_version()}, {os.cpu_count()} cores, no server, no container, no account[/]")
    story = Story(console, Stage(asked.dir.resolve()), asked.events)
    try:
        return _told(story)
    except Failed as error:
        console.print(f"\n[bold red]the demo failed[/]: {error}", markup=True)
        return 1


def _told(story: Story) -> int:
    tallies = story.project()
    with story.stage.up() as up:
        story.fire()
        story.act(3, "The books, and what did not pass")
        story.books("after the kills", tallies, 0)
        story.shown("dead", "list", "--contract", "events", "--top", "12")
        repaired = story.repair(tallies)
        story.books("after the repair", tallies, repaired)
        landed = tallies["events"]["distinct"] + repaired
        story.queries(landed)
        story.marts(landed)
        story.quality()
        story.trace()
    return story.end(up.returncode)


if __name__ == "__main__":
    sys.exit(main())
