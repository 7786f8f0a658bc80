"""Yahoo's answers to a search by name: JSON with parts that may be missing or of an unexpected type."""

from typing import Any

from market.sources.base import Listed
from market.sources.yahoo.json_values import text_of
from market.symbols import InvalidSymbol, parse_symbol


def read_listed(answer: Any) -> list[Listed]:
    """The symbols of an answer that the session has checked, in its order; those without a name are left out."""
    listed = (_read(entry) for entry in answer["quotes"] if isinstance(entry, dict))
    return [one for one in listed if one is not None and one.name]


def _read(entry: dict[str, Any]) -> Listed | None:
    try:
        symbol = parse_symbol(text_of(entry.get("symbol"), 40))
    except InvalidSymbol:
        return None
    return Listed(
        symbol,
        text_of(entry.get("longname") or entry.get("shortname"), 200),
        text_of(entry.get("exchange"), 40),
        text_of(entry.get("exchDisp"), 40),
        text_of(entry.get("typeDisp"), 40),
    )
