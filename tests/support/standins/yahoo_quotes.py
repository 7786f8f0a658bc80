"""Quotes as Yahoo's `/v7/finance/quote` sends them, of listings or of entries that a test wrote."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from tests.support.standins.yahoo_chart import FULL_EXCHANGE_NAMES, Listing
from tests.support.standins.yahoo_summary import CRUMB

Entry = Mapping[str, Any]
"""The quote of a symbol, by Yahoo's names."""


def quote_of(listing: Listing, **changes: Any) -> dict[str, Any]:
    """The quote that fits a listing's newest bars; `changes` are by Yahoo's names, and `...` takes a field away."""
    latest, before = listing.bars[-1], listing.bars[-2] if len(listing.bars) > 1 else listing.bars[-1]
    today = datetime.datetime.now(ZoneInfo(listing.timezone))
    entry: dict[str, Any] = {
        "language": "en-US",
        "region": "US",
        "quoteType": listing.instrument,
        "currency": listing.currency,
        "exchange": listing.exchange,
        "fullExchangeName": FULL_EXCHANGE_NAMES.get(listing.exchange, listing.exchange),
        "exchangeTimezoneName": listing.timezone,
        "exchangeTimezoneShortName": today.tzname(),
        "gmtOffSetMilliseconds": int((today.utcoffset() or datetime.timedelta()).total_seconds() * 1000),
        "shortName": listing.name or listing.symbol,
        "longName": listing.name or listing.symbol,
        "marketState": "CLOSED",
        "tradeable": False,
        "triggerable": True,
        "priceHint": 2,
        "corporateActions": [],
        "regularMarketTime": min(listing.moment(latest.date, listing.hours.end), int(today.timestamp())),
        "regularMarketPrice": latest.close,
        "regularMarketOpen": latest.open,
        "regularMarketDayHigh": latest.high,
        "regularMarketDayLow": latest.low,
        "regularMarketVolume": latest.volume,
        "regularMarketPreviousClose": before.close,
        "symbol": listing.symbol,
    }
    return {name: value for name, value in (entry | changes).items() if value is not ...}


def quotes_answer(
    listings: Mapping[str, Listing], written: Mapping[str, Sequence[Entry]], params: Mapping[str, str]
) -> tuple[int, dict[str, Any]]:
    """Status and body for a request with these parameters. Symbols that Yahoo does not know are left out."""
    if params.get("crumb") != CRUMB:
        error = {"code": "Unauthorized", "description": "Invalid Crumb"}
        return 401, {"finance": {"result": None, "error": error}}
    quotes: list[Entry] = []
    for symbol in params.get("symbols", "").split(","):
        if symbol in written:
            quotes += written[symbol]
        elif symbol in listings and listings[symbol].bars:
            quotes.append(quote_of(listings[symbol]))
    return 200, {"quoteResponse": {"result": quotes, "error": None}}
