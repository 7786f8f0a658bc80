"""Yahoo's quotes: an answer about many stocks. Any part of it may be missing, repeated or of another type."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from market.models import ABSURD_PRICE, LARGEST_VOLUME
from market.sources.base import Bar, Quote
from market.sources.yahoo.json_values import moment_of, number_of, text_of

CLOCK_TOLERANCE = timedelta(minutes=2)
"""A quote may be so much ahead of this machine's clock."""
_WITHOUT_VOLUME = ("INDEX", "CURRENCY")
"""Types of instruments without a volume. For other types, no volume means no trade yet."""


class _Unusable(Exception):
    """Why an entry of the answer is no usable quote."""


def read_quotes(answer: Any, symbols: Sequence[str], source: str, now: datetime) -> dict[str, Quote | str]:
    """The quote of each symbol, or the reason why the answer has no usable quote of it."""
    entries: dict[str, list[dict[str, Any]]] = {symbol: [] for symbol in symbols}
    for entry in _entries(answer):
        symbol = entry.get("symbol")
        if isinstance(symbol, str) and symbol in entries:
            entries[symbol].append(entry)
    return {symbol: _read(symbol, found, source, now) for symbol, found in entries.items()}


def _entries(answer: Any) -> Iterable[dict[str, Any]]:
    response = answer.get("quoteResponse") if isinstance(answer, dict) else None
    result = response.get("result") if isinstance(response, dict) else None
    return (entry for entry in result if isinstance(entry, dict)) if isinstance(result, list) else ()


def _read(symbol: str, found: Sequence[dict[str, Any]], source: str, now: datetime) -> Quote | str:
    if not found:
        return "the answer has no quote of the symbol"
    if any(entry != found[0] for entry in found):
        return "the answer has several different quotes of the symbol"
    try:
        return _read_entry(symbol, found[0], source, now)
    except _Unusable as reason:
        return str(reason)


def _read_entry(symbol: str, entry: dict[str, Any], source: str, now: datetime) -> Quote:
    if entry.get("corporateActions"):
        raise _Unusable("a corporate action is announced")
    at = _moment(entry, now)
    close = _price(entry, "regularMarketPrice")
    previous_close = _price(entry, "regularMarketPreviousClose")
    volume = _volume(entry)
    is_traded = volume > 0 or entry.get("quoteType") in _WITHOUT_VOLUME
    bar = Bar(at.astimezone(_zone(entry)).date(), close, close, close, close, close, volume)
    if is_traded:
        opening, high, low = (_price(entry, f"regularMarket{name}") for name in ("Open", "DayHigh", "DayLow"))
        if not low <= min(opening, close) <= max(opening, close) <= high:
            raise _Unusable("the prices of the session contradict each other")
        bar = bar._replace(open=opening, high=high, low=low)
    return Quote(
        symbol,
        source,
        at,
        bar,
        previous_close,
        is_traded,
        name=text_of(entry.get("longName") or entry.get("shortName"), 200),
        exchange=text_of(entry.get("exchange"), 40),
        currency=text_of(entry.get("currency"), 8),
    )


def _moment(entry: dict[str, Any], now: datetime) -> datetime:
    at = moment_of(entry.get("regularMarketTime"))
    if at is None:
        raise _Unusable("the quote has no time")
    if at > now + CLOCK_TOLERANCE:
        raise _Unusable("the time of the quote is in the future")
    return at.astimezone(UTC)


def _zone(entry: dict[str, Any]) -> ZoneInfo:
    try:
        return ZoneInfo(entry["exchangeTimezoneName"])
    except (KeyError, TypeError, ValueError, OSError):  # no such zone, or a text that is no name of a zone
        raise _Unusable("the time zone of the quote is not known") from None


def _price(entry: dict[str, Any], name: str) -> float:
    price = number_of(entry.get(name))
    if price is None or not 0 < price < ABSURD_PRICE:
        raise _Unusable(f"the quote has no {name}")
    return price


def _volume(entry: dict[str, Any]) -> int:
    """The volume; 0 for a null volume of an instrument that has none."""
    volume = number_of(entry.get("regularMarketVolume"))
    if volume is None and entry.get("quoteType") in _WITHOUT_VOLUME:
        return 0
    if volume is None or not 0 <= volume <= LARGEST_VOLUME:
        raise _Unusable("the quote has no regularMarketVolume")
    return int(volume)
