"""Daily bars, and the answers that Yahoo's chart endpoint makes of them."""

import datetime
import math
import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

VALID_RANGES = ("1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max")
FULL_EXCHANGE_NAMES = {"NMS": "NasdaqGS", "NYQ": "NYSE", "PCX": "NYSEArca"}

_DAY = datetime.timedelta(days=1)
_EPOCH = datetime.date(2020, 1, 1)
# Of log prices: how high, and how many days a radian takes.
_WAVES = ((0.10, 60.0), (0.05, 19.0), (0.02, 5.0))


@dataclass(frozen=True)
class Bar:
    """One day of a stock, in its currency."""

    date: datetime.date
    open: float
    high: float
    low: float
    close: float
    adj_close: float
    volume: int


class Hours(NamedTuple):
    """A trading day's times in the exchange's time zone: where pre-market begins … where post-market ends."""

    pre: datetime.time
    start: datetime.time
    end: datetime.time
    post: datetime.time


ALL_DAY = Hours(datetime.time(0), datetime.time(0), datetime.time(23, 59), datetime.time(23, 59))
OFFICE_HOURS = Hours(datetime.time(9), datetime.time(9), datetime.time(17, 30), datetime.time(17, 30))
HOURS = {
    "America/New_York": Hours(datetime.time(4), datetime.time(9, 30), datetime.time(16), datetime.time(20)),
    "Europe/London": Hours(datetime.time(7, 15), datetime.time(8), datetime.time(16, 30), datetime.time(17, 15)),
}


@dataclass(frozen=True)
class Listing:
    """A symbol that Yahoo knows. `bars` are in the order of their dates."""

    symbol: str
    bars: tuple[Bar, ...]
    currency: str = "USD"
    exchange: str = "NMS"
    timezone: str = "America/New_York"
    name: str = ""
    instrument: str = "EQUITY"
    isin: str = ""
    splits: Mapping[datetime.date, tuple[int, int]] = field(default_factory=dict)
    dividends: Mapping[datetime.date, float] = field(default_factory=dict)

    @property
    def hours(self) -> Hours:
        if self.instrument in ("CURRENCY", "CRYPTOCURRENCY"):
            return ALL_DAY
        return HOURS.get(self.timezone, OFFICE_HOURS)

    def moment(self, day: datetime.date, time: datetime.time) -> int:
        """Unix seconds of `time` at the exchange on `day`."""
        return int(datetime.datetime.combine(day, time, ZoneInfo(self.timezone)).timestamp())

    def opening(self, day: datetime.date) -> int:
        """Unix seconds of the session's start on `day`: the timestamp of its bar."""
        return self.moment(day, self.hours.start)


class ChartError(Exception):
    """What Yahoo answers instead of a chart."""

    def __init__(self, status: int, code: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"chart": {"result": None, "error": {"code": code, "description": description}}}


def weekdays_back(until: datetime.date) -> Iterator[datetime.date]:
    """The weekdays from `until`, or the last one before it, into the past."""
    day = until
    while True:
        if day.weekday() < 5:
            yield day
        day -= _DAY


def last_weekday(until: datetime.date | None = None) -> datetime.date:
    """The last weekday that is not after `until`, by default yesterday (UTC): today's session may not have begun."""
    return next(weekdays_back(until or datetime.datetime.now(datetime.UTC).date() - _DAY))


def daily_bars(symbol: str, days: int, until: datetime.date | None = None) -> list[Bar]:
    """`days` plausible bars, one each weekday, the last on or before `until`.

    A bar depends on its symbol and its date alone, so that a window that grows keeps what it had. `until`
    is yesterday (UTC) by default. `adj_close` is 1 % below the close, as if a dividend had been paid since.
    """
    weekdays = weekdays_back(last_weekday(until))
    dates = [next(weekdays) for _ in range(days + 1)][::-1]
    character = random.Random(symbol)
    base = character.uniform(20, 400)
    usual_volume = math.exp(character.uniform(11, 18))
    waves = [(size, length * character.uniform(0.8, 1.2), character.uniform(0, 7)) for size, length in _WAVES]

    bars = []
    previous = base
    for day in dates:
        age = (day - _EPOCH).days
        chance = random.Random(f"{symbol} {day}")
        trend = 0.08 * age / 365 + sum(size * math.sin(age / length + phase) for size, length, phase in waves)
        close = round(base * math.exp(trend + chance.gauss(0, 0.008)), 2)
        opening = round(previous * math.exp(chance.gauss(0, 0.003)), 2)
        high = round(max(opening, close) * (1 + abs(chance.gauss(0, 0.005))), 2)
        low = round(min(opening, close) * (1 - abs(chance.gauss(0, 0.005))), 2)
        volume = int(usual_volume * math.exp(chance.gauss(0, 0.3)))
        bars.append(Bar(day, opening, high, low, close, round(close * 0.99, 6), volume))
        previous = close
    return bars[1:]  # the first one has no day before it to open from


