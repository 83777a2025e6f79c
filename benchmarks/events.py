"""The input: shop events as NDJSON, the same for the same count and seed on every machine."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path

from frazil.bench.job import Job
from frazil.bench.material import completed

HERE = Path(__file__).parent
CACHE = HERE / ".cache"
SEED = 20_261_120
START_US = int(datetime(2026, 11, 13, tzinfo=UTC).timestamp() * 1_000_000)
DAYS = 7
RECEIVED_US = START_US + DAYS * 86_400_000_000

KINDS = ["page_view", "click", "add_to_cart", "purchase", "search", "signup", "login", "refund"]
WEIGHTS = [50, 22, 9, 5, 8, 2, 3, 1]
CURRENCIES = ["EUR", "USD", "GBP", "JPY", "CHF"]
COUNTRIES = ["DE", "FR", "US", "GB", "JP", "CH", "AT", "IT", "ES", "NL", "PL", "SE"]
PATHS = [f"/{area}/{page}" for area in ("shop", "help", "sale", "account") for page in range(250)]
AGENTS = [
    f"Mozilla/5.0 ({system}) {browser}/{major}.0.{minor}"
    for system in ("X11; Linux x86_64", "Windows NT 10.0", "iPhone")
    for browser in ("Chrome", "Edg")
    for major in range(120, 130)
    for minor in (0, 4)
]
INVALID = ("cut", "no user", "bad uuid", "bad kind", "bad time", "negative", "text for number", "too many", "bad product", "bad address")
"""Kinds of broken records; `cut` is the only one that is no JSON."""


def generate(count: int) -> Job:
    """`count` events, 1 % of them broken, 2 % repeats of an earlier good one; reuses the files of an earlier run."""
    CACHE.mkdir(exist_ok=True)
    whole, clean = CACHE / f"events-{count}.ndjson", CACHE / f"clean-{count}.ndjson"
    facts = CACHE / f"events-{count}.json"
    if facts.exists() and whole.exists() and clean.exists():
        bad, duplicates = json.loads(facts.read_text())
    else:
        bad, duplicates = _write(count, whole, clean)
        facts.write_text(json.dumps([bad, duplicates]))
    size = whole.stat().st_size
    job = Job(str(HERE / "events.odcs.yaml"), str(whole), str(clean), "", count, bad, duplicates, size, True, 0, RECEIVED_US)
    return completed(job, CACHE)


def _write(count: int, whole: Path, clean: Path) -> tuple[int, int]:
    """Both files; how many records are broken, how many repeats."""
    rng = random.Random(SEED)
    bad = duplicates = 0
    recent: list[str] = []
    with whole.open("w") as out, clean.open("w") as clean_out:
        for number in range(count):
            draw = rng.random()
            if draw < 0.01:
                out.write(_broken(_event(rng, number, count), INVALID[bad % len(INVALID)]) + "\n")
                bad += 1
                continue
            if draw < 0.03 and recent:
                line = rng.choice(recent)
                duplicates += 1
            else:
                line = json.dumps(_event(rng, number, count), separators=(",", ":"))
                recent.append(line)
                if len(recent) > 50_000:
                    del recent[:25_000]
            out.write(line + "\n")
            clean_out.write(line + "\n")
    return bad, duplicates


def _event(rng: random.Random, number: int, count: int) -> dict[str, object]:
    # events come about in order of time, some seconds late
    at = START_US + (DAYS * 86_400_000_000 - 1) * number // count
    at = max(START_US, at - int(rng.expovariate(1 / 3_000_000)))
    stamp = datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{at % 1_000_000 // 1000:03d}Z"
    price, quantity, bits = rng.randrange(100, 20_000) / 100, rng.randrange(1, 6), f"{rng.getrandbits(128):032x}"
    return {
        "event_id": f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}",
        "event_type": rng.choices(KINDS, WEIGHTS)[0],
        "user_id": f"user_{rng.randrange(50_000):06d}",
        "session_id": f"s{rng.randrange(200_000):07d}",
        "timestamp": stamp,
        "value": round(price * quantity, 2),
        "currency": rng.choice(CURRENCIES),
        "properties": {"product_id": f"P{rng.randrange(5_000):05d}", "price": price, "quantity": quantity, "url": rng.choice(PATHS)},
        "context": {
            "ip": f"{rng.randrange(1, 224)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            "user_agent": rng.choice(AGENTS),
            "country": rng.choice(COUNTRIES),
        },
    }


def _broken(event: dict[str, object], how: str) -> str:
    properties, context = dict(event["properties"]), dict(event["context"])  # type: ignore[call-overload]
    match how:
        case "cut":
            return json.dumps(event, separators=(",", ":"))[:-30]
        case "no user":
            del event["user_id"]
        case "bad uuid":
            event["event_id"] = "not-a-uuid"
        case "bad kind":
            event["event_type"] = "teleport"
        case "bad time":
            event["timestamp"] = "yesterday"
        case "negative":
            event["value"] = -5
        case "text for number":
            event["value"] = "many"
        case "too many":
            properties["quantity"] = 1_000_000
        case "bad product":
            properties["product_id"] = "Q1"
        case "bad address":
            context["ip"] = "999.1.1.1"
    return json.dumps(event | {"properties": properties, "context": context}, separators=(",", ":"))
