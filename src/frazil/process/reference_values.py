"""Exact numbers, times and formats of text, as docs/reference/verdicts.md words them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

DAY_US = 86_400_000_000
EPOCH_DAY = date(1970, 1, 1).toordinal()
FIRST_US = (date.min.toordinal() - EPOCH_DAY) * DAY_US
LAST_US = (date.max.toordinal() + 1 - EPOCH_DAY) * DAY_US - 1
EPOCH_DECIMALS = {"s": 6, "ms": 3, "us": 0}
_FAR = 1 << 40  # exponents beyond this compare like this: nothing else in a record reaches it

_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^<>\"{}|\\^`]+")
_SPACE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")
_LABEL = re.compile(r"[A-Za-z0-9\x80-\U0010ffff-]+")


class Exact(NamedTuple):
    """A decimal number without rounding: ± 0.DIGITS x 10^point, no zeros at either end of the digits; zero has no digits."""

    negative: bool
    digits: str
    point: int

    @classmethod
    def parse(cls, token: str) -> Exact:
        """The value of a JSON number or of a contract's bound."""
        sign, whole, fraction, exponent = _NUMBER.fullmatch(token).groups()  # type: ignore[union-attr]
        digits = whole + (fraction or "")
        significant = digits.lstrip("0")
        power = 0 if exponent is None else _clamped(exponent)
        point = len(whole) - (len(digits) - len(significant)) + power
        significant = significant.rstrip("0")
        if not significant:
            return cls(False, "", 0)
        return cls(sign == "-", significant, max(-_FAR, min(_FAR, point)))

    @property
    def fraction_digits(self) -> int:
        return max(0, len(self.digits) - self.point)

    @property
    def whole_digits(self) -> int:
        return max(0, self.point) if self.digits else 0

    def floor_scaled(self, scale: int) -> int | None:
        """The value x 10^scale toward minus infinity; None beyond 40 digits."""
        keep = self.point + scale
        if self.digits and keep > 40:
            return None
        kept = self.digits[: max(0, keep)]
        value = int(kept.ljust(max(0, keep), "0") or "0")
        cut = len(self.digits) > len(kept)
        return -value - cut if self.negative else value

    @property
    def sign(self) -> int:
        return 0 if not self.digits else -1 if self.negative else 1

    def below(self, other: Exact) -> bool:
        if self.sign != other.sign:
            return self.sign < other.sign
        left, right = (self.point, self.digits), (other.point, other.digits)
        return left < right if self.sign > 0 else left > right


def _clamped(exponent: str) -> int:
    digits = exponent.lstrip("+-").lstrip("0")
    size = _FAR if len(digits) > 12 else min(_FAR, int(digits or "0"))
    return -size if exponent.startswith("-") else size


class NoZone(Exception):
    """A local time, and nothing says where."""


class Zone:
    """Where a text without an offset belongs: an IANA name, `UTC`, or `±hh:mm`."""

    def __init__(self, name: str) -> None:
        self.fixed_us = 0 if name in ("Z", "UTC") else _offset_us(name)
        self.named = ZoneInfo(name) if self.fixed_us is None else None

    def instant(self, local_us: int) -> int | None:
        """The instant of a local time (µs as if it were UTC); the earlier of two, None where the clock skipped it."""
        if self.named is None:
            return local_us - (self.fixed_us or 0)
        day, within = divmod(local_us, DAY_US)
        local = datetime.fromordinal(day + EPOCH_DAY) + timedelta(microseconds=within)
        first, second = (self.named.utcoffset(local.replace(fold=fold)) or timedelta() for fold in (0, 1))
        if first < second:  # PEP 495: the clock goes forward over this time
            return None
        return local_us - first // timedelta(microseconds=1)

    def first_instant(self, day: int) -> int:
        """Midnight of a day, or the end of the gap that skips it. Gaps end on whole seconds."""
        if (at := self.instant(day * DAY_US)) is not None:
            return at
        gap, after = 0, 86_400
        while after - gap > 1:
            middle = (gap + after) // 2
            gap, after = (middle, after) if self.instant(day * DAY_US + middle * 1_000_000) is None else (gap, middle)
        return self.instant(day * DAY_US + after * 1_000_000) or 0


