"""The requests of a simulated week, by one way of fetching."""

import math
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import takewhile
from operator import attrgetter, itemgetter
from unittest.mock import patch

from django.conf import settings

from benchmarks.week_model import MINUTE, MONDAY, Population, RememberedMarkets, SimulatedStock, Trading
from market.freshness import stale_at
from market.jobs.fetches.parameters import quote_size
from market.sources.budget import WINDOW, allowed_in
from portfolio.models import FIRST_SCORE
from portfolio.schedules.warming import GoingStale, fill_batches, time_ahead

SCHEDULE = time(9, tzinfo=UTC)
WARM_SECOND = timedelta(seconds=30)
"""When the schedule "Warm" runs in each minute: half a minute after an exchange opens."""
SETTLE_HOURS = 7 * 24
BREAK = 1 / 250
"""The chance that a quote does not continue a stock's bars in a session. Splits and corrections are rarer."""
RATE_LIMIT = 60
"""Requests a minute, as shipped. The configuration of benchmarks allows more."""
LOGINS, SCHEDULED, WARM, SETTLE = CAUSES = ("logins", "the schedule", "warm", "settle")
"""What causes requests."""

_Event = tuple[datetime, Callable[[], None]]


@dataclass(frozen=True)
class Way:
    """A way of fetching; `is_warm`: with the schedules "Warm" and "Settle"."""

    name: str
    has_sessions: bool = True
    has_quotes: bool = False
    is_warm: bool = False


@dataclass
class Counted:
    """The logins, requests and ages of a week. Ages are in minutes, one for each holding of each login."""

    logins: int = 0
    instant: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    charts: int = 0
    on_days_off: int = 0
    age: list[float] = field(default_factory=list)
    missed: list[float] = field(default_factory=list)
    missed_after: list[float] = field(default_factory=list)


def simulate(way: Way, seed: int, population: Population, trading: Trading, markets: RememberedMarkets) -> Counted:
    """A week; `markets`: of the sessions that are in the database."""
    with patch("market.freshness.markets_at", markets):
        return _Week(way, seed, population, trading).run()


