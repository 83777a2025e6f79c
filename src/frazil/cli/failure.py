"""Every failure as the command line shows it: code, what is true, the facts, what to type; and its exit code."""

from __future__ import annotations

import errno
import json
import sys
import traceback
from typing import Any

from frazil.errors import EXIT_AGAIN, EXIT_FAILED, EXIT_OPERATOR, FrazilError, Unavailable

_KERNEL_EXITS = {"LogUnavailable": EXIT_AGAIN, "LogThrottled": EXIT_AGAIN, "LogCorrupt": EXIT_OPERATOR, "LogExpired": EXIT_OPERATOR}


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def show(error: BaseException, *, as_json: bool) -> int:
    """Print an error on stderr and return the exit code of the process."""
    if isinstance(error, FrazilError):
        _print(str(error), error.as_dict(), as_json=as_json)
        return error.exit_code
    if _is_kernel_error(error):
        facts = _kernel_facts(error)
        shown = FrazilError(facts["message"], hint=facts["hint"], code=facts["code"], **facts["context"])
        _print(str(shown), facts, as_json=as_json)
        return _KERNEL_EXITS.get(type(error).__name__, EXIT_FAILED)
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _NO_ROOM):
        shown = _of_system(error)
        _print(str(shown), shown.as_dict(), as_json=as_json)
        return shown.exit_code
    facts = {"code": "frazil.unexpected", "message": f"{type(error).__name__}: {error}", "hint": "", "retry": "never", "context": {}}
    lines = "".join(traceback.format_tb(error.__traceback__)[-3:])
    text = f"[frazil.unexpected] {facts['message']}\n{lines}hint: this is a defect of Frazil; please report it with these lines"
    _print(text, facts, as_json=as_json)
    return EXIT_FAILED


def _of_system(error: OSError) -> FrazilError:
    where = {} if error.filename is None else {"file": str(error.filename)}
    said = error.strerror or str(error)
    if error.errno in _NO_ROOM:
        return Unavailable(said, code="system.disk_full", hint="free some space, then do it again; nothing was half done", **where)
    return FrazilError(said, code="system.os_error", hint="check that the path exists and may be used", **where)


def _print(text: str, facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stderr.write(json.dumps({"error": facts}, ensure_ascii=False) + "\n")
        return
    first, _, rest = text.partition("\n")
    coloured = sys.stderr.isatty()
    sys.stderr.write((f"\033[1;31m{first}\033[0m" if coloured else first) + "\n" + (rest + "\n" if rest else ""))


def _is_kernel_error(error: BaseException) -> bool:
    kernel = sys.modules.get("data_processor_rs")
    return kernel is not None and isinstance(error, kernel.KernelError)


def _kernel_facts(error: Any) -> dict[str, Any]:
    return {
        "code": getattr(error, "code", "kernel.failed"),
        "message": str(error),
        "hint": getattr(error, "hint", ""),
        "retry": getattr(error, "retry", "never"),
        "context": dict(getattr(error, "context", {})),
    }
