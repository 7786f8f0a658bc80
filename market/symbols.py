"""The rules for symbols. The names are Yahoo Finance's: `AAPL`, `BRK-B`, `^GSPC`, `EURUSD=X`, `M&M.NS`."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models

LONGEST_SYMBOL = 32
_SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9.^=&-]*", re.ASCII)
# Classes of shares that people write with a dot, as New York's exchange does. No exchange has such a suffix.
_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]", re.ASCII)
_CUSIP = re.compile(r"[A-Z0-9]{8}[0-9]", re.ASCII)
_SHARE_CLASS = re.compile(r"^([A-Z]+)\.([ABC])(?=$|\.)")


class InvalidSymbol(ValueError):
    """The text cannot be a stock's symbol."""


def parse_symbol(text: str) -> str:
    """The symbol in `text`: spaces around it dropped, upper case, `BRK-B` for `BRK.B`.

    InvalidSymbol says what is wrong.
    """
    symbol = text.strip()
    shown = repr(symbol if len(symbol) <= LONGEST_SYMBOL else symbol[:LONGEST_SYMBOL] + "…")
    if not symbol:
        raise InvalidSymbol("A symbol is needed, such as AAPL or BRK-B.")
    if len(symbol) > LONGEST_SYMBOL:
        raise InvalidSymbol(f"{shown} is {len(symbol)} characters long; a symbol has at most {LONGEST_SYMBOL}.")
    # Upper-casing first would turn letters such as the dotless i into ASCII.
    if not symbol.isascii() or not _SYMBOL.fullmatch(symbol.upper()):
        raise InvalidSymbol(
            f"{shown} is not a symbol; a symbol starts with a letter, a digit or ^, "
            "followed by letters, digits and . - = ^ &"
        )
    return _SHARE_CLASS.sub(r"\1-\2", symbol.upper())


def number_kind(text: str) -> str:
    """`an ISIN` or `a CUSIP` for a security number with a valid check digit; else empty.

    No source of market data accepts such numbers as symbols.
    """
    number = text.strip().upper()
    if _ISIN.fullmatch(number):
        digits = "".join(str(int(sign, 36)) for sign in number)
        return "an ISIN" if _weigh(reversed(digits)) % 10 == 0 else ""
    if _CUSIP.fullmatch(number):
        return "a CUSIP" if (_weigh(number[:8]) + int(number[8])) % 10 == 0 else ""
    return ""


def _weigh(signs: Iterable[str]) -> int:
    """The sum of the digits of the signs' values, every second value doubled, as in the formula of Luhn."""
    values = (int(sign, 36) * (1 + place % 2) for place, sign in enumerate(signs))
    return sum(value // 10 + value % 10 for value in values)


def validate_symbol(text: str) -> None:
    """parse_symbol() as a Django validator."""
    try:
        parse_symbol(text)
    except InvalidSymbol as error:
        raise ValidationError(str(error), code="invalid_symbol") from None


if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField


class SymbolField(_CharField):
    """A column for a symbol; forms and full_clean() normalise the input."""

    default_validators = [validate_symbol]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": LONGEST_SYMBOL, **kwargs})

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        try:
            return parse_symbol(text) if text else text
        except InvalidSymbol as error:
            raise ValidationError(str(error), code="invalid_symbol") from None