@lru_cache(maxsize=256)
def zone(name: str) -> Zone:
    return Zone(name)


def _offset_us(text: str) -> int | None:
    """µs east of UTC of `±hh:mm`; None for another text."""
    if re.fullmatch(r"[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]", text) is None:
        return None
    minutes = int(text[1:3]) * 60 + int(text[4:6])
    return (-minutes if text[0] == "-" else minutes) * 60_000_000


def day_of(text: str) -> int | None:
    """Days since 1970 of `YYYY-MM-DD`, years 0001 to 9999."""
    if _DATE.fullmatch(text) is None:
        return None
    try:
        return date.fromisoformat(text).toordinal() - EPOCH_DAY
    except ValueError:
        return None


def instant_of(text: str, zone_name: str | None) -> int | None:
    """µs since 1970 UTC of an RFC 3339 time; None when it is none. Raises NoZone."""
    found = _TIME.fullmatch(text)
    day = day_of(found[1]) if found else None
    if found is None or day is None:
        return None
    hour, minute, second = int(found[2]), int(found[3]), int(found[4])
    if hour > 23 or minute > 59 or second > 60:
        return None
    local = day * DAY_US + ((hour * 60 + minute) * 60 + min(second, 59)) * 1_000_000
    utc = _utc(local, found[6], zone_name)
    if utc is None or (second == 60 and utc % DAY_US != DAY_US - 1_000_000):
        return None
    utc += (1_000_000 if second == 60 else 0) + int((found[5] or "0")[:6].ljust(6, "0"))
    return utc if FIRST_US <= utc <= LAST_US else None


def _utc(local: int, offset: str | None, zone_name: str | None) -> int | None:
    if offset is None:
        if zone_name is None:
            raise NoZone
        return zone(zone_name).instant(local)
    east = 0 if offset in "Zz" else _offset_us(offset)
    return None if east is None else local - east


def instant_of_epoch(number: Exact, unit: str) -> int | None:
    """µs since 1970 of an epoch number, cut toward minus infinity; None beyond years 0001 to 9999."""
    at = number.floor_scaled(EPOCH_DECIMALS[unit])
    return at if at is not None and FIRST_US <= at <= LAST_US else None


def rfc3339_seconds(at_us: int) -> str:
    """An instant in UTC cut to seconds; beyond the calendar's years the nearest one it has."""
    second = max(FIRST_US, min(LAST_US, at_us)) // 1_000_000
    at = datetime.fromordinal(second // 86_400 + EPOCH_DAY) + timedelta(seconds=second % 86_400)
    return at.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def _has_space_or_control(text: str) -> bool:
    return _SPACE_OR_CONTROL.search(text) is not None


def is_email(text: str) -> bool:
    local, at, domain = text.partition("@")
    labels = domain.split(".")
    return (
        bool(local and at and len(labels) > 1 and all(map(_LABEL.fullmatch, labels)))
        and "@" not in domain
        and not _has_space_or_control(text)
    )


def is_ipv4(text: str) -> bool:
    return _IPV4.fullmatch(text) is not None


def is_ipv6(text: str) -> bool:
    """RFC 4291 §2.2: eight groups of one to four hex digits, `::` once for one or more of zeros, an IPv4 address as the last two."""
    if text.count("::") > 1 or ":::" in text:
        return False
    head, gap, tail = text.partition("::")
    groups = [*(head.split(":") if head else []), *(tail.split(":") if tail else [])]
    count = len(groups)
    if groups and "." in groups[-1] and (tail or not gap):
        if not is_ipv4(groups.pop()):
            return False
        count += 1
    return all(re.fullmatch(r"[0-9A-Fa-f]{1,4}", group) for group in groups) and (count <= 7 if gap else count == 8)


def is_uri(text: str) -> bool:
    return _URI.fullmatch(text) is not None and not _has_space_or_control(text)


FORMATS = {"email": is_email, "ipv4": is_ipv4, "ipv6": is_ipv6, "uri": is_uri}