class _Week:
    """The state of a week: the stocks, and the latest requests."""

    def __init__(self, way: Way, seed: int, population: Population, trading: Trading) -> None:
        self.counted = Counted()
        self._way, self._seed, self._trading = way, seed, trading
        self._days, self._logins = population.days, population.logins
        stocks = [SimulatedStock(f"S{rank}", exchange) for rank, exchange in enumerate(population.exchanges, 1)]
        self._holdings = [[stocks[number] for number in held] for held in population.holdings]
        self._held = list(dict.fromkeys(stock for held in self._holdings for stock in held))
        self._by_check: dict[str, OrderedDict[SimulatedStock, None]] = {}
        for stock in self._held:
            self._by_check.setdefault(stock.exchange, OrderedDict())[stock] = None
        self._ahead = time_ahead()
        self._seen: set[int] = set()
        self._asked: deque[tuple[datetime, int]] = deque()

    def run(self) -> Counted:
        events: list[_Event] = [(now, partial(self._log_in, now, user)) for now, user in self._logins]
        days = [datetime.combine(day, SCHEDULE) for day in self._days if day.weekday() < 5]
        events += [(now, partial(self._run_schedule, now)) for now in days]
        if self._way.is_warm:
            events += self._settle_and_warm()
        for _, happen in sorted(events, key=itemgetter(0)):
            happen()
        return self.counted

    def _settle_and_warm(self) -> Iterator[_Event]:
        start = datetime.combine(self._days[0], time(), UTC)
        for hour in range(len(self._days) * 24):
            now = start + timedelta(hours=hour)
            yield now, partial(self._fetch_charts, self._held[hour % SETTLE_HOURS :: SETTLE_HOURS], now, SETTLE)
        for minute in range(len(self._days) * 24 * 60):
            now = start + minute * MINUTE + WARM_SECOND
            yield now, partial(self._keep_warm, now)

    def _log_in(self, now: datetime, user: int) -> None:
        held, counted = self._holdings[user], self.counted
        stale, counts = stale_at(held, now), _counts(now)
        if counts:
            counted.logins += 1
            counted.instant += not stale
            counted.age += ((now - stock.checked_at) / MINUTE for stock in held if stock.checked_at)
            counted.missed += self._trading.missed(held, now)
        self._fetch(stale, now, LOGINS)
        if counts:
            counted.missed_after += self._trading.missed(held, now)
        boost = settings.JOB_PROCESSOR.stock_jobs.portfolio_priority.portfolio_priority_boost
        for stock in held:
            stock.interest += boost if user in self._seen else FIRST_SCORE
        self._seen.add(user)

    def _run_schedule(self, now: datetime) -> None:
        self._fetch(stale_at(self._held, now), now, SCHEDULED)

    def _keep_warm(self, now: datetime) -> None:
        """Do as `fetch_warm` does."""
        going_stale = GoingStale(now, self._ahead, self._by_check)
        # An exchange's stocks go stale in the order of their checks. Without an urgent stock there is no batch.
        oldest = (next(iter(stocks)) for stocks in self._by_check.values())
        if not any(going_stale.is_urgent(stock) and going_stale.includes(stock) for stock in oldest):
            return
        found = [stock for stocks in self._by_check.values() for stock in takewhile(going_stale.includes, stocks)]
        found.sort(key=attrgetter("interest"), reverse=True)
        left = self._requests_left(now)
        self._fetch(fill_batches(found, going_stale.is_urgent, quote_size(), left), now, WARM, left)

    def _requests_left(self, now: datetime) -> int:
        """The requests that the background may send now."""
        while self._asked and self._asked[0][0] <= now - WINDOW:
            self._asked.popleft()
        allowed = allowed_in(RATE_LIMIT, settings.JOB_PROCESSOR.stock_jobs.data_fetch.background_share)
        return max(0, allowed - sum(requests for _, requests in self._asked))

    def _fetch(self, stocks: Sequence[SimulatedStock], now: datetime, cause: str, left: int | None = None) -> None:
        """Fetch stocks by quotes, and by charts where quotes are not enough.

        With `left` requests, remaining charts wait for the next call.
        """
        if not self._way.has_quotes:
            self._fetch_charts(stocks, now, cause)
            return
        by_quote: list[SimulatedStock] = []
        by_chart: list[SimulatedStock] = []
        for stock in stocks:
            (by_quote if self._continues(stock, now) else by_chart).append(stock)
        quotes = math.ceil(sum(stock.checked_at is not None for stock in stocks) / quote_size())
        self._note(by_quote, quotes, now, cause)
        self._fetch_charts(by_chart if left is None else by_chart[: max(0, left - quotes)], now, cause)

    def _fetch_charts(self, stocks: Sequence[SimulatedStock], now: datetime, cause: str) -> None:
        self._note(stocks, len(stocks), now, cause)
        self.counted.charts += len(stocks) if _counts(now) else 0

    def _note(self, stocks: Sequence[SimulatedStock], requests: int, now: datetime, cause: str) -> None:
        """Note the answers for stocks."""
        for stock in stocks:
            stock.checked_at, stock.source = now, "yahoo_finance"
            stock.last_bar_on = date.max  # each session has a bar
            self._by_check[stock.exchange].move_to_end(stock)
        self._asked.append((now, requests))
        if _counts(now):
            self.counted.requests[cause] += requests
            self.counted.on_days_off += requests if now.weekday() >= 5 else 0

    def _continues(self, stock: SimulatedStock, now: datetime) -> bool:
        """Whether a quote continues the stock's bars (`market.prices.continuity`).

        It needs the last price of the session before.
        """
        session = self._trading.session_at(stock.exchange, now)
        if stock.checked_at is None or stock.checked_at < session.closed_before:
            return False
        is_first = stock.checked_at < session.opens
        return not (is_first and random.Random(f"{self._seed} {stock.symbol} {session.number}").random() < BREAK)


def _counts(now: datetime) -> bool:
    return now.date() >= MONDAY
