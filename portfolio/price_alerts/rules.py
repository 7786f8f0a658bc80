"""The conditions of alerts: when a price raises an alert, and when it arms a raised alert again."""

from decimal import Decimal
from enum import Enum, auto

from portfolio.price_alerts.models import Kind, PriceAlert
from portfolio.price_alerts.prices import Price

MARGIN = Decimal("0.01")
"""A raised alert is armed again after the price has gone back past the threshold by this part of the threshold."""


class Step(Enum):
    """A change of an alert's state."""

    RAISE = auto()
    ARM = auto()


def next_step(alert: PriceAlert, price: Price) -> Step | None:
    """The change of the alert's state by the stock's newest trusted close; None for no change.

    A change in a day counts in the session that has begun last. A price counts until the close of the next session.
    """
    if alert.kind == Kind.MOVED:
        return _step_of_move(alert, price)
    if price.day < price.sessions.ended or price.currency != alert.currency or not price.is_comparable:
        return None
    if alert.state == PriceAlert.State.ARMED:
        return Step.RAISE if is_reached(alert.kind, alert.threshold, price) else None
    return Step.ARM if _is_back(alert, price) else None


def is_reached(kind: str, threshold: Decimal, price: Price) -> bool:
    """Whether a price, or its change, satisfies the condition."""
    if kind == Kind.ABOVE:
        return price.price >= threshold
    if kind == Kind.BELOW:
        return price.price <= threshold
    return price.percent is not None and abs(price.percent) >= threshold


def armed_again_at(alert: PriceAlert) -> Decimal:
    """The price at which a raised alert on a price is armed again."""
    return alert.threshold * (1 - MARGIN if alert.kind == Kind.ABOVE else 1 + MARGIN)


def _is_back(alert: PriceAlert, price: Price) -> bool:
    limit = armed_again_at(alert)
    return price.price <= limit if alert.kind == Kind.ABOVE else price.price >= limit


def _step_of_move(alert: PriceAlert, price: Price) -> Step | None:
    is_over = alert.raised_on is not None and price.day <= alert.raised_on
    if is_over or price.day < price.sessions.begun or not price.is_comparable:
        return None
    if is_reached(alert.kind, alert.threshold, price):
        return Step.RAISE
    return Step.ARM if alert.state == PriceAlert.State.RAISED else None
