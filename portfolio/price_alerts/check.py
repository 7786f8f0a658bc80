"""Checks alerts whenever prices were stored, in the transaction that stored them."""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

from django.utils import timezone

from market.models import Stock
from portfolio.price_alerts.models import SMALLEST, PriceAlert, PriceAlertNotice
from portfolio.price_alerts.prices import Price, newest_prices
from portfolio.price_alerts.rules import Step, next_step
from portfolio.price_alerts.splits import adjust_to_splits

logger = logging.getLogger(__name__)

ROWS = 500
"""Rows in a statement."""
_WRITTEN = ("state", "threshold", "base_on", "base_close", "adjusted_on", "raised_at", "raised_price", "raised_on")


def check_alerts(stocks: Sequence[Stock]) -> None:
    """Raise and arm the alerts of active users on stocks whose bars have changed. The caller has locked the stocks.

    A single query without alerts; else a fixed number, except for more than ROWS changed alerts.
    """
    on_stocks = PriceAlert.objects.filter(stock__in=[stock.pk for stock in stocks], user__is_active=True)
    alerts = list(on_stocks.order_by())
    if not alerts:
        return
    now = timezone.now()
    with_alerts = {alert.stock_id for alert in alerts}
    prices = newest_prices([stock for stock in stocks if stock.pk in with_alerts], now)
    states = {alert.pk: alert.state for alert in alerts}
    priced = [(alert, prices[alert.stock_id]) for alert in alerts if alert.stock_id in prices]
    adjusted = adjust_to_splits(priced)
    steps = [(alert, price, next_step(alert, price)) for alert, price in priced]
    changed = adjusted | {alert.pk for alert, _, step in steps if step}
    present = _lock(changed, states)
    taken = [(alert, price, step) for alert, price, step in steps if alert.pk in present]
    notices = [notice for alert, price, step in taken if step and (notice := _take(alert, price, step, now))]
    PriceAlert.objects.bulk_update([alert for alert, _, _ in taken], _WRITTEN, batch_size=ROWS)
    PriceAlertNotice.objects.bulk_create(notices, batch_size=ROWS)
    for notice in notices:
        logger.info("price alert of user %s raised: %s at %s", notice.user_id, notice, notice.price)


def _lock(pks: Iterable[int], states: dict[int, str]) -> set[int]:
    """Lock the alerts. Return the ids of alerts that still exist and have kept their state."""
    found = PriceAlert.objects.select_for_update().filter(pk__in=pks).order_by("pk").values_list("pk", "state")
    return {pk for pk, state in found if state == states[pk]}


def _take(alert: PriceAlert, price: Price, step: Step, now: datetime) -> PriceAlertNotice | None:
    """Change the alert's state; return the notice of a raising."""
    if step is Step.ARM:
        alert.state = PriceAlert.State.ARMED
        return None
    stated = price.price.quantize(SMALLEST)
    alert.state, alert.raised_at, alert.raised_price, alert.raised_on = PriceAlert.State.RAISED, now, stated, price.day
    return PriceAlertNotice(
        alert=alert,
        user_id=alert.user_id,
        stock=price.stock,
        kind=alert.kind,
        threshold=alert.threshold,
        currency=price.currency,
        price=stated,
        change_percent=None if price.percent is None else round(float(price.percent), 4),
        session=price.day,
        at=now,
    )
