"""Currencies as sources name them: some exchanges state prices in a minor unit, such as pence."""

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
