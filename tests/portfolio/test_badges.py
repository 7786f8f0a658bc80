"""One badge for each holding says the most important thing about its price."""

from datetime import date, timedelta

import pytest
from django.utils import timezone
from django.utils.html import escape

from market.jobs.requests import request_fetches
from market.models import PriceBar, Stock
from portfolio.holdings import statements
from tasks.models import Job
from tests.support.jobs import new_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def stock(user, hold) -> Stock:
    """A held stock with a price of just now."""
    hold(user, "AAPL")
    Stock.objects.update(checked_at=timezone.now(), last_bar_on=date(2026, 11, 20), currency="USD")
    stock = Stock.objects.get()
    PriceBar.objects.create(stock=stock, date=date(2026, 11, 20), close=3.0)
    return stock


@pytest.fixture
def badge(user, client):
    """The badge's text, as the page shows it too."""
    client.force_login(user)

    def badge() -> str:
        ((position,),) = [statement.positions for statement in statements(user)]
        assert escape(position.badge.text) in client.get("/").content.decode()
        return position.badge.text

    return badge


def test_a_price_of_just_now_is_fresh(stock, badge):
    assert badge() == "fresh"


@pytest.mark.parametrize("status", ["pending", "queued", "running"])
def test_a_fetch_under_way_is_updating(stock, badge, status):
    new_job("AAPL", status)
    assert badge() == "updating…"


def test_a_history_in_the_background_is_not_updating(stock, badge):
    request_fetches([stock], Job.Trigger.MAINTENANCE, start=date(2025, 1, 2))
    assert badge() == "fresh"


def test_an_error_is_shown_while_its_retry_waits(stock, badge, client):
    run_at = timezone.now().replace(microsecond=0) + timedelta(minutes=5)
    new_job("AAPL", "pending", retries=1, run_at=run_at, error="Yahoo Finance cannot be reached")
    assert badge() == "retrying at"
    shown = client.get("/").content.decode()
    assert f"{run_at:%H:%M}</time>" in shown
    assert '<span class="error">Yahoo Finance cannot be reached</span>' in shown


def test_a_wait_for_the_rate_limit_is_named(stock, badge):
    until = timezone.now() + timedelta(minutes=1)
    new_job("AAPL", "pending", run_at=until, waiting_for="Yahoo Finance's rate limit")
    assert badge() == "waiting for Yahoo Finance's rate limit, at the latest until"


def test_a_wait_that_is_over_is_updating(stock, badge):
    new_job("AAPL", "pending", retries=1, run_at=timezone.now() - timedelta(seconds=1), error="down")
    assert badge() == "updating…"


@pytest.mark.parametrize("status", ["unknown", "delisted"])
def test_a_stock_that_no_source_knows_is_not_fresh(stock, badge, status):
    Stock.objects.update(status=status)
    assert badge() == status


def test_an_answer_without_prices_is_no_data(stock, badge):
    PriceBar.objects.all().delete()
    assert badge() == "no data"


def test_a_stock_nobody_has_asked_for_is_not_fetched_yet(stock, badge):
    PriceBar.objects.all().delete()
    Stock.objects.update(checked_at=None)
    assert badge() == "not fetched yet"


def test_a_suspicious_price_is_unconfirmed(stock, badge):
    PriceBar.objects.create(stock=stock, date=date(2026, 11, 23), close=900.0, is_suspicious=True)
    Stock.objects.update(last_bar_on=date(2026, 11, 23))
    assert badge() == "unconfirmed price"


def test_an_old_price_is_stale(stock, badge):
    Stock.objects.update(checked_at=timezone.now() - timedelta(hours=5))
    assert badge() == "stale"


def test_the_newest_fetch_alone_counts(stock, badge, client):
    new_job("AAPL", "failed", error="Yahoo Finance cannot be reached")
    assert "Yahoo Finance cannot be reached" in client.get("/").content.decode()
    new_job("AAPL", "completed")
    assert badge() == "fresh"
    assert "Yahoo Finance cannot be reached" not in client.get("/").content.decode()
