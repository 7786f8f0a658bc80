"""Writes what a source answered: bars that are new or changed, and what is known of the stock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import connection, transaction

from market.models import PriceBar, Stock
from market.sources.base import AS_TRADED, Bar, History
from market.volatility import RETURNS, realised_volatility

MISSES_UNTIL_PARKED = 3
_WRITTEN = [
    *("name", "exchange", "currency", "source", "checked_at", "volatility"),
    *("status", "misses", "missed_on", "history_starts", "is_outdated"),
]
LONGEST_CLOSURE = timedelta(days=15)
"""An answer that begins so much later than it was asked for begins with the first bar that there is."""
SAME = 1e-4
"""How much a settled price may differ from what is stored, by the stored one: less than any dividend moves it."""
_PRICES = ", ".join(["%s::double precision[]"] * 5)
_ROWS = {
    "postgresql": f"SELECT %s, * FROM unnest(%s::date[], {_PRICES}, %s::bigint[])",  # noqa: S608
    "sqlite": f"VALUES ({', '.join(['%s'] * (1 + len(Bar._fields)))})",
}
_UPSERT = {
    vendor: f"INSERT INTO {PriceBar._meta.db_table} (stock_id, {', '.join(Bar._fields)}) {rows} "
    f"ON CONFLICT (stock_id, date) DO UPDATE SET {', '.join(f'{name} = EXCLUDED.{name}' for name in Bar._fields[1:])}"
    for vendor, rows in _ROWS.items()
}


@dataclass(frozen=True)
class Stored:
    """What a fetch changed. `written` counts the bars that were new or different, or were removed.

    `outdated_from`: the first bar that is stored, where those outside this answer were adjusted otherwise.
    """

    received: int
    written: int
    latest_before: date | None
    latest_after: date
    outdated_from: date | None = None


def upsert_bars(stock: Stock, bars: Sequence[Bar]) -> int:
    """Insert the bars that are new and overwrite those that differ; how many were written. Others cost no write."""
    return _write_changed(stock, bars, _known(stock, bars)) if bars else 0


def _known(stock: Stock, bars: Sequence[Bar]) -> dict[date, Bar]:
    """What is stored from the first of the bars on, by day."""
    stored = stock.bars.filter(date__gte=min(bar.date for bar in bars)).order_by()
    return {row[0]: Bar._make(row) for row in stored.values_list(*Bar._fields)}


def _write_changed(stock: Stock, bars: Sequence[Bar], known: dict[date, Bar]) -> int:
    """In SQL: Django's `bulk_create` takes longer to build its statement than the database to execute it."""
    changed = [bar for bar in bars if known.get(bar.date) != bar]
    if changed:
        upsert = _UPSERT[connection.vendor]
        with transaction.atomic(savepoint=False), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(upsert, [stock.pk, *map(_array, zip(*changed, strict=True))])
            else:
                cursor.executemany(upsert, [(stock.pk, bar.date.isoformat(), *bar[1:]) for bar in changed])
    return len(changed)


def _array(values: Iterable[object]) -> str:
    """A literal of PostgreSQL: psycopg would look at each value by itself."""
    return f"{{{','.join('NULL' if value is None else str(value) for value in values)}}}"


def store_history(
    history: History, checked_at: datetime | None, *, asked_from: date | None = None, replace: bool = False
) -> Stored:
    """Write a source's answer; the stock counts as checked at `checked_at` (None: the answer is about the past).

    `asked_from` is the first day of a range that somebody asked for. `replace`: what is stored between the answer's
    first and last day, and not in the answer, is removed. An answer with prices as traded only adds bars.
    """
    with transaction.atomic():
        stock = Stock.objects.get(symbol=history.symbol)
        known = _known(stock, history.bars)
        before = max(known) if known else _latest_date(stock)
        if asked_from is not None:
            _note_start(stock, history.bars[0].date, asked_from)
        bars, first_outside = history.bars, None
        if history.source in AS_TRADED:
            bars = _additions(bars, known)
            written = _write_changed(stock, bars, known)
        else:
            if _shows_adjustment(stock, history, known, is_range=asked_from is not None):
                stock.is_outdated = True
            first_outside = _first_outside(stock, history) if stock.is_outdated else None
            stock.is_outdated = first_outside is not None
            written = _write_changed(stock, bars, known)
            if replace:
                written += _remove_others(stock, bars, known)
        if written:
            stock.volatility = realised_volatility(_last_closes(stock, known, bars))
        for field in ("name", "exchange", "currency"):
            if told := getattr(history, field)[: getattr(Stock, field).field.max_length]:
                setattr(stock, field, told)
        stock.source = history.source
        stock.checked_at = checked_at or stock.checked_at
        stock.status, stock.misses, stock.missed_on = Stock.Status.ACTIVE, 0, None
        stock.save(update_fields=_WRITTEN)
        newest = history.bars[-1].date
        return Stored(len(history.bars), written, before, max(newest, before or newest), first_outside)


