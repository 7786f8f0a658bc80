"""A simulated week: requests to the source, and the share of instant logins, for several ways of fetching.

A login is instant if no held stock is stale. The ways:

- "older than 30 minutes": a login, and a schedule on weekdays at 9:00 UTC, fetch each stock that was checked 30
  minutes ago or earlier. Each stock is a request.
- "by sessions": the same, without stocks that cannot have changed since their check, as their exchange was closed.
- "quotes": the same with quotes. A request answers for up to 50 stocks.
- "quotes, warm and settle": the schedule "Warm" also looks for held stocks that go stale soon, at second 30 of each
  minute. A settle schedule fetches the chart of each held stock once in seven days, evenly over the hours.

The product's own functions decide which stocks are stale (`stale_at`), which stocks go stale soon (`GoingStale`), and
which stocks are fetched now (`fill_batches`). The schedule "Warm" may use 0.7 of 60 requests a minute, and all
requests of the last minute count. Where the requests do not suffice, the stocks of most interest come first, and
further charts wait. Logins and the other schedules have no limit.

The model, by seed: 1,000 users, 3,000 stocks. The stock of rank r is held in proportion to 1/r, and by users of its
part of the world four times as often. A user has 10 holdings (median; log-normal, at most 100), and logs in 1.2 times
on a weekday (mean; log-normal among users) and 0.5 times on Saturday and on Sunday: in the morning, at noon or in the
evening by the user's clock. With habits, each user prefers one of the three, with a standard deviation of 0.4 hours.

A fetch takes no time and always succeeds. A stock's first fetch is a chart. A stock also needs a chart after its quote
if the last check is older than the close of the session before; an exchange that never closes has a session each day.
When a quote first meets a session, one stock of 250 needs a chart for another reason. Three days before the week are
simulated and not counted. All days are days in UTC.
"""

import statistics
from collections.abc import Mapping

import django

django.setup()

from django.db import connection

from benchmarks.options import Options
from benchmarks.report import Spread, publish
from benchmarks.week_fetching import CAUSES, Counted, Way, simulate
from benchmarks.week_model import Population, RememberedMarkets, Trading, populate
from market.calendar.exchanges import exchange_of
from market.models import TradingSession

BY_AGE = Way("older than 30 minutes", has_sessions=False)
WAYS = (
    BY_AGE,
    Way("by sessions"),
    Way("quotes", has_quotes=True),
    Way("quotes, warm and settle", has_quotes=True, is_warm=True),
)
POPULATIONS = {"week": "any time of day", "week-habits": "habits"}
"""How users log in, by the name of the results."""


def main() -> None:
    options = Options("week", __doc__)
    options.add_size("runs", "weeks, each with a seed of its own", 3, smallest=1)
    options.add_size("users", "users", 1_000, smallest=20)
    options.add_size("stocks", "stocks", 3_000, smallest=20)
    options.add_size("days", "days that count, from a Monday on; at most 7", 7, smallest=1)
    arguments = options.parse()
    with connection.schema_editor() as editor:
        editor.create_model(TradingSession)  # the only table that is read; all migrations take seconds
    sizes = arguments.users, arguments.stocks, arguments.days
    populations = {
        name: [populate(seed, *sizes, have_habits=name == "week-habits") for seed in range(1, arguments.runs + 1)]
        for name in POPULATIONS
    }
    codes = {code for drawn in populations.values() for population in drawn for code in population.exchanges}
    trading = Trading({found.calendar for code in codes if (found := exchange_of(code)).calendar})
    markets = {has_sessions: RememberedMarkets(trading) for has_sessions in (False, True)}
    for name, logins in POPULATIONS.items():
        figures: dict[str, list[float]] = {}
        for seed, population in enumerate(populations[name], 1):
            for label, value in compare(seed, population, trading, markets).items():
                figures.setdefault(label, []).append(value)
        publish(
            name,
            f"A week of {arguments.users} users ({logins}) and {arguments.stocks} stocks, one seed a run",
            "requests, minutes, shares and ratios",
            {label: Spread.of(values) for label, values in sorted(figures.items())},
        )


def compare(
    seed: int, population: Population, trading: Trading, markets: Mapping[bool, RememberedMarkets]
) -> dict[str, float]:
    """The figures of all ways; `markets`: without sessions and with them."""
    figures: dict[str, float] = {}
    by_age = 0
    for way in WAYS:
        write_sessions(trading if way.has_sessions else None)
        counted = simulate(way, seed, population, trading, markets[way.has_sessions])
        figures |= {f"{name}: {way.name}": value for name, value in describe(counted).items()}
        figures["logins"] = counted.logins
        if way is BY_AGE:
            by_age = counted.requests.total()
        else:
            figures[f"requests against older than 30 minutes: {way.name}"] = counted.requests.total() / by_age
    return figures


def write_sessions(trading: Trading | None) -> None:
    """Replace the sessions in the database."""
    TradingSession.objects.all().delete()
    TradingSession.objects.bulk_create(
        TradingSession(calendar=calendar, opens_at=opens_at, closes_at=closes_at)
        for calendar, found in (trading.sessions if trading else {}).items()
        for opens_at, closes_at in found
    )


def describe(counted: Counted) -> dict[str, float]:
    described: dict[str, float] = {
        "requests": counted.requests.total(),
        **{f"requests of {cause}": counted.requests[cause] for cause in CAUSES},
        "requests for charts": counted.charts,
        "requests on Saturday and Sunday": counted.on_days_off,
        "share of instant logins": counted.instant / counted.logins,
    }
    for name, ages in (
        ("age at login", counted.age),
        ("trading missed at login", counted.missed),
        ("trading missed once fetched", counted.missed_after),
    ):
        cuts = statistics.quantiles(ages, n=20, method="inclusive")
        described |= {f"{name}, p50": cuts[9], f"{name}, p95": cuts[18]}
    return described


if __name__ == "__main__":
    main()
