"""Stores the answers of sources: new and changed bars, and the facts about the stock."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from market.calendar.sessions import days_without_session
from market.models import PriceBar, Stock
from market.prices.changes import tell_changes
from market.prices.decisions import NOT_WRITTEN, Decided, decisions_of
from market.prices.suspicion import Close, suspicious_days
from market.prices.volatility import RETURNS, realised_volatility
from market.sources.base import AS_TRADED, Bar, History
from market.splits import note_splits
from market.sql import market_sql
from market.sql.base import BarRow
from market.text import clean_text

MISSES_UNTIL_PARKED = 3
LONGEST_CLOSURE = timedelta(days=15)
"""An answer that begins so much later than requested begins with the first bar of the stock's history."""
PRICE_TOLERANCE = 1e-4
"""The tolerance for a settled price, relative to the stored price: less than any dividend moves a price."""
SPARE = 5
"""Closes that are read beyond those of the volatility, because some may be suspicious."""
_TOLD = ("name", "exchange", "currency")


@dataclass(frozen=True)
class Stored:
    """The changes by a fetch. `written` counts new, changed and removed bars.

    `outdated_from` is the day of the first stored bar, if bars outside the answer have another adjustment; else None.
    """

    received: int
    written: int
    latest_before: date | None
    latest_after: date
    outdated_from: date | None = None


@dataclass
class _Change:
    """The changes that an answer makes to a stock. `known` holds the stored bars from the answer's first day on.

    `bars` holds the answer's writable bars; `written` counts the written bars. `decided`: what people have decided
    about the stock's bars. `ends_suspiciously`: whether the newest close is suspicious.
    """

    stock: Stock
    history: History
    known: dict[date, Bar]
    bars: Sequence[Bar]
    decided: Decided = field(default_factory=dict)
    outdated_from: date | None = None
    written: int = 0
    ends_suspiciously: bool = False

    @property
    def kept(self) -> set[date]:
        """The days whose bars people have locked or deleted."""
        return {day for day, kind in self.decided.items() if kind in NOT_WRITTEN}

    def told(self, before: date | None) -> Stored:
        received, newest = len(self.history.bars), self.history.bars[-1].date
        return Stored(received, self.written, before, max(newest, before or newest), self.outdated_from)


def upsert_bars(stock: Stock, bars: Sequence[Bar]) -> int:
    """Insert new bars and overwrite changed bars; returns the number written. Equal bars cost no write."""
    if not bars:
        return 0
    change = _Change(stock, History(stock.symbol, stock.source, bars), _known({stock.pk: bars})[stock.pk], bars)
    _write_bars([change])
    stock.last_bar_on = max(bars[-1].date, stock.last_bar_on or bars[-1].date)
    stock.save(update_fields=["last_bar_on"])
    return change.written


def store_history(
    history: History, checked_at: datetime | None, *, asked_from: date | None = None, replace: bool = False
) -> Stored:
    """`store_histories` for a single answer."""
    return store_histories([history], checked_at, asked_from=asked_from, replace=replace)[0]


