"""The one tree of errors. A bad record is a row; a bad system is one of these.

Every error has a stable `code` (`stage.what_is_wrong`), says what is true, carries the facts in `context` and
tells the reader what to type in `hint`. `retry` is how a caller should react: `never`, `backoff` (wait and do
the same again) or `reload` (look at the new state, then decide again).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

Retry = Literal["never", "backoff", "reload"]

# Exit codes of the command line; 75 and 78 are EX_TEMPFAIL and EX_CONFIG of sysexits.h.
EXIT_YES, EXIT_NO, EXIT_USAGE, EXIT_FAILED, EXIT_AGAIN, EXIT_OPERATOR = 0, 1, 2, 3, 75, 78


class FrazilError(Exception):
    """What every error of Frazil is.

    Args:
        message: What is true, in one sentence.
        hint: What the reader should do or type now.
        code: Overrides the class's code where one class has several causes.
        context: The facts, each under its own name.
    """

    code: ClassVar[str] = "frazil.failed"
    retry: ClassVar[Retry] = "never"
    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, message: str, *, hint: str = "", code: str | None = None, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context: Mapping[str, object] = context
        if code is not None:
            self.code = code  # type: ignore[misc]  # an instance narrows its class's code

    def __str__(self) -> str:
        lines = [f"[{self.code}] {self.message}"]
        if self.context:
            lines.append(" ".join(f"{name}={value!r}" for name, value in self.context.items()))
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """The error as JSON-ready facts: `code`, `message`, `hint`, `retry`, `context`."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retry": self.retry,
            "context": {name: value if isinstance(value, int | float | bool) else str(value) for name, value in self.context.items()},
        }


class ConfigError(FrazilError):
    """A setting, a project file or an argument is wrong."""

    code = "config.invalid"


class ContractError(FrazilError):
    """A contract file is wrong, or the contract asked for does not exist."""

    code = "contract.invalid"


class Unavailable(FrazilError):
    """A system did not answer. Nothing was consumed; call again later."""

    code, retry, exit_code = "system.unavailable", "backoff", EXIT_AGAIN


class Throttled(Unavailable):
    """A system asked us to wait.

    Args:
        retry_after: Seconds to wait, at least 1.
    """

    code = "system.throttled"

    def __init__(self, message: str, *, retry_after: int, hint: str = "", code: str | None = None, **context: object) -> None:
        super().__init__(message, hint=hint, code=code, **context)
        self.retry_after = retry_after


class CommitConflict(FrazilError):
    """The table changed since the head was read: nothing is half done, decide again."""

    code, retry, exit_code = "commit.conflict", "reload", EXIT_AGAIN


class OffsetExpired(FrazilError):
    """The log no longer holds the records after our position."""

    code, exit_code = "log.offset_expired", EXIT_OPERATOR


class Corrupt(FrazilError):
    """What we read cannot be what we wrote. Frazil stops rather than guess."""

    code, exit_code = "state.corrupt", EXIT_OPERATOR
