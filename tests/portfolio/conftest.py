"""A client that is logged in, files for import_portfolio, the command, and a holding of a stock that is split."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client

from market import splits
from market.models import Stock
from portfolio.models import Holding, Portfolio
from tests.support.splits import ENTERED


@pytest.fixture
def owner(client, user) -> Client:
    """A client with the user logged in."""
    client.force_login(user)
    return client


@pytest.fixture
def write(tmp_path):
    """write(text): a file with that content."""

    def write(text: str | bytes, name: str = "portfolio.csv"):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


@pytest.fixture
def run(user):
    """run(*words): what import_portfolio prints for `user`."""

    def run(*words) -> str:
        out = StringIO()
        call_command("import_portfolio", *map(str, words), "--user", user.username, stdout=out)
        return out.getvalue()

    return run


@pytest.fixture
def without_pauses(monkeypatch) -> None:
    """Splits are followed without pauses."""
    monkeypatch.setattr(splits, "PAUSE_BETWEEN_BATCHES", 0)


@pytest.fixture
def split_stock(without_pauses, db) -> Stock:
    """A stock of New York, for splits."""
    return Stock.objects.create(symbol="AAPL", exchange="NMS", currency="USD")


@pytest.fixture
def own(user, split_stock) -> Callable[..., Holding]:
    """own(shares, price, entered): the user's holding of the stock, entered at a time."""

    def own(shares: str = "10", price: str | None = "400", entered: datetime = ENTERED) -> Holding:
        portfolio, _ = Portfolio.objects.get_or_create(user=user, name="Main")
        return Holding.objects.create(
            portfolio=portfolio, stock=split_stock, shares=Decimal(shares), buy_price=price, as_of=entered
        )

    return own
