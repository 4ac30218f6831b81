"""Symbolic sizes of exported programs, by a grammar so small that evaluating one could do nothing but count.

PyTorch hands these strings to sympy, which evaluates them as Python. Two spellings are written: sympy's own
(``Mul(Integer(2), Symbol('s0', positive=True, integer=True))``) and plain arithmetic (``2*s0 + 1``).
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

MAX_LENGTH = 4096
MAX_DEPTH = 64
MAX_EXPONENT = 4
MAX_POWERS = 8
"""With the largest exponent this many powers of the longest number have about a million digits."""

_TOKEN = re.compile(
    r" *(?:(0|[1-9]\d{0,17})|([A-Za-z_][A-Za-z0-9_]{0,63})|'([A-Za-z_][A-Za-z0-9_]{0,63})'|(//|\*\*|<=|>=|==|!=|[-+*/%(),=<>]))"
)
_FUNCTIONS = {
    "Integer", "Add", "Mul", "Pow", "Mod", "Max", "Min", "FloorDiv", "CleanDiv", "CeilDiv", "CeilToInt", "FloorToInt",
    "PythonMod", "IntTrueDiv", "FloatTrueDiv", "ToFloat", "TruncToInt", "RoundToInt", "ModularIndexing", "Rational",
    "Where", "And", "Or", "Not", "Equality", "Unequality", "Eq", "Ne", "StrictGreaterThan", "StrictLessThan",
    "GreaterThan", "LessThan", "Gt", "Lt", "Ge", "Le", "PowByNatural", "FloatPow", "Identity", "floor", "ceiling",
}  # fmt: skip
_ASSUMPTIONS = {
    "positive",
    "integer",
    "nonnegative",
    "nonzero",
    "negative",
    "real",
    "rational",
    "finite",
    "zero",
}
_POWERS = {"Pow", "PowByNatural", "FloatPow"}
_INFIX = {"+", "-", "*", "/", "//", "%", "**", "<", ">", "<=", ">=", "==", "!="}


@dataclass
class _Parser:
    """A recursive descent over tokens of (kind, text)."""

    tokens: list[tuple[str, str]]
    at: int = 0
    powers: int = 0

    def next(self) -> tuple[str, str]:
        """The token here; an empty one at the end."""
        return self.tokens[self.at] if self.at < len(self.tokens) else ("", "")

    def accept(self, text: str) -> bool:
        """Goes past a sign if it stands here."""
        if self.next() == ("sign", text):
            self.at += 1
            return True
        return False

    def chain(self, depth: int) -> bool:
        """Values with signs between them."""
        if depth > MAX_DEPTH or not self.value(depth):
            return False
        while self.next()[0] == "sign" and self.next()[1] in _INFIX:
            power = self.accept("**")
            self.at += not power
            if not (self.exponent() if power else self.value(depth)):
                return False
        return True

    def exponent(self) -> bool:
        """A small number as it stands: 10**10**10 is short and has no end."""
        self.powers += 1
        wrapped = self.next() == ("name", "Integer")
        self.at += wrapped
        if wrapped and not self.accept("("):
            return False
        self.accept("-")
        kind, text = self.next()
        self.at += 1
        small = kind == "number" and int(text) <= MAX_EXPONENT and self.powers <= MAX_POWERS
        return small and (not wrapped or self.accept(")")) and self.next() != ("sign", "**")

    def value(self, depth: int) -> bool:
        """A number, a name, a call on the list, something in parentheses; any of them negated."""
        while self.accept("-"):
            pass
        kind, text = self.next()
        if kind == "number":
            self.at += 1
            return True
        if self.accept("("):
            return self.chain(depth + 1) and self.accept(")")
        if kind != "name":
            return False
        self.at += 1
        if "__" in text or (keyword.iskeyword(text) and text not in ("True", "False")):
            return False
        if not self.accept("("):
            # A word alone is a symbol; a function's name without its call is none.
            return text not in _FUNCTIONS and text != "Symbol"
        if text in _POWERS:
            return self.chain(depth + 1) and self.accept(",") and self.exponent() and self.accept(")")
        return self.symbol() if text == "Symbol" else text in _FUNCTIONS and self.arguments(depth)

    def symbol(self) -> bool:
        """The rest of ``Symbol('s0', integer=True)``."""
        if self.next()[0] != "quoted":
            return False
        self.at += 1
        while self.accept(","):
            if self.next()[0] != "name" or self.next()[1] not in _ASSUMPTIONS:
                return False
            self.at += 1
            if not self.accept("=") or self.next() not in (("name", "True"), ("name", "False")):
                return False
            self.at += 1
        return self.accept(")")

    def arguments(self, depth: int) -> bool:
        """The rest of a call."""
        if not self.chain(depth + 1):
            return False
        while self.accept(","):
            if not self.chain(depth + 1):
                return False
        return self.accept(")")


def is_plain_expression(text: str) -> bool:
    """Whether a symbolic expression is arithmetic of whole numbers and names, and nothing else."""
    tokens = _tokens(text)
    if not tokens:
        return False
    parser = _Parser(tokens)
    return parser.chain(0) and parser.at == len(tokens)


def symbol_of(text: str) -> str:
    """A short name for a size: the symbol where it is one alone, otherwise the expression without its trimmings."""
    bare = re.sub(r"Symbol\('(\w+)'[^()]*\)", r"\1", text)
    return re.sub(r"Integer\((-?\d+)\)", r"\1", bare)[:64]


def _tokens(text: str) -> list[tuple[str, str]]:
    if len(text) > MAX_LENGTH or not text.isascii():
        return []
    tokens: list[tuple[str, str]] = []
    at = 0
    text = text.rstrip(" ")
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            return []
        kind = ("", "number", "name", "quoted", "sign")[found.lastindex or 0]
        tokens.append((kind, found.group(found.lastindex or 0)))
        at = found.end()
        # Two words in a row, or a number that runs into a name, are no arithmetic.
        if (
            len(tokens) > 1
            and tokens[-2][0] in ("number", "name", "quoted")
            and kind in ("number", "name", "quoted")
        ):
            return []
    return tokens
