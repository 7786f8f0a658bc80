"""What cohorts are compared with: a Celery task for each stock, which asks yfinance and stores the bar.

`celery -A benchmarks.bare worker -I benchmarks.bare_stocks`.
"""

import os
import warnings
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import django

django.setup()

import yfinance
from curl_cffi.requests import Response, Session
from django.utils import timezone
from yfinance.data import YfData

from benchmarks.bare import app
from market.models import PriceBar, Stock

PRICES = ("open", "high", "low", "close", "adj_close")
QUOTES = "https://query1.finance.yahoo.com/v7/finance/quote"
warnings.filterwarnings(
    "ignore", category=DeprecationWarning, module="^yfinance"
)  # otherwise a log line for each chart


@app.task(name="bare.fetch_quote")
def fetch_quote(symbol: str) -> dict[str, str]:
    """Store a stock's quote as the bar of its day."""
    answer = YfData(session=_session()).get_raw_json(QUOTES, params={"symbols": symbol, "formatted": "false"})
    (quote,) = answer["quoteResponse"]["result"]
    day = datetime.fromtimestamp(quote["regularMarketTime"], UTC).date()
    names = ("Open", "DayHigh", "DayLow", "Price", "Price")
    prices = {field: quote[f"regularMarket{name}"] for field, name in zip(PRICES, names, strict=True)}
    return _store(symbol, {day: prices | {"volume": quote["regularMarketVolume"]}})


@app.task(name="bare.fetch_chart")
def fetch_chart(symbol: str) -> dict[str, str]:
    """Store the newest bars of a stock's chart, from as many days as a fetch asks for."""
    start = timezone.now().date() - timedelta(days=5)
    frame = yfinance.Ticker(symbol, session=_session()).history(start=start, auto_adjust=False, actions=False)
    rows = frame[["Open", "High", "Low", "Close", "Adj Close", "Volume"]].itertuples(name=None)
    return _store(symbol, {at.date(): dict(zip((*PRICES, "volume"), row, strict=True)) for at, *row in rows})


def _store(symbol: str, bars: dict[date, dict[str, Any]]) -> dict[str, str]:
    stock = Stock.objects.get(symbol=symbol)
    PriceBar.objects.bulk_create(
        [PriceBar(stock=stock, date=day, **values) for day, values in bars.items()],
        update_conflicts=True,
        unique_fields=["stock", "date"],
        update_fields=[*PRICES, "volume"],
    )
    stock.checked_at = timezone.now()
    stock.save(update_fields=["checked_at"])
    return {"symbol": symbol, "latest": max(bars).isoformat()}


@cache
def _session() -> "Session[Response]":
    yfinance.set_tz_cache_location(os.environ["YFINANCE_CACHE"])
    yfinance.config.debug.hide_exceptions = False
    yfinance.config.network.proxy = os.environ["YAHOO_PROXY"]
    trusted: Any = os.environ["YAHOO_CA_BUNDLE"]  # declared as a bool
    return Session(impersonate="chrome", proxy=os.environ["YAHOO_PROXY"], verify=trusted)
