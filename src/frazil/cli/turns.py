"""Work that is done again and again until Ctrl-C."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator


def turns(seconds: float) -> Iterator[None]:
    """One turn at once, then one every so many seconds, until SIGINT raises KeyboardInterrupt.

    Python drops an exception that a signal's handler raises while a destructor or the callback of a weak reference runs, and
    libraries run such at any time (SQLAlchemy does with every table that is read): so the interrupt is remembered here and is
    raised between two turns at the latest. For the main thread.
    """
    came: list[int] = []

    def interrupted(number: int, _frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # ignored in jobs of the background, where Ctrl-C is meant for another
        signal.signal(signal.SIGINT, interrupted)
    try:
        while True:
            yield
            if came:
                raise KeyboardInterrupt
            time.sleep(seconds)
    finally:
        signal.signal(signal.SIGINT, before)
