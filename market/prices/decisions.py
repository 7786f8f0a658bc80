"""Decisions of people about bars: accepted, locked (perhaps corrected) or deleted."""

import logging
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from django.db import transaction
from django.utils import timezone

from market.models import BarDecision, PriceBar, Stock
from market.prices.changes import tell_changes
from market.sources.base import Bar

logger = logging.getLogger(__name__)

Kind = BarDecision.Kind
Decided = Mapping[date, str]
"""The kinds of decisions about a stock's bars, by day."""
NOT_WRITTEN = (Kind.LOCKED, Kind.DELETED)
"""Fetches write no bar of a day with such a decision."""


def decisions_of(stocks: Iterable[Stock]) -> dict[int, dict[date, str]]:
    """The decisions about the bars of stocks, by stock; stocks without decisions are left out."""
    found: dict[int, dict[date, str]] = {}
    rows = BarDecision.objects.filter(stock__in=[stock.pk for stock in stocks]).order_by()
    for pk, day, kind in rows.values_list("stock", "date", "kind"):
        found.setdefault(pk, {})[day] = kind
    return found


def decide(bar: PriceBar, kind: Kind, by: str, corrected: Mapping[str, Any] | None = None) -> BarDecision:
    """Accept, lock or delete a bar, from now on. `corrected` has new values by the names of fields, for LOCKED."""
    with transaction.atomic():
        stock = Stock.objects.select_for_update(no_key=True).get(pk=bar.stock_id)
        bar = PriceBar.objects.get(pk=bar.pk)
        before = {name: getattr(bar, name) for name in Bar._fields[1:]}
        if kind == Kind.DELETED:
            bar.delete()
        else:
            for name, value in (corrected or {}).items():
                setattr(bar, name, value)
            bar.is_suspicious = False
            bar.save()
        decision, _created = BarDecision.objects.update_or_create(
            stock=stock,
            date=bar.date,
            defaults={"kind": kind, "decided_at": timezone.now(), "decided_by": by, "before": before},
        )
        stock.bars_changed_at = timezone.now()
        stock.save(update_fields=["bars_changed_at"])
        tell_changes([stock])
    logger.info("bar of %s on %s %s by %s; before: %s", stock, bar.date, kind, by or "nobody", before)
    return decision


def revoke(decision: BarDecision, by: str) -> None:
    """Let fetches write the bar of the day again."""
    decision.delete()
    logger.info("decision about the bar of %s on %s revoked by %s", decision.stock, decision.date, by or "nobody")
