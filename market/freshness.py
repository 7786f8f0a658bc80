"""The one place that decides whether a stock's data is stale."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol, Self, TypeVar
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Case, CharField, Q, Value, When

from market.calendar.exchanges import NEVER_CLOSES, exchange_of
from market.calendar.sessions import Market, markets_at
from market.models import Stock

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

    def __init__(self, now: datetime, exchanges: Iterable[str]) -> None:
        """For stocks at these exchanges, in one query (none where none of them ever closes)."""
        self.now = now
        self._exchanges = frozenset(exchanges)
        self._markets = markets_at(now, {exchange_of(exchange).calendar for exchange in self._exchanges})
        self._schedule = settings.JOB_PROCESSOR.portfolio.freshness_schedule
        self._limit = timedelta(minutes=settings.JOB_PROCESSOR.stock_jobs.portfolio_priority.data_staleness_threshold)
        self._fresh_from: dict[tuple[str, bool], datetime] = {}

    @classmethod
    def of(cls, stocks: Iterable[Checked], now: datetime) -> Self:
        """For these stocks."""
        return cls(now, (stock.exchange for stock in stocks))

    @classmethod
    def of_all(cls, now: datetime) -> Self:
        """For all stocks that there are, in one query more."""
        return cls(now, Stock.objects.order_by().values_list("exchange", flat=True).distinct())

    def is_stale(self, stock: Checked) -> bool:
        """Whether the stock has to be fetched. One that is parked has not."""
        if stock.status != Stock.Status.ACTIVE:
            return False
        if stock.checked_at is None:
            return True
        return stock.checked_at < self.fresh_from(stock.exchange, is_settled=stock.source not in _NOT_SETTLED)

    def state_of(self, stock: Checked) -> str:
        """One of STATES."""
        if stock.status != Stock.Status.ACTIVE:
            return PARKED
        if not self.is_stale(stock):
            return FRESH
        return NEVER if stock.checked_at is None else STALE

    def state_in_sql(self) -> Case:
        """`state_of`, as the database finds it out for the rows of stocks."""
        fresh: dict[tuple[bool, datetime], list[str]] = {}
        for exchange in sorted(self._exchanges):
            for is_settled in (True, False):
                moment = self.fresh_from(exchange, is_settled=is_settled)
                fresh.setdefault((is_settled, moment), []).append(exchange)
        not_settled = Q(source__in=_NOT_SETTLED)
        return Case(
            When(~Q(status=Stock.Status.ACTIVE), then=Value(PARKED)),
            When(checked_at=None, then=Value(NEVER)),
            *(
                When(
                    Q(exchange__in=exchanges, checked_at__gte=moment) & (~not_settled if is_settled else not_settled),
                    then=Value(FRESH),
                )
                for (is_settled, moment), exchanges in fresh.items()
            ),
            default=Value(STALE),
            output_field=CharField(),
        )

    def closed_since(self, stock: Checked) -> datetime | None:
        """When its exchange closed, where nothing can have changed since the stock was checked; else None."""
        closed = self._closed_since(stock.exchange)
        if closed is None or stock.checked_at is None or stock.source in _NOT_SETTLED:
            return None
        return closed if stock.checked_at >= closed + SETTLED_AFTER else None

    def limit_of(self, stock: Checked) -> timedelta:
        """How old a check may be before the stock is stale, while its exchange is as it is."""
        return self._limit_at(stock.exchange)

    def fresh_from(self, exchange: str, *, is_settled: bool) -> datetime:
        """The earliest check that counts, of a stock at the exchange.

        `is_settled`: its source has a day's last prices by an hour after the close.
        """
        key = exchange, is_settled
        if key not in self._fresh_from:
            earliest = self.now - self._limit_at(exchange) + timedelta.resolution  # as old as the limit is too old
            closed = self._closed_since(exchange) if is_settled else None
            self._fresh_from[key] = earliest if closed is None else min(earliest, closed + SETTLED_AFTER)
        return self._fresh_from[key]

    def _closed_since(self, exchange: str) -> datetime | None:
        """None while it trades, and where that is not known."""
        market = self._market_at(exchange)
        return None if market is None else market.closed_since

    def _limit_at(self, exchange: str) -> timedelta:
        if self._schedule is None:
            return self._limit
        if self._is_day_without_trading(exchange):
            minutes = self._schedule.weekend
        elif self._closed_since(exchange) is None:
            minutes = self._schedule.market_open
        else:
            minutes = self._schedule.market_closed
        return timedelta(minutes=minutes)

    def _market_at(self, exchange: str) -> Market | None:
        return self._markets.get(exchange_of(exchange).calendar)

    def _is_day_without_trading(self, code: str) -> bool:
        """At this exchange; where its sessions are not known yet, Saturday and Sunday."""
        exchange, market = exchange_of(code), self._market_at(code)
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
