"""Answers: the short way spells what the long one does."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from frazil.api.answers import answer, taken
from frazil.api.receipts import Receipt

counts = st.integers(0, 2**32 - 1)


@given(st.text("abc234", min_size=1), st.text(), st.text(), counts, counts)
def test_a_body_without_violations_is_answered_as_any_other(job_id: str, contract: str, version: str, accepted: int, rejected: int) -> None:
    receipt = Receipt(1, contract, accepted + rejected, accepted, ())
    url = f"/api/v1/status/{job_id}"
    facts = {
        "job_id": job_id,
        "contract": contract,
        "contract_version": version,
        "received": receipt.received,
        "accepted": accepted,
        "rejected": rejected,
        "errors": [],
        "errors_total": 0,
        "status_url": url,
    }
    short, long = taken(job_id, receipt, version, url), answer(facts, 202, {"Location": url})
    assert (short.status_code, short.body, short.raw_headers) == (long.status_code, long.body, long.raw_headers)
    assert json.loads(short.body) == facts
