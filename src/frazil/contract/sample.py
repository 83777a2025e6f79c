"""Believable values for a contract's fields: what the generator writes when nothing is wrong.

A field's `sample` (customProperty) guides it: `like` names a kind of thing (see `LIKE`), `prefix` and `count` belong to `id`,
`weights` to an enum, `present` is the share of events that have an optional field, `share` how often a boolean is true.
Without it, enum, examples, format and pattern decide. Every text is checked against its field's own rules before it is used.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import accumulate
from random import Random
from typing import Any

from frazil.contract import Contract, Field
from frazil.contract.pattern import compiled
from frazil.errors import ContractError

POOL = 512
OPTIONAL_SHARE = 0.85
HOUR_US = 3_600_000_000

_FIRST = (
    "Ada",
    "Amir",
    "Bea",
    "Chen",
    "Dana",
    "Emil",
    "Fatou",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kofi",
    "Lena",
    "Mei",
    "Noor",
    "Olga",
    "Pavel",
    "Zoë",
)
_LAST = (
    "Adeyemi",
    "Berg",
    "Castro",
    "Dubois",
    "Eriksen",
    "Fischer",
    "García",
    "Huang",
    "Ito",
    "Jensen",
    "Kaya",
    "Larsen",
    "Müller",
    "Novak",
    "Silva",
)
_THINGS = (
    "Lamp",
    "Mug",
    "Notebook",
    "Backpack",
    "Kettle",
    "Chair",
    "Jacket",
    "Bottle",
    "Keyboard",
    "Poster",
    "Scarf",
    "Teapot",
    "Blanket",
    "Watch",
)
_LOOKS = ("Blue", "Copper", "Folding", "Glass", "Heavy", "Light", "Linen", "Oak", "Pocket", "Quiet", "Round", "Small", "Wool", "Winter")
_WORDS = (
    "ice",
    "river",
    "sheet",
    "frost",
    "stream",
    "snow",
    "harbour",
    "light",
    "north",
    "winter",
    "salt",
    "stone",
    "wind",
    "paper",
    "glass",
)
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
)

Texts = Callable[[Random], str]
LIKE: dict[str, Texts] = {
    "country": lambda r: r.choice(("DE", "US", "FR", "GB", "NL", "ES", "IT", "PL", "SE", "JP", "BR", "IN", "NG", "CA", "AU", "KR")),
    "currency": lambda r: r.choice(("EUR", "EUR", "USD", "USD", "GBP", "SEK", "PLN", "JPY", "BRL", "INR")),
    "name": lambda r: f"{r.choice(_FIRST)} {r.choice(_LAST)}",
    "email": lambda r: f"{r.choice(_FIRST).lower()}.{r.choice(_LAST).lower()}{r.randrange(1000)}@example.{r.choice(('com', 'org', 'net'))}",
    "product": lambda r: f"{r.choice(_LOOKS)} {r.choice(_THINGS)}",
    "category": lambda r: r.choice(("kitchen", "office", "clothing", "travel", "home", "electronics", "gifts")),
    "url": lambda r: f"https://www.example.com/{r.choice(('p', 'c', 'search', 'cart', 'account'))}/{r.choice(_WORDS)}-{r.randrange(2000)}",
    "user_agent": lambda r: r.choice(_AGENTS),
    "ipv4": lambda r: f"{r.choice((23, 77, 91, 145, 188, 203))}.{r.randrange(256)}.{r.randrange(256)}.{r.randrange(1, 255)}",
    "ipv6": lambda r: f"2001:db8:{r.randrange(65536):x}::{r.randrange(1, 65536):x}",
    "word": lambda r: r.choice(_WORDS),
    "sentence": lambda r: " ".join(r.choices(_WORDS, k=r.randrange(3, 9))).capitalize() + ".",
}
LIKE["uri"] = LIKE["url"]


class Draw:
    """What one event is made from: randomness, its number, its time (µs since 1970 UTC)."""

    __slots__ = ("at_us", "index", "random", "rng")

    def __init__(self, seed: int | str) -> None:
        self.rng = Random(seed)
        self.random = self.rng.random
        self.index = 0
        self.at_us = 0


Maker = Callable[[Draw], str]
"""Makes the JSON text of one value."""


class ObjectMaker:
    """Makes an object's members in the contract's order."""

    def __init__(self, fields: Sequence[Field], contract: Contract, unique: str | None, rng: Random) -> None:
        self.members: list[tuple[str, str, Maker, float]] = []
        for one in fields:
            share = 1.0 if one.required else float(one.sample.get("present", OPTIONAL_SHARE))  # type: ignore[arg-type]
            self.members.append((one.name, f'"{one.name}":', maker(one, contract, unique, rng), share))

    def parts(self, draw: Draw) -> list[str]:
        """`"name":value` of each member, optional ones mostly."""
        return [prefix + make(draw) for _, prefix, make, share in self.members if share >= 1.0 or draw.random() < share]

    def __call__(self, draw: Draw) -> str:
        return "{" + ",".join(self.parts(draw)) + "}"

    def with_member(self, draw: Draw, name: str, text: str | None) -> str:
        """An object with all members, one of them replaced, or left out when `text` is None."""
        made = [
            prefix + (make(draw) if own != name else text or "") for own, prefix, make, _ in self.members if own != name or text is not None
        ]
        return "{" + ",".join(made) + "}"


def maker(one: Field, contract: Contract, unique: str | None, rng: Random) -> Maker:
    """A maker of a field's values; `unique` is the pointer of the field that must never repeat.

    Raises:
        ContractError: `contract.no_sample`: no text could be found that the field's rules let through.
    """
    match one.kind:
        case "object":
            return ObjectMaker(one.fields, contract, unique, rng)
        case "array":
            return _array(one, contract, rng)
        case "uuid":
            return _uuid
        case "string":
            return _unique_text(one) if one.path == unique else _string(one, rng)
        case "boolean":
            share = float(one.sample.get("share", 0.5))  # type: ignore[arg-type]
            return lambda draw: "true" if draw.random() < share else "false"
        case "timestamp" | "date":
            return _time(one, contract)
        case "json":
            return _pool([json.dumps({"k": rng.randrange(100), "words": rng.choices(_WORDS, k=2)}) for _ in range(POOL)])
        case _:
            return (lambda draw: str(draw.index + 1)) if one.path == unique else _number(one, rng)


def _uuid(draw: Draw) -> str:
    text = f"{draw.rng.getrandbits(128):032x}"
    return f'"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"'


def _pool(texts: Sequence[str]) -> Maker:
    pool, size = list(texts), len(texts)
    return lambda draw: pool[int(draw.random() * size)]


def _array(one: Field, contract: Contract, rng: Random) -> Maker:
    item = maker(one.items, contract, None, rng) if one.items is not None else (lambda draw: "null")
    least = one.min_items or 0
    most = min(one.max_items if one.max_items is not None else least + 3, least + 3)
    return lambda draw: "[" + ",".join([item(draw) for _ in range(draw.rng.randint(least, most))]) + "]"


def _string(one: Field, rng: Random) -> Maker:
    if one.enum is not None:
        return _weighted(one)
    if one.sample.get("like") == "id":
        prefix, count = str(one.sample.get("prefix", "")), int(one.sample.get("count", 1000))  # type: ignore[call-overload]
        if meets(one, f"{prefix}{count - 1:06d}"):
            return lambda draw: f'"{prefix}{int(draw.random() ** 2 * count):06d}"'  # some are far busier than others
    return _pool([json.dumps(text, ensure_ascii=False) for text in texts(one, rng)])


def _weighted(one: Field) -> Maker:
    values = [json.dumps(value, ensure_ascii=False) for value in one.enum or () if meets(one, value)]
    if not values:
        raise _no_sample(one)
    weights = one.sample.get("weights")
    if not isinstance(weights, list) or len(weights) != len(one.enum or ()) or len(values) != len(weights):
        return _pool(values)
    sums = list(accumulate(float(weight) for weight in weights))
    return lambda draw: values[min(bisect(sums, draw.random() * sums[-1]), len(values) - 1)]


def texts(one: Field, rng: Random) -> list[str]:
    """Up to `POOL` texts that meet a string field's rules: as `like` says, else its format, its examples, its pattern, else words."""
    like = LIKE.get(str(one.sample.get("like") or one.format))
    if like is not None:
        found = [text for text in (like(rng) for _ in range(POOL)) if meets(one, text)]
    else:
        found = [str(example) for example in one.examples if meets(one, str(example))]
    if not found and one.pattern is not None:
        found = [text for text in (matching(one.pattern, rng) for _ in range(POOL)) if meets(one, text)]
    if not found:
        found = [text for text in (_words(one, rng) for _ in range(POOL)) if meets(one, text)]
    if not found:
        raise _no_sample(one)
    return found


