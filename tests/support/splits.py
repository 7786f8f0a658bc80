"""Splits that a source tells, the holdings that they adjust, and the answers of owners to the notes."""

from datetime import UTC, date, datetime
from decimal import Decimal

import time_machine
from django.test import Client

from market import splits
from market.models import Stock, StockSplit
from portfolio.models import Holding, HoldingSplit

DAY = date(2026, 3, 4)
ENTERED = datetime(2026, 2, 2, 12, tzinfo=UTC)
LATER = datetime(2026, 3, 5, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 4, 5, tzinfo=UTC)
"""The begin of DAY in New York."""


def split(numerator: int = 4, denominator: int = 1, day: date = DAY, at: datetime = LATER) -> StockSplit:
    """A split that a source tells, followed by the portfolios."""
    stock = Stock.objects.get(symbol="AAPL")
    told = StockSplit.objects.create(stock=stock, date=day, numerator=numerator, denominator=denominator)
    follow(at)
    return told


def withdraw(told: StockSplit, at: datetime = LATER) -> None:
    StockSplit.objects.filter(pk=told.pk).update(withdrawn_at=at, followed_at=None)
    follow(at)


def follow(at: datetime = LATER) -> None:
    with time_machine.travel(at, tick=False):
        splits.follow_splits()


def numbers() -> tuple[str, str]:
    """The shares and the price of the only holding."""
    holding = Holding.objects.get()
    return shown(holding.shares), shown(holding.buy_price)


def shown(number: Decimal | None) -> str:
    return "unknown" if number is None else f"{number.normalize():f}"


def text_of(client: Client, address: str = "/") -> str:
    return " ".join(client.get(address).content.decode().replace("&#x27;", "'").split())


def answer(client: Client, what: str, **fields: str) -> str:
    """The user's answer to the only note; the page that follows."""
    note = HoldingSplit.objects.get()
    page = client.post(f"/splits/{note.pk}/{what}/", fields, follow=True)
    assert page.status_code == 200
    return " ".join(page.content.decode().split())
