"""A simulated week: requests to the source, and how old prices are at a login, with exchanges' sessions and without.

What is stale is decided by `stale_at`, as by a schedule and at a login. With no sessions in the database that is all
that was checked 30 minutes ago or earlier; with them, only what can have changed since.

The model, by seed: 1,000 users, 3,000 stocks. The stock of rank r is held in proportion to 1/r, and by users of its
part of the world four times as often. A user has 10 holdings (median; log-normal, at most 100), and logs in 1.2 times
on a weekday (mean; log-normal among users) and 0.5 times on Saturday and on Sunday: in the morning, at noon or in the
evening by the user's clock. On weekdays at 9:00 UTC a schedule asks for all that is held and stale. A fetch takes no
time, always succeeds, and is one request. Three days before the week are simulated and not counted.
"""

import math
import random
import statistics
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from heapq import nlargest
from itertools import accumulate
from operator import itemgetter
from zoneinfo import ZoneInfo

import django

django.setup()

from django.core.management import call_command

from benchmarks.options import Options
from benchmarks.report import Spread, publish
from market.calendar.exchange_calendars import sessions
from market.calendar.exchanges import NEVER_CLOSES, exchange_of
from market.freshness import stale_at
from market.models import Stock, TradingSession

ALL_DAYS = [date(2026, 11, 13) + timedelta(days=number) for number in range(10)]
MONDAY = ALL_DAYS[3]
"""A week without holidays in New York, London or Tokyo; each exchange's own calendar counts."""
SCHEDULE = time(9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

# Percent of the stocks, by Yahoo's code of the exchange; shares of the users, by their clock.
_EUROPE = {"LSE": 8, "GER": 6, "PAR": 3, "AMS": 2, "STO": 2}
EXCHANGES = {"NMS": 35, "NYQ": 25, "TOR": 5, "SAO": 2} | _EUROPE | {"JPX": 5, "HKG": 2, "ASX": 2, "CCY": 1, "CCC": 2}
HOMES = {"America/New_York": 0.6, "Europe/Berlin": 0.3, "Asia/Tokyo": 0.1}
HOME_BIAS = 4
LOGIN_HOURS = ((8.5, 1.0), (12.75, 0.75), (19.0, 2.0))
"""Mean and standard deviation of each."""
LOGINS_A_WEEKDAY, LOGINS_A_DAY_OFF = 1.2, 0.5


@dataclass
class Counted:
    """What came of a week. Ages are in minutes, one for each holding of each login."""

    logins: int = 0
    by_login: int = 0
    by_schedule: int = 0
    on_days_off: int = 0
    age: list[float] = field(default_factory=list)
    missed: list[float] = field(default_factory=list)
    missed_after: list[float] = field(default_factory=list)


class Trading:
    """How long each exchange has traded."""

    def __init__(self, calendars: Iterable[str]) -> None:
        start = datetime.combine(ALL_DAYS[0], time(), UTC) - timedelta(days=15)
        self.sessions = {name: sessions(name, start, start + timedelta(days=45)) for name in calendars}
        self._opens = {name: [opens for opens, _ in found] for name, found in self.sessions.items()}
        self._before = {
            name: list(accumulate((closes - opens for opens, closes in found), initial=timedelta()))
            for name, found in self.sessions.items()
        }

    def missed(self, stocks: Iterable[Stock], now: datetime) -> Iterator[float]:
        """For how many minutes each stock's exchange has traded since the stock was checked."""
        for stock in stocks:
            assert stock.checked_at
            calendar = exchange_of(stock.exchange).calendar
            if calendar == NEVER_CLOSES:
                yield (now - stock.checked_at) / MINUTE
            else:
                yield (self._at(calendar, now) - self._at(calendar, stock.checked_at)) / MINUTE

    def _at(self, calendar: str, moment: datetime) -> timedelta:
        last = bisect_right(self._opens[calendar], moment) - 1
        opens, closes = self.sessions[calendar][last]
        return self._before[calendar][last] + min(moment, closes) - opens


def main() -> None:
    options = Options("week", __doc__)
    options.add_size("runs", "weeks, each with a seed of its own", 3, smallest=1)
    options.add_size("users", "users", 1_000, smallest=20)
    options.add_size("stocks", "stocks", 3_000, smallest=50)
    arguments = options.parse()
    call_command("migrate", verbosity=0)
    calendars = {exchange_of(code).calendar for code in EXCHANGES} - {NEVER_CLOSES}
    trading = Trading(calendars)
    figures: dict[str, list[float]] = {}
    for seed in range(1, arguments.runs + 1):
        requests: dict[str, int] = {}
        for way in ("older than 30 minutes", "by sessions"):
            TradingSession.objects.all().delete()
            if way == "by sessions":
                write_sessions(trading)
            counted = simulate(seed, trading, arguments.users, arguments.stocks)
            requests[way] = counted.by_login + counted.by_schedule
            for name, value in describe(counted).items():
                figures.setdefault(f"{name}: {way}", []).append(value)
        figures.setdefault("logins", []).append(counted.logins)
        ratio = requests["by sessions"] / requests["older than 30 minutes"]
        figures.setdefault("requests: by sessions against older than 30 minutes", []).append(ratio)
    publish(
        "week",
        f"A week of {arguments.users} users and {arguments.stocks} stocks, one seed a run",
        "requests, minutes, and ratios",
        {name: Spread.of(values) for name, values in sorted(figures.items())},
    )


def write_sessions(trading: Trading) -> None:
    TradingSession.objects.bulk_create(
        TradingSession(calendar=calendar, opens_at=opens_at, closes_at=closes_at)
        for calendar, found in trading.sessions.items()
        for opens_at, closes_at in found
    )


def describe(counted: Counted) -> dict[str, float]:
    described: dict[str, float] = {
        "requests": counted.by_login + counted.by_schedule,
        "requests of the schedule": counted.by_schedule,
        "requests on Saturday and Sunday": counted.on_days_off,
    }
    for name, ages in (
        ("age at login", counted.age),
        ("trading missed at login", counted.missed),
        ("trading missed once fetched", counted.missed_after),
    ):
        cuts = statistics.quantiles(ages, n=20, method="inclusive")
        described |= {f"{name}, p50": cuts[9], f"{name}, p95": cuts[18]}
    return described


def simulate(seed: int, trading: Trading, user_count: int, stock_count: int) -> Counted:
    """A week by this seed, with the sessions that are in the database."""
    chance = random.Random(seed)
    stocks = make_stocks(chance, stock_count)
    homes = chance.choices(list(HOMES), list(HOMES.values()), k=user_count)
    users = [(home, choose(chance, stocks, home)) for home in homes]
    held = list({stock.symbol: stock for _, holdings in users for stock in holdings}.values())
    logins = [(now, holdings, True) for home, holdings in users for now in log_in(chance, home)]
    schedule = [(datetime.combine(day, SCHEDULE), held, False) for day in ALL_DAYS if day.weekday() < 5]
    counted = Counted()
    for now, asked_for, is_login in sorted([*logins, *schedule], key=itemgetter(0)):
        counts = now.date() >= MONDAY
        if is_login and counts:
            counted.logins += 1
            counted.age += ((now - stock.checked_at) / MINUTE for stock in asked_for if stock.checked_at)
            counted.missed += trading.missed(asked_for, now)
        stale = stale_at(asked_for, now)
        for stock in stale:
            stock.checked_at, stock.source = now, "yahoo_finance"
        if not counts:
            continue
        counted.on_days_off += len(stale) if now.weekday() >= 5 else 0
        if is_login:
            counted.by_login += len(stale)
            counted.missed_after += trading.missed(asked_for, now)
        else:
            counted.by_schedule += len(stale)
    return counted


def make_stocks(chance: random.Random, count: int) -> list[Stock]:
    """The most popular first; exchanges are independent of that."""
    codes = chance.choices(list(EXCHANGES), list(EXCHANGES.values()), k=count)
    return [Stock(symbol=f"S{rank}", exchange=code) for rank, code in enumerate(codes, 1)]


def log_in(chance: random.Random, home: str) -> Iterator[datetime]:
    """The moments at which a user logs in."""
    activity = chance.lognormvariate(-0.5, 1)  # 1 on average
    for day in ALL_DAYS:
        expected = activity * (LOGINS_A_WEEKDAY if day.weekday() < 5 else LOGINS_A_DAY_OFF)
        for _login in range(poisson(chance, expected)):
            hour = min(23.99, max(0.0, chance.gauss(*chance.choice(LOGIN_HOURS))))
            yield (datetime.combine(day, time(), ZoneInfo(home)) + timedelta(hours=hour)).astimezone(UTC)


def choose(chance: random.Random, stocks: list[Stock], home: str) -> list[Stock]:
    """What a user holds: stocks drawn by weight without replacement (Efraimidis and Spirakis)."""
    region = home.partition("/")[0]
    keys = {}
    for rank, stock in enumerate(stocks, 1):
        is_near = exchange_of(stock.exchange).timezone.startswith(region)
        keys[rank] = math.log(1 - chance.random()) * rank / (HOME_BIAS if is_near else 1)
    count = min(100, max(1, round(chance.lognormvariate(math.log(10), 0.8))))
    return [stocks[rank - 1] for rank in nlargest(count, keys, key=keys.__getitem__)]


def poisson(chance: random.Random, mean: float) -> int:
    """How often something happens that happens `mean` times on average."""
    number, product = 0, chance.random()
    while product > math.exp(-mean):
        number, product = number + 1, product * chance.random()
    return number


if __name__ == "__main__":
    main()
