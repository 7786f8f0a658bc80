"""Currencies as sources name them: some exchanges state prices in a minor unit, such as pence."""

import re
from typing import NamedTuple


class Unit(NamedTuple):
    """A currency with the number of stated units in one of it: `GBP` and 100 for pence."""

    currency: str
    parts: int


_MINOR = {
    "GBp": Unit("GBP", 100),
    "GBX": Unit("GBP", 100),
    "ZAc": Unit("ZAR", 100),
    "ILA": Unit("ILS", 100),
    "KWF": Unit("KWD", 1_000),
}
"""Yahoo's names of minor units: pence, cents of South Africa, agorot and fils."""


def major_unit(currency: str) -> Unit:
    """The unit in which amounts are shown and added."""
    return _MINOR.get(currency, Unit(currency, 1))


_BY_SUFFIX = {
    "USD": "",
    "EUR": ".DE .F .BE .SG .MU .HM .HA .DU .PA .AS .BR .LS .IR .MI .MC .VI .HE .AT .TL .RG .VS",
    "GBP": ".L",
    "CHF": ".SW",
    "SEK": ".ST",
    "DKK": ".CO",
    "NOK": ".OL",
    "ISK": ".IC",
    "PLN": ".WA",
    "CZK": ".PR",
    "HUF": ".BD",
    "RON": ".RO",
    "TRY": ".IS",
    "ILS": ".TA",
    "SAR": ".SR",
    "ZAR": ".JO",
    "CAD": ".TO .V .CN .NE",
    "BRL": ".SA",
    "MXN": ".MX",
    "ARS": ".BA",
    "CLP": ".SN",
    "AUD": ".AX",
    "NZD": ".NZ",
    "JPY": ".T",
    "HKD": ".HK",
    "CNY": ".SS .SZ",
    "KRW": ".KS .KQ",
    "TWD": ".TW .TWO",
    "INR": ".NS .BO",
    "SGD": ".SI",
    "MYR": ".KL",
    "THB": ".BK",
    "IDR": ".JK",
}
_CURRENCIES = {suffix: currency for currency, suffixes in _BY_SUFFIX.items() for suffix in suffixes.split(" ")}
_LISTED = re.compile(r"[A-Z0-9-]+?(\.[A-Z]{1,3})?")


def usual_currency(symbol: str) -> str:
    """The currency of most shares at a symbol's exchange, for symbols without a fetched price; empty if unknown."""
    found = _LISTED.fullmatch(symbol)
    return _CURRENCIES.get(found[1] or "", "") if found else ""