def _words(one: Field, rng: Random) -> str:
    least = one.min_length or 1
    text = rng.choice(_WORDS)
    while len(text) < least:
        text += " " + rng.choice(_WORDS)
    return text[: one.max_length if one.max_length is not None else 200]


def _no_sample(one: Field) -> ContractError:
    return ContractError(
        f"no text was found that meets the rules of {one.path}",
        code="contract.no_sample",
        hint="add `examples` to the field",
        field=one.path,
    )


def meets(one: Field, text: str) -> bool:
    """Whether a text meets a string field's rules; formats are made right, not checked."""
    return (
        (one.enum is None or text in one.enum)
        and len(text) >= (one.min_length or 0)
        and (one.max_length is None or len(text) <= one.max_length)
        and (one.pattern is None or compiled(one.pattern).search(text) is not None)
    )


def _unique_text(one: Field) -> Maker:
    """Texts that never repeat: a counter, as long as the field asks."""
    width = max(one.min_length or 0, 9)
    if one.enum is not None or one.format is not None or not meets(one, "0" * width):
        raise ContractError(
            f"the key field {one.path} leaves no room for distinct generated keys",
            code="contract.no_sample",
            hint="use a key with a uuid or the event time, or send your own events",
            field=one.path,
        )
    return lambda draw: f'"{draw.index:0{width}d}"'


