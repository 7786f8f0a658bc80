"""The newest prices of stocks, as alerts compare them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from market.calendar.sessions import LatestSessions, latest_sessions
from market.currency import major_unit
from market.models import Stock
from market.prices.latest import latest_bar
from market.prices.suspicion import JUMP
from market.sources.base import AS_TRADED


@dataclass(frozen=True)
class Price:
    """The newest trusted close of a stock, and the trusted close `before` it, both as stored.

    `price` is the newest close in `currency`, a major unit. `sessions`: the latest of the stock's exchange.
    """

    stock: Stock
    day: date
    close: float
    before_on: date | None
    before: float | None
    sessions: LatestSessions

    @property
    def price(self) -> Decimal:
        return Decimal(repr(self.close)) / major_unit(self.stock.currency).parts

    def in_currency(self, close: float) -> float:
        """Another stored close of the stock in `currency`."""
        return close / major_unit(self.stock.currency).parts

    @property
    def currency(self) -> str:
        return major_unit(self.stock.currency).currency

    @property
    def percent(self) -> Decimal | None:
        """The change since the close before; None if it is not known."""
        if self.before is None or self.before <= 0:
            return None
        return 100 * (Decimal(repr(self.close)) / Decimal(repr(self.before)) - 1)

    @property
    def is_comparable(self) -> bool:
        """Whether no split may have changed the scale of the price without a change of earlier bars."""
        percent = self.percent
        is_jump = percent is not None and abs(percent) >= 100 * Decimal(repr(JUMP))
        return not (self.stock.is_outdated or (self.stock.source in AS_TRADED and is_jump))


def newest_prices(stocks: Collection[Stock], now: datetime) -> dict[int, Price]:
    """The prices by stock, in two queries; stocks without a trusted bar are left out."""
    rows = Stock.objects.filter(pk__in=[stock.pk for stock in stocks]).annotate(
        day=latest_bar("date", stock="pk"),
        close=latest_bar("close", stock="pk"),
        before_on=latest_bar("date", stock="pk", place=1),
        before=latest_bar("close", stock="pk", place=1),
    )
    by_pk, sessions = {stock.pk: stock for stock in stocks}, latest_sessions(now, {stock.exchange for stock in stocks})
    return {
        pk: Price(by_pk[pk], day, close, before_on, before, sessions[by_pk[pk].exchange])
        for pk, day, close, before_on, before in rows.values_list("pk", "day", "close", "before_on", "before")
        if day is not None
    }
