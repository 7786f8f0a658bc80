"""Decides whether a stock's data is stale, here and nowhere else."""

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
"""The states of a stock. A stock never checked counts as stale; a parked stock is neither fresh nor stale."""
SETTLED_AFTER = timedelta(hours=1)
"""The time after the close during which prices may still be corrected."""

# No source has had bars yet, or the last source has a day's bar only hours after the close, at no known time.
_NOT_SETTLED = ("", "alpha_vantage")


class Checked(Protocol):
    """A stock, or a row with the columns that decide a stock's freshness."""

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
    """Which stocks are fresh at one moment: checked within the limit, or unable to have changed since their check.

    The limit comes from `portfolio.freshness_schedule`, if configured, and otherwise from
    `stock_jobs.portfolio_priority.data_staleness_threshold`.
    """

    def __init__(self, now: datetime, exchanges: Iterable[str]) -> None:
        """Load the markets of the exchanges in one query (none if no exchange ever closes)."""
        self.now = now
        self._exchanges = frozenset(exchanges)
        self._markets = markets_at(now, {exchange_of(exchange).calendar for exchange in self._exchanges})
        self._schedule = settings.JOB_PROCESSOR.portfolio.freshness_schedule
        self._limit = timedelta(minutes=settings.JOB_PROCESSOR.stock_jobs.portfolio_priority.data_staleness_threshold)
        self._fresh_from: dict[tuple[str, bool], datetime] = {}

    @classmethod
    def of(cls, stocks: Iterable[Checked], now: datetime) -> Self:
        """The freshness of the given stocks."""
        return cls(now, (stock.exchange for stock in stocks))

    @classmethod
    def of_all(cls, now: datetime) -> Self:
        """The freshness of all stocks, with one more query."""
        return cls(now, Stock.objects.order_by().values_list("exchange", flat=True).distinct())

    def is_stale(self, stock: Checked) -> bool:
        """Whether the stock has to be fetched; False for a parked stock."""
        if stock.status != Stock.Status.ACTIVE:
            return False
        if stock.checked_at is None:
            return True
        return stock.checked_at < self.fresh_from(stock.exchange, is_settled=stock.source not in _NOT_SETTLED)

    def state_of(self, stock: Checked) -> str:
        """The state of a stock: a member of STATES."""
        if stock.status != Stock.Status.ACTIVE:
            return PARKED
        if not self.is_stale(stock):
            return FRESH
        return NEVER if stock.checked_at is None else STALE

    def state_in_sql(self) -> Case:
        """`state_of` as an expression for the rows of stocks."""
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
        """When the stock's exchange closed, if nothing can have changed since the stock's check; else None."""
        closed = self._closed_since(stock.exchange)
        if closed is None or stock.checked_at is None or stock.source in _NOT_SETTLED:
            return None
        return closed if stock.checked_at >= closed + SETTLED_AFTER else None

    def settled_at(self, exchange: str) -> datetime | None:
        """From when the prices of the last session are settled; None during a session, and for unknown sessions."""
        closed = self._closed_since(exchange)
        return None if closed is None else closed + SETTLED_AFTER

    def limit_of(self, stock: Checked) -> timedelta:
        """The age from which a check is stale, in the present state of the stock's exchange."""
        return self._limit_at(stock.exchange)

    def fresh_from(self, exchange: str, *, is_settled: bool) -> datetime:
        """The earliest check that counts as fresh, for a stock at the exchange.

        `is_settled`: the source has a day's last prices within an hour of the close.
        """
        key = exchange, is_settled
        if key not in self._fresh_from:
            earliest = self.now - self._limit_at(exchange) + timedelta.resolution  # an age equal to the limit is stale
            closed = self._closed_since(exchange) if is_settled else None
            self._fresh_from[key] = earliest if closed is None else min(earliest, closed + SETTLED_AFTER)
        return self._fresh_from[key]

    def _closed_since(self, exchange: str) -> datetime | None:
        """When the exchange closed; None during a session, and for unknown sessions."""
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
        """Whether the exchange has no session today; without known sessions, on Saturday and Sunday."""
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
    """The stocks that have to be fetched, in the order given."""
    stocks = list(stocks)
    freshness = Freshness.of(stocks, now)
    return [stock for stock in stocks if freshness.is_stale(stock)]
