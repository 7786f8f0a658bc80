"""Yahoo's search by name: the shape of its answers to `/v1/finance/search`."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.standins.yahoo_chart import Listing


def search_body(listings: Iterable[Listing], params: Mapping[str, str]) -> dict[str, Any]:
    """The listings with every word of the query in their names, or with its symbol or ISIN; as many as asked for."""
    query = params.get("q", "")
    words = _words(query)
    found = [
        listing
        for listing in listings
        if (words and words <= _words(listing.name)) or query.upper() in (listing.symbol, listing.isin)
    ]
    quotes = [_entry(listing) for listing in found[: int(params.get("quotesCount", 7))]]
    return {
        "explains": [],
        "count": len(quotes),
        "quotes": quotes,
        "news": [],
        "nav": [],
        "lists": [],
        "timeTakenForQuotes": 8,
    }


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def _entry(listing: Listing) -> dict[str, Any]:
    return {
        "exchange": listing.exchange,
        "shortname": listing.name,
        "longname": listing.name,
        "quoteType": listing.instrument,
        "typeDisp": listing.instrument.capitalize(),
        "exchDisp": {"NMS": "NASDAQ", "GER": "XETRA", "LSE": "London"}.get(listing.exchange, listing.exchange),
        "symbol": listing.symbol,
        "index": "quotes",
        "score": 20_000.0,
        "isYahooFinance": True,
    }