def _shows_adjustment(stock: Stock, history: History, known: dict[date, Bar], *, is_range: bool) -> bool:
    """Whether the source has adjusted what is stored since, or may have.

    After a split a source changes the whole history, after a dividend all adjusted closes before it: so the oldest
    bar that both have tells. Where an ordinary fetch has none in common, too much time has passed to know.
    """
    if stock.source not in (history.source, *AS_TRADED):
        return False
    oldest = next((bar for bar in history.bars if bar.date in known), None)
    if oldest is None:
        return not is_range
    if oldest.date == max(known):  # today's, perhaps, which changes until the close
        return False
    stored = known[oldest.date]
    return not (_is_same(stored.close, oldest.close) and _is_same(stored.adj_close, oldest.adj_close))


def _additions(bars: Sequence[Bar], known: dict[date, Bar]) -> list[Bar]:
    """Those of the bars, with prices as traded, that may be written: they replace none with an adjusted price.

    But for the newest, which a source may have given before the day was over.
    """
    newest = max(known, default=None)
    return [bar for bar in bars if bar.date not in known or bar.date == newest or known[bar.date].adj_close is None]


def _first_outside(stock: Stock, history: History) -> date | None:
    """The first stored bar, where any is before or after the answer."""
    if stock.bars.exclude(date__range=(history.bars[0].date, history.bars[-1].date)).exists():
        return stock.bars.order_by("date").values_list("date", flat=True).first()
    return None


def _is_same(stored: float | None, told: float | None) -> bool:
    return stored is None or told is None or abs(told - stored) <= SAME * abs(stored)


def _note_start(stock: Stock, first: date, asked_from: date) -> None:
    """Remember where the history starts, so that earlier days do not count as missing; forget it where it does not."""
    if first - asked_from > LONGEST_CLOSURE and not stock.bars.filter(date__lt=first).exists():
        stock.history_starts = first
    elif stock.history_starts and first < stock.history_starts:
        stock.history_starts = None


def _remove_others(stock: Stock, bars: Sequence[Bar], known: dict[date, Bar]) -> int:
    """Remove what is stored between the first and the last of the bars and not among them; from `known` as well."""
    others = {day for day in known if day <= bars[-1].date} - {bar.date for bar in bars}
    for day in others:
        del known[day]
    removed, _by_model = stock.bars.filter(date__in=others).delete()
    return removed


def note_miss(symbol: str, checked_at: datetime) -> None:
    """No source knows it: that is an answer, so that it is not asked for again within the limit.

    The third such day parks it; misses count once a day, since sources have bad hours, in which they know nothing.
    """
    with transaction.atomic():
        stock = Stock.objects.select_for_update(no_key=True).get(symbol=symbol)
        stock.checked_at = checked_at
        if stock.missed_on != checked_at.date():
            stock.misses, stock.missed_on = stock.misses + 1, checked_at.date()
        if stock.misses >= MISSES_UNTIL_PARKED:
            stock.status = Stock.Status.DELISTED if stock.bars.exists() else Stock.Status.UNKNOWN
        stock.save(update_fields=["checked_at", "misses", "missed_on", "status"])


def _latest_date(stock: Stock) -> date | None:
    return stock.bars.order_by("-date").values_list("date", flat=True).first()


def _last_closes(stock: Stock, known: dict[date, Bar], written: Sequence[Bar]) -> list[float]:
    """Oldest first; asks the database where `known` and what was written over it do not reach back far enough."""
    newest = known | {bar.date: bar for bar in written}
    if len(newest) > RETURNS:
        return [newest[day].close for day in sorted(newest)[-(RETURNS + 1) :]]
    newest_first = stock.bars.order_by("-date").values_list("close", flat=True)[: RETURNS + 1]
    return list(newest_first)[::-1]
