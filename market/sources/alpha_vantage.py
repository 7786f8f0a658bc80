"""Alpha Vantage through its REST API: https://www.alphavantage.co/documentation/#daily.

Uses TIME_SERIES_DAILY, with prices as traded: adjusted prices are for paying customers alone.
"""

import json
import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from curl_cffi.requests import exceptions as http
from django.conf import settings
from django.utils import timezone

from market.models import ABSURD_PRICE, LARGEST_VOLUME
from market.sources.base import (
    AccessRefused,
    Allowance,
    Bar,
    History,
    MalformedAnswer,
    NotOffered,
    RateLimited,
    SourceDown,
    SourceError,
    SourceTimeout,
    SourceUnreachable,
    SymbolNotFound,
    Unlimited,
)
from market.sources.http import SourceSession, reason_of
from market.text import clean_text

LABEL = "Alpha Vantage"
ADDRESS = "https://www.alphavantage.co/query"
COMPACT = timedelta(days=140)
"""A free key gets a hundred trading days, or at least 140 calendar days."""

# The period of each limit, in search order: the later words occur in advertisements too. The number is the pause in
# seconds; None: as configured. The end of Alpha Vantage's day is not documented; a pause of an hour costs at most 24
# refusals a day.
_LIMITS: tuple[tuple[str, float | None], ...] = (
    ("second", 2.0),
    ("minute", None),
    ("day", 3_600.0),
)

# Yahoo's suffixes of exchanges, and the suffixes in Alpha Vantage's documentation.
_SUFFIXES = {"L": "LON", "TO": "TRT", "V": "TRV", "DE": "DEX", "BO": "BSE", "SS": "SHH", "SZ": "SHZ"}
# AAPL, BRK-B, BBD-B.TO; a longer end is a currency's, as in BTC-USD.
_SHARE = re.compile(r"([A-Z0-9]+(?:-[A-Z]{1,2})?)(?:\.([A-Z]+))?")


class _Session(SourceSession):
    def subject_of(self, url: str) -> str:
        """The symbol alone: the rest of the address contains the key."""
        return parse_qs(urlsplit(url).query)["symbol"][0]


class AlphaVantage:
    """The source; its threads share one session. Needs ALPHA_VANTAGE_API_KEY, and keeps it out of messages."""

    name = "alpha_vantage"
    label = LABEL

    def __init__(self, allowance: Allowance | None = None) -> None:
        self._limit = float(settings.JOB_PROCESSOR.integration.apis.alpha_vantage.timeout)
        self._allowance = allowance or Unlimited()
        self._session = _Session(
            LABEL,
            self._allowance,
            limit=self._limit,
            proxy=settings.ALPHA_VANTAGE_PROXY,
            ca_bundle=settings.ALPHA_VANTAGE_CA_BUNDLE,
        )

    def history(self, symbol: str, start: date, end: date | None = None) -> History:
        near = start >= timezone.now().date() - COMPACT
        answer = self._ask(symbol, _name_of(symbol), "compact" if near else "full")
        bars = [bar for bar in _bars(symbol, answer) if start <= bar.date <= (end or bar.date)]
        self._allowance.note_answer()
        if not bars:
            raise _no_data(symbol)
        return History(symbol, self.name, bars)

    def _ask(self, symbol: str, name: str, size: str) -> dict[str, Any]:
        query = {
            "function": "TIME_SERIES_DAILY",
            "symbol": name,
            "outputsize": size,
            "apikey": settings.ALPHA_VANTAGE_API_KEY or "",
        }
        try:
            response = self._session.get(f"{ADDRESS}?{urlencode(query)}", allow_redirects=False)
        except http.Timeout:
            raise SourceTimeout(f"{LABEL} did not answer for {symbol} in time (at most {self._limit:g} s)") from None
        except http.RequestException as error:
            raise SourceUnreachable(f"{LABEL} could not be reached for {symbol}: {reason_of(error)}") from None
        if response.status_code >= 500:
            raise SourceDown(f"{LABEL} answered {response.status_code} for {symbol}")
        try:
            answer = json.loads(response.content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise _unreadable(symbol)
        for kind in ("Note", "Information", "Error Message"):
            if isinstance(said := answer.get(kind), str):
                raise self._refusal(symbol, said)
        return answer

    def _refusal(self, symbol: str, said: str) -> SourceError:
        """Interpret a text in place of data. The text may repeat the key."""
        for period, pause in _LIMITS:
            if f"per {period}" in said:
                self._allowance.note_refusal(pause)
                return RateLimited(f"{LABEL} refused {symbol}: too many requests a {period}")
        if "premium" in said:
            return AccessRefused(f"{LABEL} refused {symbol}: the request needs a paid key")
        if re.search("api ?key", said, re.IGNORECASE):
            return AccessRefused(f"{LABEL} refused {symbol}: it does not accept ALPHA_VANTAGE_API_KEY")
        if said.startswith("Invalid API call"):
            return _no_data(symbol)
        said = said.replace(settings.ALPHA_VANTAGE_API_KEY or "\0", "…")
        return SourceError(f"{LABEL} sent a note instead of data for {symbol}: {clean_text(said, 200)}")


def _name_of(symbol: str) -> str:
    """Alpha Vantage's name for a share; NotOffered for symbols of anything except shares."""
    share = _SHARE.fullmatch(symbol)
    if share is None:
        raise NotOffered(f"{LABEL} has only shares, and {symbol} is not a share")
    name, suffix = share.groups()
    if suffix is None:
        return name
    if suffix not in _SUFFIXES:
        raise NotOffered(f"{LABEL} cannot be used for {symbol}: its name of the exchange .{suffix} is unknown")
    return f"{name}.{_SUFFIXES[suffix]}"


def _bars(symbol: str, answer: Mapping[str, Any]) -> list[Bar]:
    try:
        return sorted(_bar(day, values) for day, values in answer["Time Series (Daily)"].items())
    except (AttributeError, LookupError, TypeError, ValueError):
        raise _unreadable(symbol) from None


def _bar(day: str, values: Mapping[str, str]) -> Bar:
    volume = int(values["5. volume"])
    if not 0 <= volume <= LARGEST_VOLUME:
        raise ValueError(volume)
    return Bar(
        date=date.fromisoformat(day),
        open=_price(values["1. open"]),
        high=_price(values["2. high"]),
        low=_price(values["3. low"]),
        close=_price(values["4. close"]),
        adj_close=None,
        volume=volume,
    )


def _price(text: str) -> float:
    price = float(text)
    if not 0 <= price < ABSURD_PRICE:  # false for NaN
        raise ValueError(text)
    return price


def _no_data(symbol: str) -> SymbolNotFound:
    return SymbolNotFound(f"{LABEL} has no data for {symbol}")


def _unreadable(symbol: str) -> MalformedAnswer:
    return MalformedAnswer(f"{LABEL} sent an answer for {symbol} that is not a series of daily prices")