def store_histories(
    histories: Sequence[History], checked_at: datetime | None, *, asked_from: date | None = None, replace: bool = False
) -> list[Stored]:
    """Write sources' answers for different stocks: all or none. Returns the changes by each, in the same order.

    The stocks count as checked at `checked_at` (None: the answers are about the past). `asked_from` is the first day
    of a requested range. `replace` removes stored bars between an answer's first and last day that the answer lacks.
    An answer with prices as traded only adds bars.

    The number of statements does not depend on the number of stocks, except for a history that was adjusted, begins or
    is replaced.
    """
    with transaction.atomic():
        answers = list(zip(_lock([history.symbol for history in histories]), histories, strict=True))
        known = _known({stock.pk: history.bars for stock, history in answers})
        before = {stock.pk: stock.last_bar_on for stock, _ in answers}
        decided = decisions_of(stock for stock, _ in answers)
        changes = [
            _compare(stock, history, known[stock.pk], decided.get(stock.pk, {}), asked_from, replace)
            for stock, history in answers
        ]
        _write_bars(changes)
        for change in changes:
            if not (change.history.is_quote or change.history.source in AS_TRADED):
                _remove(change, _not_confirmed(change, replace=replace))
                if replace and asked_from is not None:
                    _adjust_earlier(change, asked_from)
        changed = [change for change in changes if change.written]
        _judge_closes(changed)
        for change in changed:
            change.stock.bars_changed_at = timezone.now()
        stored = [change.told(before[change.stock.pk]) for change in changes]
        for change, one in zip(changes, stored, strict=True):
            _note_answer(change.stock, change.history, checked_at)
            change.stock.needs_settling |= change.ends_suspiciously  # a later chart may tell a split
            change.stock.last_bar_on = one.latest_after
        note_splits(answers, reaches_now=checked_at is not None)
        market_sql().update_stocks([stock for stock, _ in answers])
        tell_changes([change.stock for change in changed])
        return stored


def _lock(symbols: Sequence[str]) -> list[Stock]:
    """The stocks, in the order given. All callers lock in the same order, so that groups of stocks do not deadlock."""
    locked = Stock.objects.select_for_update(no_key=True).filter(symbol__in=symbols).order_by("pk")
    stocks = {stock.symbol: stock for stock in locked}
    if missing := [symbol for symbol in symbols if symbol not in stocks]:
        raise Stock.DoesNotExist(f"{missing[0]} no longer exists")
    return [stocks[symbol] for symbol in symbols]


def _known(bars: dict[int, Sequence[Bar]]) -> dict[int, dict[date, Bar]]:
    """The stored bars of stocks by stock and day, from the first day of each stock's `bars` on."""
    firsts = {pk: min(bar.date for bar in own) for pk, own in bars.items()}
    stored = PriceBar.objects.filter(stock__in=firsts, date__gte=min(firsts.values())).order_by()
    known: dict[int, dict[date, Bar]] = {pk: {} for pk in firsts}
    for pk, *values in stored.values_list("stock_id", *Bar._fields):
        if values[0] >= firsts[pk]:
            known[pk][values[0]] = Bar._make(values)
    return known


def _compare(
    stock: Stock,
    history: History,
    known: dict[date, Bar],
    decided: Decided,
    asked_from: date | None,
    replace: bool,
) -> _Change:
    """Choose the bars that an answer may write, and note at the stock any new start or adjustment of its history."""
    if asked_from is not None:
        _note_start(stock, history.bars[0].date, asked_from)
    bars = [bar for bar in history.bars if decided.get(bar.date) not in NOT_WRITTEN] if decided else history.bars
    if history.source in AS_TRADED:
        return _Change(stock, history, known, _additions(bars, known), decided)
    if _shows_adjustment(stock, history, bars, known, is_range=asked_from is not None):
        stock.is_outdated = True
    since = history.bars[0].date if asked_from is None or not replace else min(asked_from, history.bars[0].date)
    first_outside = _first_outside(stock, since, history.bars[-1].date) if stock.is_outdated else None
    stock.is_outdated = first_outside is not None
    return _Change(stock, history, known, bars, decided, first_outside)


def _write_bars(changes: Iterable[_Change]) -> None:
    rows: list[BarRow] = []
    for change in changes:
        pk, known = change.stock.pk, change.known
        changed = [(pk, *bar) for bar in change.bars if known.get(bar.date) != bar]
        change.written += len(changed)
        rows += changed
    if rows:
        market_sql().upsert_bars(rows)


