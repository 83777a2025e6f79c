"""ODCS properties become fields: what each logical type takes, and every problem with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, InvalidOperation
from typing import Any, cast
from zoneinfo import ZoneInfo

from open_data_contract_standard.model import CustomProperty, SchemaProperty

from frazil.contract import Field, Kind
from frazil.contract.pattern import PatternError, canonical
from frazil.contract.source import At, Source

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED = ("event_date", "event_hour")
MAX_DIGITS = 400
_DECIMAL = re.compile(r"(?:decimal|numeric)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?", re.IGNORECASE)
_OFFSET = re.compile(r"[+-](?:[01]\d|2[0-3]):[0-5]\d")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_OPTIONS: dict[str, tuple[str, ...]] = {
    "uuid": ("format",),
    "string": ("format", "minLength", "maxLength", "pattern"),
    "integer": (*_BOUNDS, "format"),
    "number": (*_BOUNDS, "format"),
    "decimal": _BOUNDS,
    "timestamp": ("timezone", "defaultTimezone"),
    "date": ("format",),
    "array": ("minItems", "maxItems"),
}
_INTEGERS = {"i8": (-(2**7), 2**7 - 1), "i16": (-(2**15), 2**15 - 1), "i32": (-(2**31), 2**31 - 1), "i64": (None, None)} | {
    f"u{bits}": (0, 2**bits - 1) for bits in (8, 16, 32)
}
_CUSTOM: dict[str, tuple[str, ...]] = {  # which kinds take a custom property; () means all
    "epochUnit": ("timestamp",),
    "timeZone": ("timestamp", "date"),
    "enum": ("string", "integer", "number", "decimal"),
    "piiAction": (),
    "sample": (),
}
_FORMATS = ("email", "ipv4", "ipv6", "uri")


class FieldReader:
    """Turns ODCS properties into fields; problems go to the source."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def fields(self, properties: Sequence[SchemaProperty], at: At, pointer: str = "") -> tuple[Field, ...]:
        """Fields of an object whose list of properties stands at `at`, in order."""
        read: list[Field] = []
        seen: dict[str, str] = {}
        for index, one in enumerate(properties):
            place, name = (*at, index), one.name or ""
            if not NAME.fullmatch(name):
                self.source.report(
                    (*place, "name"), f"`{name}` is not a field name", "use letters, digits and _, not beginning with a digit"
                )
                continue
            if not pointer and (name.startswith("_") or name.lower() in RESERVED):
                self.source.report((*place, "name"), f"`{name}` is a name Frazil keeps for itself", "choose another name")
            if name.lower() in seen:
                self.source.report(
                    (*place, "name"),
                    f"`{name}` is already the field `{seen[name.lower()]}`",
                    "names differ by more than upper and lower case",
                )
                continue
            seen[name.lower()] = name
            read.append(self.field(one, place, f"{pointer}/{name}", name))
        return tuple(read)

    def field(self, one: SchemaProperty, at: At, pointer: str, name: str) -> Field:
        """One property with all below it."""
        kind, precision, scale = self._kind(one, at)
        options = self._options(one, at, kind)
        custom = custom_properties(self.source, one.customProperties, at, tuple(_CUSTOM))
        self._check_custom(custom, at, kind)
        lowest, highest = self._bounds(options, at, kind)
        if one.unique and not one.primaryKey:
            self.source.report(
                (*at, "unique"), "only the key is kept unique", "make it part of the key (`primaryKey: true`), or leave `unique` out"
            )
        return Field(
            name=name,
            path=pointer,
            kind=kind,
            required=bool(one.required),
            enum=self._enum(one, custom, at, kind),
            pattern=self._pattern(options, at),
            format=options["format"] if options.get("format") in _FORMATS else None,
            min_length=options.get("minLength"),
            max_length=options.get("maxLength"),
            minimum=lowest[0],
            maximum=highest[0],
            exclusive_minimum=lowest[1],
            exclusive_maximum=highest[1],
            precision=precision,
            scale=scale,
            unit=self._unit(custom),
            zone=self._zone(options, custom, at),
            min_items=options.get("minItems"),
            max_items=options.get("maxItems"),
            fields=self.fields(one.properties or (), (*at, "properties"), pointer) if kind == "object" else (),
            items=self.field(one.items, (*at, "items"), f"{pointer}/*", "element") if kind == "array" and one.items else None,
            pii=self._pii(custom),
            description=(one.description or "").strip(),
            examples=tuple(one.examples or ()),
            sample=self._sample(custom),
        )

    def _kind(self, one: SchemaProperty, at: At) -> tuple[Kind, int | None, int | None]:
        physical = _DECIMAL.fullmatch((one.physicalType or "").strip())
        if physical and one.logicalType != "number":
            self.source.report((*at, "physicalType"), f"{one.physicalType} belongs to `logicalType: number`", "change one of the two")
        match one.logicalType:
            case "string":
                return ("uuid" if (one.logicalTypeOptions or {}).get("format") == "uuid" else "string"), None, None
            case "number" if physical:
                return self._decimal(physical, at)
            case "integer" | "number" | "boolean" | "timestamp" | "date":
                return cast(Kind, one.logicalType), None, None
            case "object":
                return ("object" if one.properties else "json"), None, None
            case "array":
                if one.items is None:
                    self.source.report(at, "an array without `items`", "say what its items are")
                return "array", None, None
        known = "string, integer, number, boolean, date, timestamp, object, array"
        self.source.report((*at, "logicalType"), f"logicalType {one.logicalType or 'is missing'}", f"use one of: {known}")
        return "string", None, None

    def _decimal(self, physical: re.Match[str], at: At) -> tuple[Kind, int, int]:
        precision, scale = int(physical[1] or 0), int(physical[2] or 0)
        if not (1 <= precision <= 38 and scale <= precision):
            self.source.report(
                (*at, "physicalType"), f"{physical[0]} has no room", "write decimal(precision, scale), scale <= precision <= 38"
            )
            precision, scale = 38, 0
        return "decimal", precision, scale

    def _options(self, one: SchemaProperty, at: At, kind: Kind) -> dict[str, Any]:
        options = {name: value for name, value in (one.logicalTypeOptions or {}).items() if value is not None}
        known = _OPTIONS.get(kind, ())
        for name in options:
            if name not in known:
                hint = f"{kind} takes: {', '.join(known)}" if known else f"{kind} takes no options"
                if name in (*_BOUNDS, "format") and kind in ("timestamp", "date"):
                    hint = "times are RFC 3339 or `epochUnit`; bounds of the event time are `earliest` and `ahead`"
                self.source.report((*at, "logicalTypeOptions", name), f"option `{name}` is not checked for {kind}", hint)
        self._check_format(options, at, kind)
        for low, high in (("minLength", "maxLength"), ("minItems", "maxItems")):
            if isinstance(options.get(low), int) and isinstance(options.get(high), int) and options[low] > options[high]:
                self.source.report((*at, "logicalTypeOptions", low), f"{low} is above {high}", "nothing could pass")
        return {name: value for name, value in options.items() if name in known}

    def _check_format(self, options: Mapping[str, Any], at: At, kind: Kind) -> None:
        known: Mapping[str, Sequence[str]] = {
            "string": _FORMATS,
            "uuid": ("uuid",),
            "integer": tuple(_INTEGERS),
            "number": ("f64",),
            "date": ("yyyy-MM-dd",),
        }
        if "format" in options and kind in known and options["format"] not in known[kind]:
            names = (*known[kind], "uuid") if kind == "string" else known[kind]
            hint = f"use one of: {', '.join(names)}" + ("; a time is `logicalType: timestamp`" if kind == "string" else "")
            self.source.report((*at, "logicalTypeOptions", "format"), f"format {options['format']} is not checked", hint)

    def _bounds(self, options: Mapping[str, Any], at: At, kind: Kind) -> tuple[tuple[str | None, bool], tuple[str | None, bool]]:
        """Lowest and highest value, each as decimal text and whether it is exclusive."""
        lowest = self._bound(options, at, "minimum", "exclusiveMinimum")
        highest = self._bound(options, at, "maximum", "exclusiveMaximum")
        if kind == "integer" and (width := _INTEGERS.get(str(options.get("format")))):
            lowest = (str(width[0]), False) if lowest[0] is None and width[0] is not None else lowest
            highest = (str(width[1]), False) if highest[0] is None and width[1] is not None else highest
        if lowest[0] is not None and highest[0] is not None:
            low, high = Decimal(lowest[0]), Decimal(highest[0])
            if low > high or (low == high and (lowest[1] or highest[1])):
                name = "exclusiveMinimum" if lowest[1] else "minimum"
                self.source.report(
                    (*at, "logicalTypeOptions", name), f"minimum {lowest[0]} is above maximum {highest[0]}", "nothing could pass"
                )
        return lowest, highest

    def _bound(self, options: Mapping[str, Any], at: At, inclusive: str, exclusive: str) -> tuple[str | None, bool]:
        place = (*at, "logicalTypeOptions")
        if inclusive in options and exclusive in options:
            self.source.report((*place, exclusive), f"{inclusive} and {exclusive} both stand here", "keep one of them")
        name = exclusive if exclusive in options else inclusive
        return (self._number((*place, name)) if name in options else None), name == exclusive

    def _number(self, at: At) -> str | None:
        """The decimal text of a number as it stands in the file, without an exponent."""
        text = decimal_text(self.source.text(at) or "")
        if text is None:
            self.source.report(at, f"{self.source.text(at)} is not a number", "write a plain decimal number")
        return text

    def _enum(self, one: SchemaProperty, custom: Mapping[str, tuple[Any, At]], at: At, kind: Kind) -> tuple[str, ...] | None:
        places: list[At] = []
        if one.enum is not None:
            places = [(*at, "enum", index, "value") for index in range(len(one.enum))]
        elif "enum" in custom:
            value, place = custom["enum"]
            if not isinstance(value, list) or not value:
                self.source.report(place, "enum is a list of values", "write `value: [a, b]`")
                return None
            places = [(*place, index) for index in range(len(value))]
        else:
            places = self._valid_values(one, at)
        if not places:
            return None
        if kind not in _CUSTOM["enum"]:
            self.source.report(places[0], f"{kind} takes no enum", f"use it with: {', '.join(_CUSTOM['enum'])}")
            return None
        values = (
            [self.source.text(place) or "" for place in places] if kind == "string" else [self._number(place) or "0" for place in places]
        )
        for index, place in enumerate(places):
            if values[index] in values[:index]:
                self.source.report(place, f"{values[index]} stands twice in the enum", "keep one of them")
        return tuple(values)

    def _valid_values(self, one: SchemaProperty, at: At) -> list[At]:
        """Places of the values of a quality rule that allows no others: `invalidValues`, `mustBe: 0`."""
        for index, rule in enumerate(one.quality or ()):
            if (
                rule.metric == "invalidValues"
                and rule.mustBe == 0
                and rule.arguments
                and isinstance(rule.arguments.get("validValues"), list)
            ):
                return [(*at, "quality", index, "arguments", "validValues", n) for n in range(len(rule.arguments["validValues"]))]
        return []

    def _pattern(self, options: Mapping[str, Any], at: At) -> str | None:
        if "pattern" not in options:
            return None
        try:
            return canonical(str(options["pattern"]))
        except PatternError as error:
            self.source.report((*at, "logicalTypeOptions", "pattern"), f"pattern: {error}", "see docs/contracts.md for the dialect")
            return None

    def _check_custom(self, custom: Mapping[str, tuple[Any, At]], at: At, kind: Kind) -> None:
        for name, (value, place) in custom.items():
            kinds = _CUSTOM[name]
            if kinds and kind not in kinds and name != "enum":  # an enum may stand elsewhere, too
                self.source.report(place, f"`{name}` does not belong to {kind}", f"it belongs to: {', '.join(kinds)}")
            allowed = {"epochUnit": ("s", "ms", "us"), "piiAction": ("drop", "mask", "hash", "keep")}.get(name)
            if allowed and value not in allowed:
                self.source.report(place, f"`{name}` is {value}", f"use one of: {', '.join(allowed)}")
            if name == "sample" and not isinstance(value, dict):
                self.source.report(place, "`sample` is a map of hints for the generator", "write `value: {like: country}`")

    def _unit(self, custom: Mapping[str, tuple[Any, At]]) -> Any:
        return custom["epochUnit"][0] if custom.get("epochUnit", ("",))[0] in ("s", "ms", "us") else None

    def _pii(self, custom: Mapping[str, tuple[Any, At]]) -> str | None:
        return str(custom["piiAction"][0]) if "piiAction" in custom else None

    def _sample(self, custom: Mapping[str, tuple[Any, At]]) -> Mapping[str, object]:
        value = custom["sample"][0] if "sample" in custom else {}
        return value if isinstance(value, dict) else {}

    def _zone(self, options: Mapping[str, Any], custom: Mapping[str, tuple[Any, At]], at: At) -> str | None:
        place: At = (*at, "logicalTypeOptions", "defaultTimezone")
        zone = options.get("defaultTimezone")
        if "timeZone" in custom:
            zone, place = custom["timeZone"]
        if zone is None:
            if options.get("timezone") is False:
                self.source.report(
                    (*at, "logicalTypeOptions", "timezone"), "times without a zone, and no zone is named", "add `defaultTimezone`"
                )
            return None
        if not is_zone(str(zone)):
            self.source.report(place, f"{zone} is not a time zone", "use a name like Europe/Berlin, or an offset like +01:00")
        return str(zone)