def bounds(one: Field) -> tuple[int, int]:
    """Lowest and highest generated value of a number in units of its last digit (`scale` digits after the point)."""
    unit = Decimal(10) ** (one.scale or 0) if one.kind == "decimal" else Decimal(1) if one.kind == "integer" else Decimal(100)
    room = 10 ** (one.precision or 38) - 1 if one.kind == "decimal" else 2**63 - 1
    low = int((Decimal(one.minimum) * unit).to_integral_value("ROUND_CEILING")) if one.minimum is not None else None
    high = int((Decimal(one.maximum) * unit).to_integral_value("ROUND_FLOOR")) if one.maximum is not None else None
    if low is not None and one.exclusive_minimum and Decimal(low) == Decimal(one.minimum or 0) * unit:
        low += 1
    if high is not None and one.exclusive_maximum and Decimal(high) == Decimal(one.maximum or 0) * unit:
        high -= 1
    span = int(1000 * unit)
    if low is None:
        low = 0 if high is None or high >= 0 else high - span
    return max(low, -room), min(high if high is not None else low + span, room)


def _number(one: Field, rng: Random) -> Maker:
    if one.enum is not None:
        return _pool(list(one.enum))
    low, high = bounds(one)
    if low > high:
        raise _no_sample(one)
    if one.sample.get("like") == "few":  # most are one, hardly any more than ten
        return lambda draw: str(min(high, low + int(draw.rng.expovariate(1.2))))
    digits = {"integer": 0, "decimal": min(one.scale or 0, 2)}.get(one.kind, 2)
    scale = {"integer": 0, "decimal": one.scale or 0}.get(one.kind, 2)
    step = 10 ** (scale - digits)
    if one.sample.get("like") == "price" and low >= 0 and high // step > 100:
        return _pool([_scaled(min(high // step, low // step + 50 + int(rng.lognormvariate(7.5, 1.0))), digits) for _ in range(POOL * 8)])
    least, most = -(-low // step), high // step
    if least > most:
        return lambda draw: _scaled(low, scale)
    return lambda draw: _scaled(draw.rng.randint(least, most), digits)


def _scaled(value: int, digits: int) -> str:
    if digits == 0:
        return str(value)
    whole, rest = divmod(abs(value), 10**digits)
    return f"{'-' if value < 0 else ''}{whole}.{rest:0{digits}d}"


def _time(one: Field, contract: Contract) -> Maker:
    """The event's time for the event time and for keys; some time before it for others."""
    own = one.path == contract.event_time or one.path in contract.key
    write = _date_text if one.kind == "date" else _time_text()
    if own:
        return lambda draw: write(draw.at_us)
    return lambda draw: write(draw.at_us - int(draw.random() ** 2 * 9_600) * HOUR_US)


def _date_text(at_us: int) -> str:
    return f'"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y-%m-%d}"'


def _time_text() -> Callable[[int], str]:
    """Writes instants; few days occur, so their texts are kept."""
    days: dict[int, str] = {}

    def write(at_us: int) -> str:
        day, rest = divmod(at_us, 24 * HOUR_US)
        if day not in days:
            days[day] = datetime.fromtimestamp(day * 86_400, UTC).strftime('"%Y-%m-%dT')
        second, micro = divmod(rest, 1_000_000)
        return f'{days[day]}{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{micro:06d}Z"'

    return write


def matching(pattern: str, rng: Random) -> str:
    """A text that a canonical pattern finds."""
    from re import _parser as parser  # type: ignore[attr-defined]  # the engine's own tree of the pattern

    return "".join(_generated(parser.parse(pattern), rng))


def _generated(tree: Any, rng: Random) -> list[str]:
    out: list[str] = []
    for operation, argument in tree:
        match str(operation):
            case "LITERAL":
                out.append(chr(argument))
            case "NOT_LITERAL":
                out.append(rng.choice([char for char in "abcxyz019" if ord(char) != argument]))
            case "ANY":
                out.append(rng.choice("abcxyz019"))
            case "IN":
                out.append(_one_of(argument, rng))
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = argument
                for _ in range(rng.randint(least, min(int(most), least + 4))):
                    out += _generated(inner, rng)
            case "SUBPATTERN":
                out += _generated(argument[3], rng)
            case "BRANCH":
                out += _generated(rng.choice(argument[1]), rng)
    return out


def _one_of(items: Any, rng: Random) -> str:
    """A character of a class."""
    ranges = [(value, value) if str(kind) == "LITERAL" else value for kind, value in items if str(kind) in ("LITERAL", "RANGE")]
    if str(items[0][0]) == "NEGATE":
        allowed = [char for char in map(chr, range(33, 127)) if not any(low <= ord(char) <= high for low, high in ranges)]
        return rng.choice(allowed or ["\u00e9"])
    low, high = rng.choice(ranges)
    return chr(rng.randint(low, high))