def _note_answer(stock: Stock, history: History, checked_at: datetime | None) -> None:
    for name in _TOLD:
        if told := clean_text(getattr(history, name), getattr(Stock, name).field.max_length):
            setattr(stock, name, told)
    stock.source = history.source
    stock.checked_at = checked_at or stock.checked_at
    if checked_at and not history.is_quote:
        stock.charted_at, stock.needs_settling = checked_at, history.is_break
    stock.status, stock.misses, stock.missed_on, stock.renamed_to = Stock.Status.ACTIVE, 0, None, ""


def _shows_adjustment(
    stock: Stock, history: History, bars: Sequence[Bar], known: dict[date, Bar], *, is_range: bool
) -> bool:
    """Whether the source has adjusted stored bars since, or may have. `bars` are the writable bars of the answer.

    A source changes the whole history after a split, and all earlier adjusted closes after a dividend: so the oldest
    common bar decides, and a split or dividend since the newest stored bar. If an ordinary fetch has no common bar,
    too much time has passed to know.
    """
    if history.is_quote or stock.source not in (history.source, *AS_TRADED):
        return False
    if stock.last_bar_on and any(stock.last_bar_on < day <= history.bars[-1].date for day in history.actions):
        return True
    oldest = next((bar for bar in bars if bar.date in known), None)
    if oldest is None:
        return not is_range
    if oldest.date == max(known):  # perhaps today's bar, which changes until the close
        return False
    stored = known[oldest.date]
    return not (_is_same(stored.close, oldest.close) and _is_same(stored.adj_close, oldest.adj_close))


def _additions(bars: Sequence[Bar], known: dict[date, Bar]) -> list[Bar]:
    """The bars with prices as traded that replace no adjusted price.

    The newest bar is an exception: a source may have sent it before the day was over.
    """
    newest = max(known, default=None)
    return [bar for bar in bars if bar.date not in known or bar.date == newest or known[bar.date].adj_close is None]


def _first_outside(stock: Stock, since: date, until: date) -> date | None:
    """The day of the first stored bar, if any bar lies outside these days."""
    if stock.bars.exclude(date__range=(since, until)).exists():
        return stock.bars.order_by("date").values_list("date", flat=True).first()
    return None


def _is_same(stored: float | None, told: float | None) -> bool:
    return stored is None or told is None or abs(told - stored) <= PRICE_TOLERANCE * abs(stored)


def _note_start(stock: Stock, first: date, asked_from: date) -> None:
    """Record the start of a history, so that earlier days do not count as missing; clear a start proved wrong."""
    if first - asked_from > LONGEST_CLOSURE and not stock.bars.filter(date__lt=first).exists():
        stock.history_starts = first
    elif stock.history_starts and first < stock.history_starts:
        stock.history_starts = None


def _not_confirmed(change: _Change, *, replace: bool) -> Collection[date]:
    """The days with a stored bar between an answer's first and last bar that the answer lacks.

    Without `replace`, only days without a session: the source has withdrawn a bar that was never right. On a day with
    a session, the source may lack the bar for a while.
    """
    told = {bar.date for bar in change.history.bars}
    others = {day for day in change.known if day <= change.history.bars[-1].date} - told - change.kept
    if replace or not others:
        return others
    return days_without_session(change.history.exchange or change.stock.exchange, others)


def _remove(change: _Change, days: Collection[date]) -> None:
    """Delete stored bars; from `known` as well."""
    if days:
        for day in days:
            del change.known[day]
        removed, _by_model = change.stock.bars.filter(date__in=days).delete()
        change.written += removed


