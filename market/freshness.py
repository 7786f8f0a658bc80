"""The one place that decides whether a stock's data is stale."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol, Self, TypeVar
from zoneinfo import ZoneInfo

from django.conf import settings

from market.exchanges import NEVER_CLOSES, exchange_of
from market.models import Stock
from market.sessions import Market, markets_at

FRESH, STALE, NEVER, PARKED = STATES = ("fresh", "stale", "never", "parked")
"""What a stock can be. One that was never checked is stale as well, and a parked one is neither."""
SETTLED_AFTER = timedelta(hours=1)
"""How long after the close prices may still be corrected."""

# No source has had bars yet, or the last one gets a day's bar hours after the close, and does not tell when.
_NOT_SETTLED = ("", "alpha_vantage")


class Checked(Protocol):
    """What tells how fresh a stock is: the stock itself, or these columns of it."""

    @property
    def exchange(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def checked_at(self) -> datetime | None: ...
    @property
    def source(self) -> str: ...


_Checked = TypeVar("_Checked", bound=Checked)


class Freshness:
    """What is fresh at one moment: within the limit of the exchange's state, or because nothing can have changed.

    The limit is `portfolio.freshness_schedule`'s, where the configuration has one, and otherwise
    `stock_jobs.portfolio_priority.data_staleness_threshold`.
    """

    def __init__(self, now: datetime, markets: dict[str, Market]) -> None:
        self.now = now
        self._markets = markets
        self._schedule = settings.JOB_PROCESSOR.portfolio.freshness_schedule
        self._limit = timedelta(minutes=settings.JOB_PROCESSOR.stock_jobs.portfolio_priority.data_staleness_threshold)

    @classmethod
    def of(cls, stocks: Iterable[Checked], now: datetime) -> Self:
        """For these stocks, in one query (none where no exchange of theirs ever closes)."""
        return cls(now, markets_at(now, {exchange_of(stock.exchange).calendar for stock in stocks}))

    def is_stale(self, stock: Checked) -> bool:
        """Whether the stock has to be fetched. One that is parked has not."""
        if stock.status != Stock.Status.ACTIVE:
            return False
        if stock.checked_at is None:
            return True
        return self.now - stock.checked_at >= self.limit_of(stock) and self.closed_since(stock) is None

    def state_of(self, stock: Checked) -> str:
        """One of STATES."""
        if stock.status != Stock.Status.ACTIVE:
            return PARKED
        if not self.is_stale(stock):
            return FRESH
        return NEVER if stock.checked_at is None else STALE

    def closed_since(self, stock: Checked) -> datetime | None:
        """When its exchange closed, where nothing can have changed since the stock was checked; else None."""
        market = self._market_of(stock)
        if market is None or market.closed_since is None or stock.checked_at is None:
            return None
        if stock.source in _NOT_SETTLED:
            return None
        return market.closed_since if stock.checked_at >= market.closed_since + SETTLED_AFTER else None

    def limit_of(self, stock: Checked) -> timedelta:
        """How old a check may be before the stock is stale, while its exchange is as it is."""
        if self._schedule is None:
            return self._limit
        if self._is_day_without_trading(stock):
            minutes = self._schedule.weekend
        elif (market := self._market_of(stock)) is None or market.closed_since is None:
            minutes = self._schedule.market_open
        else:
            minutes = self._schedule.market_closed
        return timedelta(minutes=minutes)

    def _market_of(self, stock: Checked) -> Market | None:
        return self._markets.get(exchange_of(stock.exchange).calendar)

    def _is_day_without_trading(self, stock: Checked) -> bool:
        """At its exchange; where its sessions are not known yet, Saturday and Sunday."""
        exchange, market = exchange_of(stock.exchange), self._market_of(stock)
        if exchange.calendar == NEVER_CLOSES:
            return False
        zone = ZoneInfo(exchange.timezone)
        today = self.now.astimezone(zone).date()
        if market is None:
            return today.weekday() >= 5
        if market.closed_since is None:
            return False
        return market.closed_since.astimezone(zone).date() < today < market.opens_at.astimezone(zone).date()


def stale_at(stocks: Iterable[_Checked], now: datetime) -> list[_Checked]:
    """Those of the stocks that have to be fetched, in the order given."""
    stocks = list(stocks)
    freshness = Freshness.of(stocks, now)
    return [stock for stock in stocks if freshness.is_stale(stock)]


def states_at(stocks: Iterable[_Checked], now: datetime) -> list[tuple[_Checked, str]]:
    """Each of the stocks with its state, in the order given."""
    stocks = list(stocks)
    freshness = Freshness.of(stocks, now)
    return [(stock, freshness.state_of(stock)) for stock in stocks]
