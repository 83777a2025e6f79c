r"""The one regular-expression dialect: what means the same in Rust, Python and ECMA-262.

A contract's pattern is rewritten once, when the contract is read, to a spelling that every engine reads alike: `\d`, `\w` and
`\s` become their ASCII classes (ECMA-262's; the Unicode ones differ from engine to engine), every literal that could be
mistaken for syntax is escaped, and what only some engines know (look-around, back references, names, flags, `\b`, `\p`,
possessive repeats, class operators) is refused.
"""

from __future__ import annotations

import re
from functools import lru_cache

_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\x09\x0a\x0b\x0c\x0d "}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}
_SYNTAX = frozenset(r"\.+*?()|[]{}^$#&-~/")
_MAX_SIZE = 5000  # atoms with repeats written out: engines give up on much more


class PatternError(ValueError):
    """A pattern that does not mean the same everywhere; `at` is the character, from 0."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(f"{message} at character {at + 1}")


def canonical(pattern: str) -> str:
    """The pattern in the spelling that Rust's `regex` and Python's `re` read alike.

    Raises:
        PatternError: What stands there is not in the dialect; says where.
    """
    return _Rewriter(pattern).run()


@lru_cache(maxsize=512)
def compiled(canonical_pattern: str) -> re.Pattern[str]:
    """Python's matcher for a canonical pattern; use `search`. Its `$` would also match before a last newline, so it becomes `\\Z`."""

    def end(found: re.Match[str]) -> str:
        return r"\Z" if found[0] == "$" else found[0]

    return re.compile(re.sub(r"(\\.)|(\[(?:\\.|[^\]\\])*\])|\$", end, canonical_pattern, flags=re.DOTALL))


class _Rewriter:
    """Reads a pattern from left to right; `out` grows with what it means."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.out: list[str] = []
        self.open: list[int] = []  # where each open group began
        self.repeatable = False  # whether a repeat may follow
        self.sizes = [0]  # atoms so far, per open group
        self.last = 0  # size of the atom that a repeat would repeat

    def run(self) -> str:
        while self.at < len(self.pattern):
            self._step(self.pattern[self.at])
        if self.open:
            raise PatternError("group is not closed, opened", self.open[-1])
        return "".join(self.out)

    def _step(self, char: str) -> None:
        if char == "\\":
            self._atom(self._escape())
        elif char == "[":
            self._atom(self._class())
        elif char == "(":
            self._group()
        elif char == ")":
            if not self.open:
                raise PatternError("`)` without a group (escape a literal one)", self.at)
            self.open.pop()
            self._emit(")", 1, repeatable=True)
            self.last = self.sizes.pop()
            self.sizes[-1] += self.last
        elif char in "|^$":
            self._emit(char, 1, repeatable=False)
        elif char in "*+?{":
            self._repeat(char)
        elif char in "]}":
            raise PatternError(f"`{char}` stands alone (escape a literal one)", self.at)
        elif char == ".":
            self.at += 1
            self._atom(".")
        else:
            self.at += 1
            self._atom(_literal(char))

    def _emit(self, text: str, length: int, *, repeatable: bool) -> None:
        self.out.append(text)
        self.at += length
        self.repeatable = repeatable

    def _atom(self, text: str) -> None:
        self.out.append(text)
        self.repeatable = True
        self.last = 1
        self.sizes[-1] += 1

    def _group(self) -> None:
        if self.pattern.startswith("(?", self.at) and not self.pattern.startswith("(?:", self.at):
            raise PatternError("only plain groups `(…)` and `(?:…)` mean the same everywhere", self.at)
        self.open.append(self.at)
        self.sizes.append(0)
        self._emit("(?:", 3 if self.pattern.startswith("(?:", self.at) else 1, repeatable=False)

    def _repeat(self, char: str) -> None:
        if not self.repeatable:
            raise PatternError(f"nothing to repeat before `{char}`", self.at)
        text = char
        if char == "{":
            found = re.compile(r"\{(\d+)(,(\d*))?\}", re.ASCII).match(self.pattern, self.at)
            if found is None:
                raise PatternError("`{` is not a repeat like {2} or {2,5} (escape a literal one)", self.at)
            least, most = int(found[1]), int(found[3] or found[1])
            self.sizes[-1] += self.last * (max(most, 1) - 1)
            if most < least or self.sizes[-1] > _MAX_SIZE:
                raise PatternError(f"a repeat runs backwards or is too large (at most {_MAX_SIZE} altogether)", self.at)
            text = found[0]
        self._emit(text, len(text), repeatable=False)
        if self.pattern.startswith("?", self.at):  # lazy: the same texts match
            self.at += 1

    def _escape(self) -> str:
        letter = self._escaped_letter()
        if letter.lower() in _CLASSES:
            self.at += 2
            return f"[{'^' if letter.isupper() else ''}{_CLASSES[letter.lower()]}]"
        return _literal(self._escaped_char(letter))

    def _escaped_letter(self) -> str:
        if self.at + 1 >= len(self.pattern):
            raise PatternError("nothing after `\\`", self.at)
        return self.pattern[self.at + 1]

    def _escaped_char(self, letter: str) -> str:
        """The character an escape stands for; moves past it."""
        start = self.at
        self.at += 2
        if letter in _CONTROLS:
            return _CONTROLS[letter]
        if letter in "xu":
            digits = self.pattern[self.at : self.at + (2 if letter == "x" else 4)]
            if re.fullmatch(r"[0-9A-Fa-f]{2}|[0-9A-Fa-f]{4}", digits) and len(digits) == (2 if letter == "x" else 4):
                char = chr(int(digits, 16))
                if not 0xD800 <= ord(char) <= 0xDFFF:
                    self.at += len(digits)
                    return char
        elif letter.isascii() and not letter.isalnum() and letter > " ":
            return letter
        raise PatternError(f"`\\{letter}` does not mean the same everywhere", start)

    def _class(self) -> str:
        start = self.at
        self.at += 1
        negated = self.pattern.startswith("^", self.at)
        self.at += negated
        parts: list[str] = []
        while not self.pattern.startswith("]", self.at):
            if self.at >= len(self.pattern):
                raise PatternError("class is not closed, opened", start)
            parts.append(self._class_item())
        if not parts:
            raise PatternError("empty class", start)
        self.at += 1
        return f"[{'^' if negated else ''}{''.join(parts)}]"

    def _class_item(self) -> str:
        first = self._class_char()
        if len(first) > 1:  # a shorthand
            return first
        following = self.pattern[self.at + 1 : self.at + 2]
        if not self.pattern.startswith("-", self.at) or following in ("]", ""):
            return _literal(first)
        self.at += 1
        last = self._class_char()
        if len(last) > 1 or last < first:
            raise PatternError("range runs backwards or ends in a class", self.at - 1)
        return f"{_literal(first)}-{_literal(last)}"

    def _class_char(self) -> str:
        """One character of a class, or the inside of a shorthand (longer than one character)."""
        char = self.pattern[self.at : self.at + 1]
        if char == "\\":
            letter = self._escaped_letter()
            if letter in _CLASSES:
                self.at += 2
                return _CLASSES[letter]
            return self._escaped_char(letter)
        if char == "[" or (char in "&~|-" and self.pattern.startswith(char * 2, self.at)):
            raise PatternError(f"`{char}` in a class must be escaped", self.at)
        self.at += 1
        return char


def _literal(char: str) -> str:
    if char in _SYNTAX:
        return "\\" + char
    if char < " " or char == "\x7f":
        return f"\\x{ord(char):02x}"
    return char
