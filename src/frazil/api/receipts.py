"""Receipts: what a client holds of a request, signed, so that a job needs no database.

A job id is base32 of `version ‖ request ‖ counts ‖ contract ‖ spans ‖ mac`: everything that `GET /status` has to know to find the
request's rows and to say when they are complete. A request id is 63 bits and ordered by time: 41 bits of milliseconds
since 2025-01-01, 10 bits of a slot no other living process of the project holds, 12 bits of a counter.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import functools
import hashlib
import hmac
import os
import secrets
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from frazil.batch import Span
from frazil.errors import ConfigError, FrazilError

EPOCH_MS: Final = 1_735_689_600_000  # 2025-01-01T00:00:00Z
SLOTS: Final = 1 << 10
KEY_VARIABLE: Final = "FRAZIL_RECEIPT_KEY"

_VERSION, _MAC_BYTES = 1, 12
_HEAD = struct.Struct(">BQII")  # version, request, received, accepted


class UnknownJob(FrazilError):
    """The job id was not given by this project; forged and unknown ids are not told apart."""

    code = "job.unknown"


class Receipt(NamedTuple):
    """What the door knew when it answered: the request, its contract, its counts and where its records lie."""

    request: int
    contract: str
    received: int
    accepted: int
    spans: tuple[Span, ...]

    @property
    def rejected(self) -> int:
        return self.received - self.accepted


class Signer:
    """Turns receipts into job ids and back.

    Args:
        key: At least 16 secret bytes; processes of one project share it.
    """

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")

    def job_id(self, receipt: Receipt) -> str:
        """The receipt as lower-case base32 without padding, 90 to 200 characters."""
        facts = [_HEAD.pack(_VERSION, receipt.request, receipt.received, receipt.accepted), _text(receipt.contract)]
        for span in receipt.spans:
            facts += (_text(span.log), _text(span.partition), _number(span.first), _number(span.last))
        body = b"".join(facts)
        return _base32(body + self._mac(body))

    def receipt(self, job_id: str) -> Receipt:
        """The receipt behind a job id.

        Raises:
            UnknownJob: It is not one of ours.
        """
        try:
            sealed = base64.b32decode(job_id.upper() + "=" * (-len(job_id) % 8))
            body, mac = sealed[:-_MAC_BYTES], sealed[-_MAC_BYTES:]
            # Base32 has spare bits at the end: only the one spelling we gave out is the job's id.
            ours = hmac.compare_digest(mac, self._mac(body)) and _base32(sealed) == job_id
        except (binascii.Error, ValueError):
            ours = False
        if not ours:
            raise UnknownJob("no such job", hint="use the job_id of a 202 answer of this project, unchanged", job_id=job_id[:80])
        return _unpacked(body)

    def _mac(self, body: bytes) -> bytes:
        keyed = self._keyed.copy()  # the key was hashed once
        keyed.update(body)
        return keyed.digest()[:_MAC_BYTES]


@functools.lru_cache(maxsize=256)
def _text(value: str) -> bytes:
    """A length byte and UTF-8; a dashed UUID as a zero byte and its 16 bytes."""
    if len(value) == 36 and value[8] == value[13] == value[18] == value[23] == "-" and value == value.lower():
        try:
            return b"\0" + bytes.fromhex(value.replace("-", ""))
        except ValueError:
            pass
    raw = value.encode()
    return bytes([len(raw)]) + raw


_LETTERS: Final = bytes(b"abcdefghijklmnopqrstuvwxyz234567"[digit % 32] for digit in range(256))
_DIGITS: Final = 256


def _spreading() -> list[tuple[int, int, int]]:
    """Masks that move digits of 5 bits to bytes of their own: halves apart, then quarters, down to single digits."""
    steps = []
    size = _DIGITS // 2
    while size:
        low = sum(((1 << size * 5) - 1) << block * size * 16 for block in range(_DIGITS // (2 * size)))
        steps.append((low, low << size * 5, size * 3))
        size //= 2
    return steps


_SPREADING: Final = _spreading()


def _base32(content: bytes) -> str:
    """Lower-case base32 without padding; a quarter of the time of `base64.b32encode`, which goes digit by digit."""
    digits = -(-len(content) * 8 // 5)
    if digits > _DIGITS:
        return base64.b32encode(content).rstrip(b"=").decode().lower()
    number = int.from_bytes(content, "big") << digits * 5 - len(content) * 8
    for low, high, shift in _SPREADING:
        number = number & low | (number & high) << shift
    return number.to_bytes(digits, "big").translate(_LETTERS).decode()


def _number(value: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(raw)]) + raw


def _unpacked(body: bytes) -> Receipt:
    _, request, received, accepted = _HEAD.unpack_from(body)
    at = _HEAD.size

    def text() -> str:
        nonlocal at
        size = body[at]
        raw = body[at + 1 : at + 1 + (size or 16)]
        at += 1 + (size or 16)
        return raw.decode() if size else f"{raw[:4].hex()}-{raw[4:6].hex()}-{raw[6:8].hex()}-{raw[8:10].hex()}-{raw[10:].hex()}"

    def number() -> int:
        nonlocal at
        size = body[at]
        at += 1 + size
        return int.from_bytes(body[at - size : at], "big")

    contract, spans = text(), []
    while at < len(body):
        spans.append(Span(text(), text(), number(), number()))
    return Receipt(request, contract, received, accepted, tuple(spans))


def signing_key(state_dir: Path) -> bytes:
    """The project's key: from `FRAZIL_RECEIPT_KEY` when set, else `receipt.key` below `state_dir`, made at first use.

    Raises:
        ConfigError: The variable or the file holds fewer than 16 bytes.
    """
    named = os.environ.get(KEY_VARIABLE)
    if named is not None:
        return _long_enough(hashlib.sha256(named.encode()).digest() if len(named) >= 16 else b"", KEY_VARIABLE)
    file = state_dir / "receipt.key"
    if not file.exists():
        _create(file, secrets.token_bytes(32))
    return _long_enough(file.read_bytes(), str(file))


def _long_enough(key: bytes, place: str) -> bytes:
    if len(key) < 16:
        raise ConfigError(f"{place} is too short for a key", hint="use at least 16 bytes", code="config.short_key", place=place)
    return key


def _create(file: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all; another process may win."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class RequestIds:
    """Gives request ids: strictly increasing in this process, also when the clock goes back; unique in the project.

    Holds a slot file in `state_dir/slots` locked until `close` or the process's end.

    Args:
        state_dir: Directory shared by the project's processes on this machine.
        now_ms: Milliseconds since 1970, for tests.

    Raises:
        ConfigError: All 1,024 slots are taken.
    """

    def __init__(self, state_dir: Path, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._slot, self._file = _take_slot(state_dir / "slots")
        self._tick = 0  # milliseconds and counter in one number: it only grows

    @property
    def slot(self) -> int:
        return self._slot

    def next(self) -> int:
        """The next id, 1 to 2**63 - 1."""
        with self._lock:
            tick, now = self._tick + 1, (self._now_ms() - EPOCH_MS) << 12
            self._tick = tick = now if now > tick else tick
            return (tick >> 12) << 22 | self._slot << 12 | tick & 0xFFF

    def close(self) -> None:
        os.close(self._file)


def _take_slot(directory: Path) -> tuple[int, int]:
    directory.mkdir(parents=True, exist_ok=True)
    # A random start keeps a restarted process off the slot it had, should its clock have gone back meanwhile.
    start = secrets.randbelow(SLOTS)
    for slot in ((start + step) % SLOTS for step in range(SLOTS)):
        descriptor = os.open(directory / f"{slot:04}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            continue
        return slot, descriptor
    raise ConfigError("all 1,024 request id slots are taken", hint="stop some processes of this project", code="config.no_slot")


def received_ms(request: int) -> int:
    """Milliseconds since 1970 at which a request id was given."""
    return (request >> 22) + EPOCH_MS
