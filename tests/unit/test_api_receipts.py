"""Job ids and request ids."""

from __future__ import annotations

import base64
import hmac
import multiprocessing
import stat
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.api.receipts import EPOCH_MS, Receipt, RequestIds, Signer, UnknownJob, received_ms, signing_key
from frazil.batch import Span
from frazil.errors import ConfigError

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
numbers = st.integers(0, 2**130)
spans = st.builds(Span, st.one_of(names, st.uuids().map(str)), names, numbers, numbers, st.none())
counts = st.integers(0, 2**32 - 1)
receipts = st.builds(Receipt, st.integers(1, 2**63 - 1), names, counts, counts, st.lists(spans, max_size=3).map(tuple))


@pytest.mark.prop(1)
@given(receipts)
def test_a_job_id_gives_its_receipt_back(receipt: Receipt) -> None:
    signer = Signer(b"k" * 32)
    assert signer.receipt(signer.job_id(receipt)) == receipt


@pytest.mark.prop(1)
@given(receipts, receipts)
def test_different_receipts_have_different_job_ids(one: Receipt, other: Receipt) -> None:
    signer = Signer(b"k" * 32)
    assert (signer.job_id(one) == signer.job_id(other)) == (one == other)


@given(receipts, st.data())
def test_a_changed_job_id_is_unknown(receipt: Receipt, data: st.DataObject) -> None:
    signer = Signer(b"k" * 32)
    job_id = signer.job_id(receipt)
    at = data.draw(st.integers(0, len(job_id) - 1))
    letter = data.draw(st.sampled_from([c for c in "abcdefghijklmnopqrstuvwxyz234567A=/ é\0" if c != job_id[at]]))
    for forged in (job_id[:at] + letter + job_id[at + 1 :], job_id[:at], job_id + "a", job_id.upper()):
        with pytest.raises(UnknownJob):
            signer.receipt(forged)


@given(st.one_of(st.text(max_size=300), st.text("abcdefghijklmnopqrstuvwxyz234567", max_size=300)))
def test_any_text_is_unknown(text: str) -> None:
    with pytest.raises(UnknownJob):
        Signer(b"k" * 32).receipt(text)


@given(st.binary(min_size=16, max_size=150), receipts)
def test_a_job_id_ends_with_the_start_of_an_hmac(key: bytes, receipt: Receipt) -> None:
    job_id = Signer(key).job_id(receipt)
    sealed = base64.b32decode(job_id.upper() + "=" * (-len(job_id) % 8))
    assert sealed[-12:] == hmac.digest(key, sealed[:-12], "sha256")[:12]


def test_another_key_does_not_open_a_job_id() -> None:
    job_id = Signer(b"k" * 32).job_id(Receipt(1, "events", 1, 1, ()))
    with pytest.raises(UnknownJob):
        Signer(b"l" * 32).receipt(job_id)


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRAZIL_RECEIPT_KEY", raising=False)
    first = signing_key(tmp_path / "state")
    assert signing_key(tmp_path / "state") == first
    assert len(first) == 32
    assert stat.S_IMODE((tmp_path / "state" / "receipt.key").stat().st_mode) == 0o600
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["receipt.key"]


def test_the_environment_overrides_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAZIL_RECEIPT_KEY", "a secret of some length")
    signing_key(tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("FRAZIL_RECEIPT_KEY", "short")
    with pytest.raises(ConfigError, match="too short"):
        signing_key(tmp_path)


@pytest.mark.prop(1)
@given(st.lists(st.integers(EPOCH_MS, EPOCH_MS + 2**40), min_size=1, max_size=50))
def test_request_ids_only_grow_whatever_the_clock_does(tmp_path_factory: pytest.TempPathFactory, clock: list[int]) -> None:
    ticks = iter(clock * 3)
    ids = RequestIds(tmp_path_factory.mktemp("ids"), now_ms=lambda: next(ticks))
    given_out = [ids.next() for _ in clock * 3]
    ids.close()
    assert all(before < after for before, after in pairwise(given_out))
    assert 0 < given_out[0] <= given_out[-1] < 2**63


def test_more_than_4096_ids_in_a_millisecond_still_grow(tmp_path: Path) -> None:
    ids = RequestIds(tmp_path, now_ms=lambda: EPOCH_MS + 5)
    given_out = [ids.next() for _ in range(10_000)]
    assert given_out == sorted(set(given_out))
    assert received_ms(given_out[0]) == EPOCH_MS + 5
    ids.close()


def test_living_holders_of_a_project_never_share_a_slot(tmp_path: Path) -> None:
    holders = [RequestIds(tmp_path) for _ in range(40)]
    assert len({holder.slot for holder in holders}) == 40
    for holder in holders:
        holder.close()


def _hold(state_dir: Path, slots: multiprocessing.Queue[int]) -> None:
    slots.put(RequestIds(state_dir).slot)


def test_a_slot_is_free_again_when_its_process_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frazil.api.receipts.SLOTS", 1)
    process = multiprocessing.get_context("fork")
    slots: multiprocessing.Queue[int] = process.Queue()
    for _ in range(2):
        holder = process.Process(target=_hold, args=(tmp_path, slots))
        holder.start()
        holder.join()
        assert slots.get(timeout=5) == 0
    ids = RequestIds(tmp_path)
    with pytest.raises(ConfigError, match="slots are taken"):
        RequestIds(tmp_path)
    ids.close()