def _adjust_earlier(change: _Change, asked_from: date) -> None:
    """Adjust stored bars before the answer's first bar as that bar was adjusted: the source has no such bars any more.

    Without a stored bar to compare with, or if the instrument begins later, the bars are of another instrument, and
    are deleted.
    """
    first = change.history.bars[0]
    earlier = change.stock.bars.filter(date__gte=asked_from, date__lt=first.date).exclude(date__in=change.kept)
    if not earlier.exists():
        return
    before = change.known.get(first.date)
    begins = change.history.begins
    if before is None or not before.close or (begins and earlier.filter(date__lt=begins).exists()):
        removed, _by_model = earlier.delete()
        change.written += removed
        return
    ratio = first.close / before.close
    adjusted = first.adj_close / before.adj_close if first.adj_close and before.adj_close else ratio
    if _is_same(1.0, ratio) and _is_same(1.0, adjusted):
        return
    prices = {name: F(name) * ratio for name in ("open", "high", "low", "close")}
    change.written += earlier.update(**prices, adj_close=F("adj_close") * adjusted)


def note_no_bars(symbol: str, checked_at: datetime, renamed_to: str | None = None) -> None:
    """Record that a source knows a symbol, and has no bars: an answer, and no miss.

    `renamed_to`: the new symbol that a search has found, empty if it found none; None without a search.
    """
    searched = {} if renamed_to is None else {"renamed_to": renamed_to, "searched_on": checked_at.date()}
    Stock.objects.filter(symbol=symbol).update(checked_at=checked_at, misses=0, missed_on=None, **searched)


def note_miss(symbol: str, checked_at: datetime, renamed_to: str | None = None) -> None:
    """Record that no source knows a symbol: an answer, so that no request repeats within the limit.

    The third such day parks the stock. Misses count once a day, since a source in a bad hour knows no symbol.
    `renamed_to` as in `note_no_bars`.
    """
    with transaction.atomic():
        stock = Stock.objects.select_for_update(no_key=True).get(symbol=symbol)
        stock.checked_at = checked_at
        if stock.missed_on != checked_at.date():
            stock.misses, stock.missed_on = stock.misses + 1, checked_at.date()
        if stock.misses >= MISSES_UNTIL_PARKED:
            stock.status = Stock.Status.DELISTED if stock.bars.exists() else Stock.Status.UNKNOWN
        if renamed_to is not None:
            stock.renamed_to, stock.searched_on = renamed_to, checked_at.date()
        stock.save(update_fields=["checked_at", "misses", "missed_on", "status", "renamed_to", "searched_on"])


def _judge_closes(changes: Sequence[_Change]) -> None:
    """Mark suspicious closes, and compute the volatility of the trusted closes.

    Queries the database for closes if the known bars do not reach back far enough.
    """
    closes: dict[int, list[Close]] = {}
    for change in changes:
        newest = change.known | {bar.date: bar for bar in change.bars}
        closes[change.stock.pk] = [Close(day, newest[day].close) for day in sorted(newest)]
    if short := [pk for pk, known in closes.items() if len(known) <= RETURNS]:
        closes |= market_sql().newest_closes(short, RETURNS + 1 + SPARE)
    suspicious = {
        change.stock.pk: suspicious_days(closes[change.stock.pk], change.history.actions, change.decided)
        for change in changes
    }
    _mark_suspicious(suspicious, closes)
    for change in changes:
        pk = change.stock.pk
        trusted = [close.price for close in closes[pk] if close.date not in suspicious[pk]]
        change.ends_suspiciously = closes[pk][-1].date in suspicious[pk]
        change.stock.volatility = realised_volatility(trusted[-(RETURNS + 1) :])


def _mark_suspicious(suspicious: dict[int, set[date]], closes: dict[int, list[Close]]) -> None:
    """Mark these days of stocks, and no other day among the closes."""
    marked: dict[int, set[date]] = {pk: set() for pk in suspicious}
    for pk, day in PriceBar.objects.filter(stock__in=suspicious, is_suspicious=True).values_list("stock", "date"):
        if day >= closes[pk][0].date:
            marked[pk].add(day)
    for pk, days in suspicious.items():
        if days != marked[pk]:
            own = PriceBar.objects.filter(stock=pk)
            own.filter(date__in=marked[pk] - days).update(is_suspicious=False)
            own.filter(date__in=days - marked[pk]).update(is_suspicious=True)
