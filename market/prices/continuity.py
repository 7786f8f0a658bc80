"""Whether a quote continues the stored bars of a stock, so that it may stand for a bar."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Self

from market.calendar.sessions import SessionDays
from market.models import PriceBar, Stock
from market.prices.store import PRICE_TOLERANCE
from market.sources.base import AS_TRADED, Bar, History, Quote

LOOKED_BACK = timedelta(days=15)
"""The newest stored bars that count; exchanges stay closed for no longer."""


ROUNDING = 1e-6
"""Charts have single precision, quotes are rounded: a price that differs by less, relative to it, is the same."""


class NoContinuity(Exception):
    """Why a quote may not stand for a bar of its stock."""


class Continuity:
    """The newest bars of stocks, and the rules by which a quote continues them."""

    def __init__(self, bars: dict[int, dict[date, Bar]], sessions: SessionDays) -> None:
        self._bars = bars
        self._sessions = sessions

    @classmethod
    def of(cls, stocks: Sequence[Stock], now: datetime) -> Self:
        """Read the newest bars of the stocks, and the sessions of their exchanges; two queries."""
        bars: dict[int, dict[date, Bar]] = {stock.pk: {} for stock in stocks}
        recent = PriceBar.objects.filter(stock__in=bars, date__gte=(now - LOOKED_BACK).date()).order_by("date")
        for pk, *values in recent.values_list("stock_id", *Bar._fields):
            bar = Bar._make(values)
            bars[pk][bar.date] = bar
        return cls(bars, SessionDays.until(now, {stock.exchange for stock in stocks}))

    def why_none_can(self, stock: Stock) -> str:
        """Why no quote can continue the stock's bars, whatever the quote says; empty if a quote may."""
        if not self._bars[stock.pk]:
            return "no recent bar is stored"
        if stock.is_outdated:
            return "the stored bars are not adjusted"
        return "the stored bars are as traded" if stock.source in AS_TRADED else ""

    def continued(self, stock: Stock, quote: Quote) -> History:
        """The quote as an answer to store. Raises NoContinuity."""
        _check_listing(stock, quote)
        bars = self._bars[stock.pk]
        newest = bars[max(bars)]
        if quote.bar.date < newest.date:
            raise NoContinuity(f"the quote is of {quote.bar.date}, and a bar of {newest.date} is stored")
        if not quote.is_traded:
            if not _is_same(newest.close, quote.bar.close):
                raise NoContinuity(f"no trade yet, and the price differs from the close of {newest.date}")
            return _history(quote, newest, f"no trade since the bar of {newest.date}")
        before = self._sessions.before(stock.exchange, quote.bar.date) or _day_before(bars, quote.bar.date)
        if before not in bars:
            raise NoContinuity(f"no bar of the previous session, {before}, is stored")
        if not _is_same(bars[before].close, quote.previous_close):
            raise NoContinuity(
                f"the previous close is {quote.previous_close:g}, and the stored close of {before} is "
                f"{bars[before].close:g}"
            )
        return _history(quote, _fitted(quote.bar, bars.get(quote.bar.date)), f"continues the bar of {before}")


def _check_listing(stock: Stock, quote: Quote) -> None:
    for name, told, known in (
        ("exchange", quote.exchange, stock.exchange),
        ("currency", quote.currency, stock.currency),
    ):
        if told != known:
            raise NoContinuity(f"the {name} of the quote is {told or 'missing'}, and {known or 'none'} is stored")


def _day_before(bars: dict[date, Bar], day: date) -> date:
    """The day of the last stored bar before `day`, if the sessions of the exchange are not known."""
    days = [stored for stored in bars if stored < day]
    if not days:
        raise NoContinuity(f"no bar before {day} is stored")
    return max(days)


def _fitted(bar: Bar, stored: Bar | None) -> Bar:
    """The bar of a quote, adjusted as the stored bar of its day; the stored bar itself, if they say the same."""
    if stored is None:
        return bar
    prices = zip(stored[1:5], bar[1:5], strict=True)
    if bar.volume == stored.volume and all(_is_same(known, told, ROUNDING) for known, told in prices):
        return stored
    if stored.adj_close is None or not stored.close:
        return bar
    return bar._replace(adj_close=bar.close * stored.adj_close / stored.close)


def _history(quote: Quote, bar: Bar, reason: str) -> History:
    return History(
        quote.symbol,
        quote.source,
        [bar],
        name=quote.name,
        exchange=quote.exchange,
        currency=quote.currency,
        is_quote=True,
        reason=reason,
    )


def _is_same(stored: float | None, told: float | None, tolerance: float = PRICE_TOLERANCE) -> bool:
    return stored is not None and told is not None and abs(told - stored) <= tolerance * abs(stored)
