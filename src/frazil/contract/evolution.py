"""What a change of a contract means for events that were sent and for tables that are there."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Literal, NamedTuple

from frazil.contract import Contract, Field

Effect = Literal["additive", "loosened", "tightened", "breaking"]
"""additive: a new optional field · loosened: accepts more · tightened: may refuse what was accepted · breaking: stored
values or keys would mean something else; the table cannot follow."""


class Change(NamedTuple):
    """One difference between two contracts. `path` is a JSON pointer; empty for the contract itself."""

    path: str
    effect: Effect
    message: str


def evolution(current: Contract, new: Contract) -> list[Change]:
    """Every difference that decides a verdict or a stored value, the contract's own first, then fields in the new order."""
    changes = list(_of_contract(current, new))
    before = {one.path: one for one in current.walk()}
    after = {one.path: one for one in new.walk()}
    for path, one in after.items():
        if path in before:
            changes += _of_field(before[path], one)
        elif one.required:
            changes.append(Change(path, "tightened", "a new required field: events without it are refused"))
        else:
            changes.append(Change(path, "additive", "a new optional field"))
    for path in before.keys() - after.keys():
        effect: Effect = "tightened" if new.unknown == "refuse" else "loosened"
        changes.append(Change(path, effect, f"gone: its column stays, null; the member is unknown ({new.unknown})"))
    return changes


def refused(changes: list[Change], compatibility: str) -> list[Change]:
    """Changes that a compatibility does not allow: `backward` (old events stay good), `forward` (events of the new contract are
    good under the old one), `full` (both), `none`. A breaking change is none of them."""
    forbidden: dict[str, tuple[Effect, ...]] = {
        "backward": ("tightened", "breaking"),
        "forward": ("loosened", "breaking"),
        "full": ("tightened", "loosened", "breaking"),
    }
    return [change for change in changes if change.effect in forbidden.get(compatibility, ())]


def _of_contract(current: Contract, new: Contract) -> Iterator[Change]:
    if current.key != new.key:
        yield Change("", "breaking", f"the key was {', '.join(current.key) or 'none'} and becomes {', '.join(new.key) or 'none'}")
    if current.event_time != new.event_time:
        yield Change("", "breaking", f"the event time was {current.event_time} and becomes {new.event_time}")
    if current.unknown != new.unknown:
        effect: Effect = "tightened" if new.unknown == "refuse" else "loosened"
        yield Change("", effect, f"unknown fields: {current.unknown} becomes {new.unknown}")
    for name in ("ahead_us", "max_bytes", "max_depth", "max_members"):
        yield from _upper("", name, getattr(current, name), getattr(new, name))
    yield from _lower("", "earliest_us", current.earliest_us, new.earliest_us)


def _of_field(old: Field, new: Field) -> Iterator[Change]:
    path = new.path
    if old.kind != new.kind or (old.kind == "decimal" and _shrinks(old, new)):
        yield Change(path, "breaking", f"the type was {_type(old)} and becomes {_type(new)}")
        return
    if old.precision != new.precision:
        yield Change(path, "loosened", f"the type was {_type(old)} and becomes {_type(new)}")
    if old.required != new.required:
        yield Change(path, "tightened" if new.required else "loosened", "becomes required" if new.required else "becomes optional")
    yield from _lower(path, "min_length", old.min_length, new.min_length)
    yield from _upper(path, "max_length", old.max_length, new.max_length)
    yield from _lower(path, "min_items", old.min_items, new.min_items)
    yield from _upper(path, "max_items", old.max_items, new.max_items)
    yield from _lower(path, "minimum", _bound(old.minimum, old.exclusive_minimum), _bound(new.minimum, new.exclusive_minimum))
    # an exclusive maximum lies below the same inclusive one
    yield from _upper(path, "maximum", _bound(old.maximum, not old.exclusive_maximum), _bound(new.maximum, not new.exclusive_maximum))
    for name in ("pattern", "format"):
        yield from _text_rule(path, name, getattr(old, name), getattr(new, name))
    yield from _enum(path, old.enum, new.enum)
    yield from _reading(path, "epochUnit", old.unit, new.unit)
    yield from _reading(path, "timeZone", old.zone, new.zone)


def _shrinks(old: Field, new: Field) -> bool:
    """Whether a decimal could not hold its old values (Iceberg promotes to more digits before the point only)."""
    return old.scale != new.scale or (old.precision or 0) > (new.precision or 0)


def _type(one: Field) -> str:
    return f"decimal({one.precision},{one.scale})" if one.kind == "decimal" else one.kind


_Order = int | tuple[Decimal, bool] | None


def _bound(text: str | None, above: bool) -> tuple[Decimal, bool] | None:
    return None if text is None else (Decimal(text), above)


def _lower(path: str, name: str, old: _Order, new: _Order) -> Iterator[Change]:
    if old != new:
        tightened = new is not None and (old is None or new > old)  # type: ignore[operator]  # both of one kind
        yield Change(path, "tightened" if tightened else "loosened", f"{name} {_said(old)} becomes {_said(new)}")


def _upper(path: str, name: str, old: _Order, new: _Order) -> Iterator[Change]:
    if old != new:
        tightened = new is not None and (old is None or new < old)  # type: ignore[operator]  # both of one kind
        yield Change(path, "tightened" if tightened else "loosened", f"{name} {_said(old)} becomes {_said(new)}")


def _said(value: _Order) -> str:
    if value is None:
        return "(none)"
    return str(value[0]) if isinstance(value, tuple) else str(value)


def _text_rule(path: str, name: str, old: str | None, new: str | None) -> Iterator[Change]:
    if old != new:  # whether one pattern lies within another is not decided: it may refuse what passed
        yield Change(path, "loosened" if new is None else "tightened", f"{name} {old or '(none)'} becomes {new or '(none)'}")


def _enum(path: str, old: tuple[str, ...] | None, new: tuple[str, ...] | None) -> Iterator[Change]:
    if old == new or (old is not None and new is not None and set(old) == set(new)):
        return
    if new is None:
        yield Change(path, "loosened", "any value is allowed")
    elif old is None:
        yield Change(path, "tightened", f"only {', '.join(new)}")
    else:
        if gone := set(old) - set(new):
            yield Change(path, "tightened", f"no longer allowed: {', '.join(sorted(gone))}")
        if added := set(new) - set(old):
            yield Change(path, "loosened", f"allowed as well: {', '.join(sorted(added))}")


def _reading(path: str, name: str, old: str | None, new: str | None) -> Iterator[Change]:
    if old == new:
        return
    if old is not None and new is not None:
        yield Change(path, "breaking", f"{name} {old} becomes {new}: the same text would mean another instant")
    else:
        yield Change(path, "loosened" if old is None else "tightened", f"{name} {old or '(none)'} becomes {new or '(none)'}")
