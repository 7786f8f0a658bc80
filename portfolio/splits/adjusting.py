"""Adjusts holdings to splits in batches, and back if the source withdraws a split."""

from collections.abc import Iterable, Sequence

from django.db.models import Exists, OuterRef, QuerySet

from market.jobs.requests import request_fetches
from market.models import StockSplit
from market.splits import days_of
from portfolio.models import Holding, HoldingSplit
from portfolio.splits.numbers import Numbers, adjust
from tasks.models import Job

BATCH = 500
"""Holdings in a transaction."""

State = HoldingSplit.State


def adjust_holdings(split: StockSplit) -> bool:
    """Adjust a batch of holdings to a split, or back if the split is withdrawn; whether more may be left.

    Five queries at most, before the last batch. The caller has locked the split, so no other process adjusts its
    holdings.
    """
    is_unfinished = _adjust_back(split) if split.withdrawn_at else _adjust(split)
    if not is_unfinished and split.holdings.exists():
        # Open pages learn of the new numbers by the events of a job.
        request_fetches([split.stock], Job.Trigger.MAINTENANCE)
    return is_unfinished


def open_holdings(split: StockSplit) -> QuerySet[Holding]:
    """The holdings that were entered before the end of a split's day, and not adjusted to the split yet."""
    _begin, end = days_of(split)
    # The same day: after an undo, a corrected ratio is not applied either.
    effects = HoldingSplit.objects.filter(holding=OuterRef("pk"), split__date=split.date)
    return Holding.objects.filter(~Exists(effects.exclude(state=State.WITHDRAWN)), stock=split.stock_id, as_of__lt=end)


def _adjust(split: StockSplit) -> bool:
    begin, _end = days_of(split)
    batch = list(open_holdings(split).select_for_update(of=("self",), no_key=True).order_by("pk")[:BATCH])
    effects = [_effect_on(holding, split) for holding in batch]
    adjusted = [effect.holding for effect in effects if effect.state == State.ADJUSTED]
    for effect in effects:
        effect.holding.shares, effect.holding.buy_price = effect.shares_after, effect.price_after
    for holding in adjusted:
        holding.as_of = begin
    write(adjusted)
    HoldingSplit.objects.bulk_create(
        effects,
        update_conflicts=True,  # with effects that were withdrawn
        unique_fields=["holding", "split"],
        update_fields=[
            *("state", "is_dismissed", "as_of_before"),
            *("shares_before", "price_before", "shares_after", "price_after"),
        ],
    )
    return len(batch) == BATCH


def _effect_on(holding: Holding, split: StockSplit) -> HoldingSplit:
    """The effect of a split on a holding; nothing is written. An unadjusted holding keeps its numbers."""
    before = Numbers(holding.shares, holding.buy_price)
    after = adjust(before, split)
    if holding.as_of >= days_of(split)[0]:
        state, after = State.SAME_DAY, before
    else:
        state, after = (State.UNFIT, before) if after is None else (State.ADJUSTED, after)
    return HoldingSplit(
        holding=holding,
        split=split,
        state=state,
        shares_before=before.shares,
        price_before=before.price,
        as_of_before=holding.as_of,
        shares_after=after.shares,
        price_after=after.price,
    )


def _adjust_back(split: StockSplit) -> bool:
    split.holdings.filter(state__in=(State.SAME_DAY, State.UNFIT)).delete()
    adjusted = split.holdings.filter(state=State.ADJUSTED).select_related("holding").order_by("holding")
    batch = list(adjusted.select_for_update(of=("self", "holding"), no_key=True)[:BATCH])
    unchanged = [effect for effect in batch if is_unchanged(effect)]
    restore(unchanged)
    written = HoldingSplit.objects.filter(pk__in=[effect.pk for effect in batch])
    written.update(state=State.EDITED, is_dismissed=False)
    written.filter(pk__in=[effect.pk for effect in unchanged]).update(state=State.WITHDRAWN)
    return len(batch) == BATCH


def is_unchanged(effect: HoldingSplit) -> bool:
    """Whether a holding still has its numbers after the split."""
    holding = effect.holding
    return (holding.shares, holding.buy_price) == (effect.shares_after, effect.price_after)


def restore(effects: Iterable[HoldingSplit]) -> None:
    """Give holdings their numbers before a split. The holdings are locked."""
    holdings = []
    for effect in effects:
        holding = effect.holding
        holding.shares, holding.buy_price = effect.shares_before, effect.price_before
        holding.as_of = effect.as_of_before
        holdings.append(holding)
    write(holdings)


def write(holdings: Sequence[Holding]) -> None:
    """Write the numbers of locked holdings. An upsert, because `bulk_update` has a CASE for each value."""
    Holding.objects.bulk_create(
        holdings, update_conflicts=True, unique_fields=["id"], update_fields=["shares", "buy_price", "as_of"]
    )