def custom_properties(source: Source, listed: Sequence[CustomProperty] | None, at: At, known: Sequence[str]) -> dict[str, tuple[Any, At]]:
    """Our custom properties by name, each with the place of its value; those of another `vendor` are left alone."""
    found: dict[str, tuple[Any, At]] = {}
    for index, one in enumerate(listed or ()):
        place: At = (*at, "customProperties", index)
        if one.vendor not in (None, "frazil"):
            continue
        name = one.property or ""
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean `{close[0]}`?" if close else f"known here: {', '.join(known)}; another tool's has a `vendor`"
            source.report((*place, "property"), f"unknown custom property `{name}`", hint)
        elif name in found:
            source.report((*place, "property"), f"`{name}` stands more than once", "keep one of them")
        else:
            found[name] = (one.value, (*place, "value"))
    return found


def decimal_text(text: str) -> str | None:
    """A number as plain decimal text without exponent or trailing zeros; None when it is none, or has over `MAX_DIGITS`."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > MAX_DIGITS or len(number.as_tuple().digits) > MAX_DIGITS:
        return None
    return format(number.normalize(Context(prec=MAX_DIGITS)), "f") if number else "0"


def is_zone(name: str) -> bool:
    """Whether a name is an IANA zone or a fixed offset `±hh:mm`."""
    if _OFFSET.fullmatch(name):
        return True
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return False
    return True