def chart_body(
    listing: Listing, params: Mapping[str, str], *, blank: Collection[datetime.date] = ()
) -> dict[str, Any]:
    """The answer to a request with `params`: `range`, or `period1` and `period2`, `interval`, `events`.

    The prices of the dates in `blank` are null, their volume stays. ChartError for what Yahoo refuses.
    """
    if params.get("interval", "1d") != "1d":
        raise ChartError(422, "Unprocessable Entity", f"Invalid input - interval={params['interval']} is not served")
    bars = _requested(listing, params)
    result: dict[str, Any] = {"meta": _meta(listing, bars, params)}
    if bars:
        result["timestamp"] = [listing.opening(bar.date) for bar in bars]
        if events := _events(listing, bars, params):
            result["events"] = events

    def column(name: str) -> list[float | None]:
        return [None if bar.date in blank else getattr(bar, name) for bar in bars]

    quote = {name: column(name) for name in ("open", "high", "low", "close")} if bars else {}
    if bars:
        quote["volume"] = [bar.volume for bar in bars]
    adjusted = {"adjclose": column("adj_close")} if bars else {}
    result["indicators"] = {"quote": [quote], "adjclose": [adjusted]}
    return {"chart": {"result": [result], "error": None}}


def _requested(listing: Listing, params: Mapping[str, str]) -> Sequence[Bar]:
    bars = listing.bars
    if "period1" in params or "period2" in params:
        start, end = int(params.get("period1", 0)), int(params.get("period2", 2**40))
        if bars and end < listing.opening(bars[0].date):
            reason = f"Data doesn't exist for startDate = {start}, endDate = {end}"
            raise ChartError(400, "Bad Request", reason)
        return [bar for bar in bars if start <= listing.opening(bar.date) <= end]  # Yahoo includes the end
    if not bars:
        return bars
    wanted = params.get("range", "1d")
    last = bars[-1].date
    if wanted == "max":
        return bars
    if wanted == "ytd":
        return [bar for bar in bars if bar.date.year == last.year]
    match = re.fullmatch(r"(\d+)(d|wk|mo|y)", wanted)
    if match is None:
        raise ChartError(422, "Unprocessable Entity", f"Invalid input - range={wanted} is not supported")
    count, unit = int(match[1]), match[2]
    if unit == "d":
        return bars[-count:]
    days = {"wk": 7 * count, "mo": round(30.44 * count), "y": round(365.25 * count)}[unit]
    return [bar for bar in bars if bar.date > last - days * _DAY]


def _events(listing: Listing, bars: Sequence[Bar], params: Mapping[str, str]) -> dict[str, Any]:
    kinds = set(re.split(r"[,|]", params.get("events", "")))
    first, last = bars[0].date, bars[-1].date
    events: dict[str, Any] = {}
    if "div" in kinds:
        paid = {day: amount for day, amount in listing.dividends.items() if first <= day <= last}
        events["dividends"] = {
            str(listing.opening(day)): {"amount": amount, "date": listing.opening(day)} for day, amount in paid.items()
        }
    if kinds & {"split", "splits"}:
        split = {day: ratio for day, ratio in listing.splits.items() if first <= day <= last}
        events["splits"] = {
            str(listing.opening(day)): {
                "date": listing.opening(day),
                "numerator": new,
                "denominator": old,
                "splitRatio": f"{new}:{old}",
            }
            for day, (new, old) in split.items()
        }
    return {kind: found for kind, found in events.items() if found}


def _meta(listing: Listing, bars: Sequence[Bar], params: Mapping[str, str]) -> dict[str, Any]:
    known = listing.bars
    meta: dict[str, Any] = {
        "currency": listing.currency,
        "symbol": listing.symbol,
        "exchangeName": listing.exchange,
        "fullExchangeName": FULL_EXCHANGE_NAMES.get(listing.exchange, listing.exchange),
        "instrumentType": listing.instrument,
    }
    today = datetime.datetime.now(ZoneInfo(listing.timezone))
    offset = today.utcoffset() or datetime.timedelta()
    zone = {"timezone": today.tzname(), "gmtoffset": int(offset.total_seconds())}
    pre, start, end, post = (listing.moment(today.date(), time) for time in listing.hours)
    if known:
        year, latest = known[-252:], known[-1]
        meta |= {
            "firstTradeDate": listing.opening(known[0].date),
            "regularMarketTime": min(listing.moment(latest.date, listing.hours.end), int(today.timestamp())),
            "regularMarketPrice": latest.close,
            "fiftyTwoWeekHigh": max(bar.high for bar in year),
            "fiftyTwoWeekLow": min(bar.low for bar in year),
            "regularMarketDayHigh": latest.high,
            "regularMarketDayLow": latest.low,
            "regularMarketVolume": latest.volume,
        }
        before = [bar for bar in known if bar.date < bars[0].date] if bars else known
        meta["chartPreviousClose"] = before[-1].close if before else known[0].open
    return meta | {
        "hasPrePostMarketData": pre != start,
        "gmtoffset": zone["gmtoffset"],
        "timezone": zone["timezone"],
        "exchangeTimezoneName": listing.timezone,
        "longName": listing.name or listing.symbol,
        "shortName": listing.name or listing.symbol,
        "priceHint": 4 if listing.instrument == "CURRENCY" else 2,
        "currentTradingPeriod": {
            "pre": {**zone, "start": pre, "end": start},
            "regular": {**zone, "start": start, "end": end},
            "post": {**zone, "start": end, "end": post},
        },
        "dataGranularity": "1d",
        "range": params.get("range", ""),
        "validRanges": list(VALID_RANGES),
    }
