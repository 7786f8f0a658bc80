"""The model of `week`: stocks, users with holdings, logins, and the times at which exchanges trade."""

import math
import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from heapq import nlargest
from itertools import accumulate
from typing import NamedTuple
from zoneinfo import ZoneInfo

from market.calendar.exchange_calendars import sessions
from market.calendar.exchanges import exchange_of
from market.calendar.sessions import Market, markets_at
from market.models import Stock

MONDAY = date(2026, 11, 16)
"""The first day that counts, of a week without holidays in New York, London or Tokyo; each exchange's own calendar
counts."""
DAYS_BEFORE = 3
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

# Percent of the stocks, by Yahoo's code of the exchange; shares of the users, by their clock.
_EUROPE = {"LSE": 8, "GER": 6, "PAR": 3, "AMS": 2, "STO": 2}
EXCHANGES = {"NMS": 35, "NYQ": 25, "TOR": 5, "SAO": 2} | _EUROPE | {"JPX": 5, "HKG": 2, "ASX": 2, "CCY": 1, "CCC": 2}
HOMES = {"America/New_York": 0.6, "Europe/Berlin": 0.3, "Asia/Tokyo": 0.1}
HOME_BIAS = 4
LOGIN_HOURS = ((8.5, 1.0), (12.75, 0.75), (19.0, 2.0))
"""Mean and standard deviation of each."""
HABIT_DEVIATION = 0.4
"""Hours: the standard deviation of the logins of a user with a habit."""
LOGINS_A_WEEKDAY, LOGINS_A_DAY_OFF = 1.2, 0.5


@dataclass(eq=False)
class SimulatedStock:
    """A stock, with the columns that decide its freshness."""

    symbol: str
    exchange: str
    status: str = Stock.Status.ACTIVE
    checked_at: datetime | None = None
    source: str = ""
    last_bar_on: date | None = None
    interest: int = 0


@dataclass(frozen=True)
class Population:
    """The days in UTC, the exchange of each stock, the holdings of each user, and all logins.

    Stocks and users are numbers.
    """

    days: Sequence[date]
    exchanges: Sequence[str]
    holdings: Sequence[Sequence[int]]
    logins: Sequence[tuple[datetime, int]]


class Session(NamedTuple):
    """The last session that has opened: its number, its opening, and the close of the session before."""

    number: int
    opens: datetime
    closed_before: datetime


class Trading:
    """The sessions of exchanges, and how long each exchange has traded."""

    def __init__(self, calendars: Iterable[str]) -> None:
        start = datetime.combine(MONDAY, time(), UTC) - (15 + DAYS_BEFORE) * DAY
        self.sessions = {name: sessions(name, start, start + 45 * DAY) for name in calendars}
        self._opens = {name: [opens for opens, _ in found] for name, found in self.sessions.items()}
        self._before = {
            name: list(accumulate((closes - opens for opens, closes in found), initial=timedelta()))
            for name, found in self.sessions.items()
        }

    def session_at(self, exchange: str, now: datetime) -> Session:
        """The last session of an exchange; the day in UTC of an exchange that never closes."""
        calendar = exchange_of(exchange).calendar
        if not calendar:
            midnight = datetime.combine(now.date(), time(), UTC)
            return Session(now.toordinal(), midnight, midnight)
        number = bisect_right(self._opens[calendar], now) - 1
        return Session(number, self._opens[calendar][number], self.sessions[calendar][number - 1][1])

    def missed(self, stocks: Iterable[SimulatedStock], now: datetime) -> Iterator[float]:
        """For how many minutes each stock's exchange has traded since the stock was checked."""
        for stock in stocks:
            assert stock.checked_at
            calendar = exchange_of(stock.exchange).calendar
            if not calendar:
                yield (now - stock.checked_at) / MINUTE
            else:
                yield (self._at(calendar, now) - self._at(calendar, stock.checked_at)) / MINUTE

    def _at(self, calendar: str, moment: datetime) -> timedelta:
        last = bisect_right(self._opens[calendar], moment) - 1
        opens, closes = self.sessions[calendar][last]
        return self._before[calendar][last] + min(moment, closes) - opens


class RememberedMarkets:
    """`markets_at`, with one query for each time between two openings or closes. Only they change the answer."""

    def __init__(self, trading: Trading) -> None:
        self._calendars = list(trading.sessions)
        self._changes = sorted({moment for found in trading.sessions.values() for both in found for moment in both})
        self._known: dict[int, dict[str, Market]] = {}

    def __call__(self, now: datetime, calendars: Iterable[str]) -> dict[str, Market]:
        number = bisect_right(self._changes, now)
        if number not in self._known:
            self._known[number] = markets_at(now, self._calendars)
        known = self._known[number]
        return {calendar: known[calendar] for calendar in calendars if calendar in known}


def populate(seed: int, user_count: int, stock_count: int, day_count: int, *, have_habits: bool) -> Population:
    """The population of a seed. With habits and without, users and holdings are the same."""
    chance = random.Random(seed)
    days = [MONDAY + number * DAY for number in range(-DAYS_BEFORE, day_count)]
    # The most popular first; exchanges are independent of that.
    exchanges = chance.choices(list(EXCHANGES), list(EXCHANGES.values()), k=stock_count)
    homes = chance.choices(list(HOMES), list(HOMES.values()), k=user_count)
    divisors = {home: _divisors(home, exchanges) for home in HOMES}
    holdings = [_choose(chance, divisors[home]) for home in homes]
    logins = [
        (now, user)
        for user, home in enumerate(homes)
        for now in _log_in(chance, home, days, has_habit=have_habits)
        if now.date() <= days[-1]
    ]
    return Population(days, exchanges, holdings, sorted(logins))


def _log_in(chance: random.Random, home: str, days: Iterable[date], *, has_habit: bool) -> Iterator[datetime]:
    """The moments at which a user logs in."""
    activity = chance.lognormvariate(-0.5, 1)  # 1 on average
    hours: Sequence[tuple[float, float]] = LOGIN_HOURS
    if has_habit:
        hours = [(chance.choice(LOGIN_HOURS)[0], HABIT_DEVIATION)]
    for day in days:
        expected = activity * (LOGINS_A_WEEKDAY if day.weekday() < 5 else LOGINS_A_DAY_OFF)
        for _login in range(_poisson(chance, expected)):
            hour = min(23.99, max(0.0, chance.gauss(*chance.choice(hours))))
            yield (datetime.combine(day, time(), ZoneInfo(home)) + timedelta(hours=hour)).astimezone(UTC)


def _divisors(home: str, exchanges: Iterable[str]) -> list[float]:
    """How unlikely users of a home are to hold each stock."""
    region = home.partition("/")[0]
    return [
        rank / (HOME_BIAS if exchange_of(exchange).timezone.startswith(region) else 1)
        for rank, exchange in enumerate(exchanges, 1)
    ]


def _choose(chance: random.Random, divisors: Sequence[float]) -> list[int]:
    """What a user holds: stocks drawn by weight without replacement (Efraimidis and Spirakis)."""
    keys = [math.log(1 - chance.random()) * divisor for divisor in divisors]
    count = min(100, max(1, round(chance.lognormvariate(math.log(10), 0.8))))
    return nlargest(count, range(len(keys)), key=keys.__getitem__)


def _poisson(chance: random.Random, mean: float) -> int:
    """How often something happens that happens `mean` times on average."""
    number, product = 0, chance.random()
    while product > math.exp(-mean):
        number, product = number + 1, product * chance.random()
    return number
