"""Decides whether a stock's data is stale, here and nowhere else."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from enum import Enum, auto
from typing import Protocol, Self, TypeVar
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Case, CharField, Q, Value, When

from market.calendar.exchanges import exchange_of
from market.calendar.sessions import Market, day_of_session, markets_at
from market.models import Stock

FRESH, STALE, NEVER, PARKED = STATES = ("fresh", "stale", "never", "parked")
"""The states of a stock. A stock never checked counts as stale; a parked stock is neither fresh nor stale."""
SETTLED_AFTER = timedelta(hours=1)
"""The time after the close during which prices may still be corrected."""
LESS_OFTEN = 0.5
"""A stock without a bar of the last session is stale once its check is older than this share of the time from the
close to the check. So the bar is asked for soon, and less and less often if the stock had no trade in that session."""

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
    @property
    def last_bar_on(self) -> date | None: ...


_Checked = TypeVar("_Checked", bound=Checked)


class Bars(Enum):
    """What is known of a stock's bars while its exchange is closed."""

    COMPLETE = auto()
    """The bar of the last session is stored."""
    LACK_LAST_SESSION = auto()
    MAY_COME_LATE = auto()
    """The source has bars only hours after the close, or no source has had bars yet."""


class Freshness:
    """Which stocks are fresh at one moment: checked within the limit, or unable to have changed since their check.

    A stock cannot have changed while its exchange is closed, if the bar of the last session was there after the close.
    The limit comes from `portfolio.freshness_schedule`, if configured, and otherwise from
    `stock_jobs.portfolio_priority.data_staleness_threshold`.
    """

    def __init__(self, now: datetime, exchanges: Iterable[str]) -> None:
        """Load the markets of the exchanges in a single query (none if no exchange has a calendar)."""
        self.now = now
        self._exchanges = frozenset(exchanges)
        self._markets = markets_at(
            now, {found.calendar for code in self._exchanges if (found := exchange_of(code)).calendar}
        )
        self._schedule = settings.JOB_PROCESSOR.portfolio.freshness_schedule
        self._limit = timedelta(minutes=settings.JOB_PROCESSOR.stock_jobs.portfolio_priority.data_staleness_threshold)
        self._fresh_from: dict[tuple[str, Bars], datetime] = {}

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
        return stock.checked_at < self._fresh_since(stock.exchange, self._bars_of(stock))

    def state_of(self, stock: Checked) -> str:
        """The state of a stock: a member of STATES."""
        if stock.status != Stock.Status.ACTIVE:
            return PARKED
        if not self.is_stale(stock):
            return FRESH
        return NEVER if stock.checked_at is None else STALE

    def state_in_sql(self) -> Case:
        """`state_of` as an expression for the rows of stocks."""
        groups: dict[tuple[Bars, date | None, datetime], list[str]] = {}
        for exchange in sorted(self._exchanges):
            day = self._last_session(exchange)
            for bars in Bars if day else [Bars.MAY_COME_LATE]:
                groups.setdefault((bars, day, self._fresh_since(exchange, bars)), []).append(exchange)
        return Case(
            When(~Q(status=Stock.Status.ACTIVE), then=Value(PARKED)),
            When(checked_at=None, then=Value(NEVER)),
            *(
                When(_has_bars(bars, day) & Q(exchange__in=exchanges, checked_at__gte=moment), then=Value(FRESH))
                for (bars, day, moment), exchanges in groups.items()
            ),
            default=Value(STALE),
            output_field=CharField(),
        )

    def closed_since(self, stock: Checked) -> datetime | None:
        """When the stock's exchange closed, if nothing can have changed since the stock's check; else None."""
        closed = self._closed_since(stock.exchange)
        if closed is None or stock.checked_at is None or self._bars_of(stock) != Bars.COMPLETE:
            return None
        return closed if stock.checked_at >= closed + SETTLED_AFTER else None

    def due_at(self, stock: Checked) -> datetime | None:
        """The time of the next price: as the exchange opens, or as the last check gets stale.

        None for a parked stock, and before the first check.
        """
        if stock.status != Stock.Status.ACTIVE or stock.checked_at is None:
            return None
        market = self._market_at(stock.exchange)
        if market is not None and self.closed_since(stock):
            return market.opens_at
        return stock.checked_at + self._limit_at(stock.exchange)

    def settled_at(self, exchange: str) -> datetime | None:
        """From when the prices of the last session are settled; None during a session, and for unknown sessions."""
        closed = self._closed_since(exchange)
        return None if closed is None else closed + SETTLED_AFTER

    def limit_of(self, stock: Checked) -> timedelta:
        """The age from which a check is stale, in the present state of the stock's exchange."""
        return self._limit_at(stock.exchange)

    def _fresh_since(self, exchange: str, bars: Bars) -> datetime:
        """The earliest check that counts as fresh, for a stock at the exchange."""
        key = exchange, bars
        if key not in self._fresh_from:
            earliest = self.now - self._limit_at(exchange) + timedelta.resolution  # an age equal to the limit is stale
            closed = self._closed_since(exchange)
            if closed is not None and bars == Bars.COMPLETE:
                earliest = min(earliest, closed + SETTLED_AFTER)
            elif closed is not None and bars == Bars.LACK_LAST_SESSION:
                earliest = min(earliest, self.now - (self.now - closed) * LESS_OFTEN / (1 + LESS_OFTEN))
            self._fresh_from[key] = earliest
        return self._fresh_from[key]

    def _bars_of(self, stock: Checked) -> Bars:
        if stock.source in _NOT_SETTLED:
            return Bars.MAY_COME_LATE
        day = self._last_session(stock.exchange)
        has_last = day is not None and stock.last_bar_on is not None and stock.last_bar_on >= day
        return Bars.COMPLETE if has_last else Bars.LACK_LAST_SESSION

    def _last_session(self, exchange: str) -> date | None:
        """The day of the last session; None during a session, and for unknown sessions."""
        closed = self._closed_since(exchange)
        return None if closed is None else day_of_session(exchange_of(exchange), closed)

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
        return self._markets.get(exchange_of(exchange).calendar or "")

    def _is_day_without_trading(self, code: str) -> bool:
        """Whether the exchange has no session today; on Saturday and Sunday, if its calendar has ended.

        An exchange without a calendar may trade on any day.
        """
        exchange, market = exchange_of(code), self._market_at(code)
        if not exchange.calendar:
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


def _has_bars(bars: Bars, last_session: date | None) -> Q:
    """The rows of stocks with these bars; all rows if `last_session` is None."""
    if last_session is None:
        return Q()
    comes_late = Q(source__in=_NOT_SETTLED)
    has_last = Q(last_bar_on__gte=last_session)
    return {
        Bars.COMPLETE: ~comes_late & has_last,
        Bars.LACK_LAST_SESSION: ~comes_late & ~has_last,
        Bars.MAY_COME_LATE: comes_late,
    }[bars]
