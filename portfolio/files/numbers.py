"""Numbers as files write them: `1,150.25`, `1.150,25`, `$ 12`, `(3.50)`, `USD 12.00`, `9.0E-6`."""

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Literal

LARGEST = Decimal(10**12)
PLACES = Decimal("0.00000001")
"""Numbers are kept to eight decimals, as coins are divided."""

DecimalSign = Literal[".", ","]

NOTHING = frozenset(
    {
        "",
        "-",
        "--",
        "---",
        "\N{EM DASH}",
        "\N{EN DASH}",
        "n/a",
        "na",
        "#n/a",
        "null",
        "none",
        "not available",
        "incomplete",
        "unknown",
    }
)
"""What files write in place of a number that is not known, in lower case."""

_LONGEST = 60
_UNIT = r"(?:[A-Z]{0,3} ?[$€£¥₹₩₪₺₽₫฿]|[A-Z]{3}|GBp|ZAc|kr\.?|Kč|zł|Fr\.?|Rs\.?|p)"
_AMOUNT = re.compile(
    rf"(?P<before>[-+(]?) *(?:{_UNIT})? *(?P<inner>[-+(]?) *(?P<digits>[\d.,' ]+(?:[Ee][-+]?\d{{1,3}})?)"
    rf"(?P<after>[-)]*) *(?:{_UNIT})?(?P<end>\)?)"
)
_PLAIN = re.compile(r"\d*\.?\d+(?:[Ee][+-]?\d+)?|\d+\.")
_SPELLING = str.maketrans({"\N{MINUS SIGN}": "-", "\N{RIGHT SINGLE QUOTATION MARK}": "'", "\N{NO-BREAK SPACE}": " "})
_GROUPS = {".": re.compile(r"\d{1,3}(?:,\d{2,3})*,\d{3}"), ",": re.compile(r"\d{1,3}(?:\.\d{3})+")}
"""The part before the decimal sign, in groups of digits: of three, or of two and three as in India."""


class NotANumber(ValueError):
    """The text is not a number; str() is the text, cut to a line."""


def parse_number(text: str, sign: DecimalSign = ".") -> Decimal | None:
    """The number in a cell; None for a cell without a number, such as `--`.

    `sign` counts for numbers such as `1.000`. Raises NotANumber.
    """
    body, negative = _body(text)
    if len(body) > _LONGEST:
        raise NotANumber(text.strip()[:40])
    if not body:
        return None
    if found := _evident_sign(body):
        sign = found
    group = "," if sign == "." else "."
    whole, mark, rest = body.partition(sign)
    if group in whole:
        if not _GROUPS[sign].fullmatch(whole):
            raise NotANumber(text.strip()[:40])
        whole = whole.replace(group, "")
    plain = f"{whole}{'.' if mark else ''}{rest}"
    if not _PLAIN.fullmatch(plain):
        raise NotANumber(text.strip()[:40])
    try:
        number = Decimal(plain)
    except InvalidOperation:
        raise NotANumber(text.strip()[:40]) from None
    return -number if negative else number


def is_number(text: str) -> bool:
    """Whether a text is a number, and not a mark for no number."""
    try:
        return parse_number(text) is not None
    except NotANumber:
        return False


def decimal_sign(texts: Iterable[str], otherwise: DecimalSign) -> DecimalSign:
    """The decimal sign that most of the cells show; `otherwise` if no cell shows the sign. `1.000` shows none."""
    votes = {".": 0, ",": 0}
    for text in texts:
        if found := _evident_sign(_body(text)[0]):
            votes[found] += 1
    if votes["."] == votes[","]:
        return otherwise
    return "." if votes["."] > votes[","] else ","


def round_number(number: Decimal) -> Decimal:
    return number.quantize(PLACES)


def show_number(number: Decimal) -> str:
    """`1000.5`: without zeros at the end."""
    return f"{number.normalize():f}"


def _body(text: str) -> tuple[str, bool]:
    """The digits and signs of a cell without a currency, and whether the number is negative."""
    body = unicodedata.normalize("NFKC", text).strip().removeprefix("'").translate(_SPELLING)
    if body.casefold() in NOTHING:
        return "", False
    found = _AMOUNT.fullmatch(body) if len(body) <= _LONGEST else None
    if not found:
        return body, False
    digits = found["digits"].replace("'", "").replace(" ", "")
    return digits, any(sign in "-(" for sign in found["before"] + found["inner"]) or "-" in found["after"]


def _evident_sign(body: str) -> DecimalSign | None:
    """The decimal sign of a number with a single meaning; None for `1.000`, for `12`, and for other texts."""
    points, commas = body.count("."), body.count(",")
    if points and commas:
        return "." if body.rindex(".") > body.rindex(",") else ","
    if points > 1 or commas > 1:
        return "," if points else "."
    if not points and not commas:
        return None
    sign: DecimalSign = "." if points else ","
    whole, _, rest = body.partition(sign)
    if not (whole + rest).isdigit():  # a power of ten, or no number
        return sign if re.fullmatch(r"\d*[Ee][+-]?\d+", rest) else None
    groups = len(rest) == 3 and 1 <= len(whole) <= 3 and whole != "0" and not whole.startswith("0")
    return None if groups else sign
