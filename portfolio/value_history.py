"""The value of today's holdings on earlier days, beside a benchmark.

A stock without a price on a day counts at its price of the day before, and before its first price at its first
price: a stock that was not traded yet makes neither gain nor loss.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Any

from django.db import connection

from market.currency import major_unit
from market.exchange_rates import DOLLAR, rate_symbol, rate_symbols
from market.models import PriceBar, Stock
from portfolio.currencies import UNKNOWN
from portfolio.models import Holding, Portfolio
from stockqueue.cache import Kind, cached

RANGES: Mapping[str, timedelta | None] = {
    "1m": timedelta(days=31),
    "6m": timedelta(days=183),
    "1y": timedelta(days=366),
    "max": None,
}
"""The ranges of days by name; None: all stored days."""

_HOLDINGS, _BARS, _STOCKS = Holding._meta.db_table, PriceBar._meta.db_table, Stock._meta.db_table
# The database adds up the changes of each day, so that a row leaves it for each day, and not for each bar.
_CHANGES = f"""
SELECT currency, date, SUM(change), SUM(first) FROM (
    SELECT stock.currency AS currency, bar.date AS date,
        holding.shares * (bar.close - LAG(bar.close) OVER of_stock) AS change,
        CASE WHEN LAG(bar.close) OVER of_stock IS NULL THEN holding.shares * bar.close END AS first
    FROM (SELECT stock_id, CAST(SUM(shares) AS DOUBLE PRECISION) AS shares
          FROM {_HOLDINGS} WHERE portfolio_id = %s GROUP BY stock_id) AS holding
    JOIN {_STOCKS} AS stock ON stock.id = holding.stock_id
    JOIN {_BARS} AS bar ON bar.stock_id = holding.stock_id AND bar.date >= %s AND NOT bar.is_suspicious
    WINDOW of_stock AS (PARTITION BY bar.stock_id ORDER BY bar.date)
) AS days GROUP BY currency, date ORDER BY date
"""  # noqa: S608


@dataclass(frozen=True)
class ValueHistory:
    """The value of a portfolio in `currency` by day, oldest first. Stocks in `unconverted` currencies are left out."""

    currency: str
    days: Sequence[date]
    values: Sequence[float]
    unconverted: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "days": [day.isoformat() for day in self.days]}


def cached_history(portfolio: Portfolio, currency: str, since: date) -> ValueHistory:
    """The same as `value_history`, from the cache until a bar, a rate or a holding changes."""
    held = list(
        portfolio.holdings.order_by("stock").values_list(
            "stock__symbol", "shares", "stock__currency", "stock__bars_changed_at"
        )
    )
    symbols = rate_symbols({currency, *(one[2] for one in held if one[2])})
    rates = list(Stock.objects.filter(symbol__in=symbols).values_list("symbol", "bars_changed_at"))
    key = [portfolio.pk, currency, since, held, sorted(rates)]
    found = cached(Kind.VALUE_HISTORY, key, lambda: value_history(portfolio, currency, since).as_json())
    return ValueHistory(**{**found, "days": [date.fromisoformat(day) for day in found["days"]]})


def value_history(portfolio: Portfolio, currency: str, since: date) -> ValueHistory:
    """The value of a portfolio's present holdings on each day with a price, in two queries."""
    with connection.cursor() as cursor:
        cursor.execute(_CHANGES, [portfolio.pk, since])
        rows = [(name, _date(day), change or 0.0, first or 0.0) for name, day, change, first in cursor.fetchall()]
    days = sorted({day for _, day, _, _ in rows})
    rates = _rates_on(days, {currency, *(name for name, _, _, _ in rows if name)}, currency)
    by_currency: dict[str, dict[date, float]] = {}
    start: dict[str, float] = {}
    for name, day, change, first in rows:
        by_currency.setdefault(name, {})[day] = change
        start[name] = start.get(name, 0.0) + first
    known = [name for name in by_currency if major_unit(name).currency in rates]
    values = [0.0] * len(days)
    for name in known:
        unit, amount = major_unit(name), start[name]
        for place, day in enumerate(days):
            amount += by_currency[name].get(day, 0.0)
            values[place] += amount / unit.parts * rates[unit.currency][place]
    unconverted = sorted({major_unit(name).currency or UNKNOWN for name in by_currency.keys() - known})
    return ValueHistory(currency, days if known else [], values if known else [], unconverted)


def closes_since(symbol: str, since: date) -> list[tuple[date, float]]:
    """The trusted closes of a benchmark, oldest first. Adjusted for dividends, where a source says so."""
    bars = PriceBar.objects.trusted().filter(stock__symbol=symbol, date__gte=since).order_by("date")
    return list(bars.values_list("date", "close"))


def _rates_on(days: Sequence[date], currencies: Iterable[str], base: str) -> dict[str, list[float]]:
    """The price of a unit of each currency in the base currency on each day. A currency without a rate has none."""
    majors = {major_unit(name).currency for name in currencies}
    symbols = rate_symbols(majors)
    pairs = PriceBar.objects.trusted().filter(stock__symbol__in=symbols, close__gt=0).order_by("stock__symbol", "date")
    rows = pairs.values_list("stock__symbol", "date", "close") if symbols else []
    per_dollar = {
        symbol: _on_each(days, [(day, close) for _, day, close in of_pair])
        for symbol, of_pair in groupby(rows, key=lambda row: row[0])
    }
    per_dollar[rate_symbol(DOLLAR)] = [1.0] * len(days)
    bought = per_dollar.get(rate_symbol(base))
    found = {base: [1.0] * len(days)}
    if bought is not None:
        for name in majors - {base}:
            if sold := per_dollar.get(rate_symbol(name)):
                found[name] = [into / of for into, of in zip(bought, sold, strict=True)]
    return found


def _on_each(days: Sequence[date], closes: Sequence[tuple[date, float]]) -> list[float]:
    """The newest close on each of the days; the first close before there is one."""
    found, place = [], 0
    for day in days:
        while place + 1 < len(closes) and closes[place + 1][0] <= day:
            place += 1
        found.append(closes[place][1])
    return found


def _date(value: date | str) -> date:
    """SQLite returns the days of a handwritten query as text."""
    return date.fromisoformat(value) if isinstance(value, str) else value
