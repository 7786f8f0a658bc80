"""Stores the splits of stocks, and has rooms adjust their numbers of shares and prices.

A new split is stored in the transaction of the chart's bars. After the commit, a light message makes a worker follow
the split: the worker calls the registered followers, a batch in each transaction, until no follower has rows left.
The sweeper sends the message again, also on the first day of an announced split.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from zoneinfo import ZoneInfo

from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from market.calendar.exchanges import exchange_of
from market.models import Stock, StockSplit
from market.sources.base import History, Split
from tasks.delivery import light_tasks
from tasks.models import Job
from tasks.priority import BANDS

logger = logging.getLogger(__name__)

TASK = "stockqueue.follow_splits"
WITHDRAWN_AFTER = timedelta(hours=20)
"""A split is withdrawn if a chart so much later lacks it, too: a source may leave out the splits of an answer."""
MOVED = timedelta(days=10)
"""Another split so near stands for a missing one at once: the source has corrected its ratio or its day."""
SLICE = 5.0
"""Seconds that a worker follows splits before other work gets its chance."""
PAUSE_BETWEEN_BATCHES = 0.12
"""Seconds between two batches. On SQLite, a batch blocks all other writers, which try again after 0.1 s."""
EXPIRES = 10.0
"""Seconds for which a message is valid: the sweeper sends the next one."""

Follower = Callable[[StockSplit], bool]
"""Adjusts a batch of rows to a split or to its withdrawal, in the caller's transaction; whether more may be left."""

_followers: list[Follower] = []


def follow(follower: Follower) -> None:
    """Call `follower` for each split from its first day on, and again if the split is withdrawn."""
    _followers.append(follower)


def days_of(split: StockSplit) -> tuple[datetime, datetime]:
    """The begin and the end of the first day after a split, at the exchange of its stock."""
    zone = ZoneInfo(exchange_of(split.stock.exchange).timezone)
    begin, end = (datetime.combine(day, clock(), zone) for day in (split.date, split.date + timedelta(days=1)))
    return begin.astimezone(UTC), end.astimezone(UTC)


# Notes


def note_splits(answers: Sequence[tuple[Stock, History]], *, reaches_now: bool) -> None:
    """Store the splits of charts, and withdraw splits that the source tells no more. The stocks are locked.

    `reaches_now`: whether the charts have announced splits, too. Takes one query if nothing has changed, and no query
    for answers without information about splits.
    """
    told = [(stock, history) for stock, history in answers if history.splits is not None]
    if not told:
        return
    first = min(history.bars[0].date for _stock, history in told)
    stored: dict[int, list[StockSplit]] = {stock.pk: [] for stock, _ in told}
    for split in StockSplit.objects.filter(stock__in=stored, date__gte=first):
        stored[split.stock_id].append(split)
    changes = [_compare(stock, history, stored[stock.pk], reaches_now=reaches_now) for stock, history in told]
    if any(changes):
        transaction.on_commit(hand_over, robust=True)


def _compare(stock: Stock, history: History, stored: Sequence[StockSplit], *, reaches_now: bool) -> bool:
    """Write the differences between the stored splits of a stock and a chart. Whether rooms have to follow any."""
    known = {Split(row.date, row.numerator, row.denominator): row for row in stored}
    told = history.splits or ()
    has_changed = False
    for split in told:
        has_changed |= _note_told(stock, split, known.get(split))
    first, last = history.bars[0].date, date.max if reaches_now else history.bars[-1].date
    new = [split for split in told if split not in known]
    for split, row in known.items():
        if split not in told and first <= split.date <= last and row.withdrawn_at is None:
            has_changed |= _note_missing(stock, row, new)
    return has_changed


def _note_told(stock: Stock, split: Split, row: StockSplit | None) -> bool:
    if row is None:
        logger.info("%s: split %d:%d on %s", stock, split.numerator, split.denominator, split.date)
        StockSplit.objects.create(stock=stock, **split._asdict())
        return True
    if row.missing_since is None and row.withdrawn_at is None:
        return False
    is_back = row.withdrawn_at is not None
    row.missing_since = row.withdrawn_at = None
    row.followed_at = None if is_back else row.followed_at
    row.save()
    return is_back


def _note_missing(stock: Stock, row: StockSplit, new: Iterable[Split]) -> bool:
    now = timezone.now()
    is_replaced = any(abs(split.date - row.date) <= MOVED for split in new)
    if is_replaced or (row.missing_since and now - row.missing_since >= WITHDRAWN_AFTER):
        logger.warning("%s: the split %s on %s was withdrawn by the source", stock, row.ratio, row.date)
        row.withdrawn_at, row.followed_at = now, None
        row.save()
        return True
    if row.missing_since is None:
        row.missing_since = now
        row.save()
    stock.needs_settling = True  # the next session's chart decides
    return False


# Followers


def hand_over() -> bool:
    """Let a worker, or else this process, follow the splits. If neither can, the sweeper tries again."""
    queue = Job.Queue.FOREGROUND
    return light_tasks.hand_over(TASK, follow_splits, queue=queue, priority=BANDS[queue][-1], expires=EXPIRES)


def go_on() -> None:
    """Have due splits followed. The sweeper calls this function."""
    if due_splits(timezone.now()):
        hand_over()


def due_splits(now: datetime) -> list[StockSplit]:
    """The splits to follow now, at most one for each stock: a withdrawn split if there is any, or else the oldest."""
    # At the easternmost exchange, a day begins while it is the day before in UTC.
    latest: date = now.date() + timedelta(days=1)
    waiting = StockSplit.objects.filter(followed_at=None, date__lte=latest).select_related("stock")
    firsts: dict[int, StockSplit] = {}
    for split in sorted(waiting, key=lambda split: (split.withdrawn_at is None, split.date, split.pk)):
        if split.withdrawn_at or days_of(split)[0] <= now:
            firsts.setdefault(split.stock_id, split)
    return list(firsts.values())


def follow_splits() -> None:
    """Follow the due splits for SLICE seconds, or until all are followed. Safe to run twice at once."""
    deadline = time.monotonic() + SLICE
    try:
        while splits := [split for split in due_splits(timezone.now()) if _follow(split)]:
            if time.monotonic() > deadline:
                logger.info("%d splits are followed later", len(splits))
                hand_over()
                return
            time.sleep(PAUSE_BETWEEN_BATCHES)
    except (InterfaceError, OperationalError) as error:
        logger.warning("splits: %s; the sweeper will go on", str(error).partition("\n")[0])
        connection.close()


def _follow(split: StockSplit) -> bool:
    """One batch. Whether this process has to go on: not after an error, and not if another process has the split."""
    try:
        with transaction.atomic():
            locked = StockSplit.objects.select_for_update(of=("self",), skip_locked=True).select_related("stock")
            held = locked.filter(pk=split.pk, followed_at=None, withdrawn_at=split.withdrawn_at).first()
            if held is None:
                return False
            are_unfinished = [follower(held) for follower in _followers]
            if not any(are_unfinished):
                held.followed_at = timezone.now()
                held.save(update_fields=["followed_at"])
    except (InterfaceError, OperationalError):
        raise
    except Exception:
        logger.exception("the split %s could not be followed", split)
        return False
    return True
