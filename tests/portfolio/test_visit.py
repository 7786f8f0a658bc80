"""The page says how many prices were ready at the login, and how soon the others were."""

from datetime import timedelta

import pytest
from django.utils import timezone

from market.models import Stock
from tasks.models import Job

pytestmark = pytest.mark.django_db


@pytest.fixture
def log_in(user, hold, client):
    """log_in(): logs the holder of two stocks in, and returns a function for the text of the page."""
    hold(user, "AAPL", "MSFT")

    def log_in():
        client.post("/accounts/login/", {"username": user.username, "password": "secret"})
        return lambda: client.get("/").content.decode()

    return log_in


def ended(after: float) -> None:
    for job in Job.objects.all():
        job.status, job.finished_at = "completed", job.created_at + timedelta(seconds=after)
        job.save()


def test_everything_was_ready(log_in):
    Stock.objects.update(checked_at=timezone.now())
    assert "2 of 2 prices were ready before you came." in log_in()()


def test_a_refresh_right_after_the_login_does_not_change_what_was_ready(log_in, client):
    Stock.objects.update(checked_at=timezone.now())
    page = log_in()
    client.post("/refresh/")
    assert Job.objects.exists()
    assert "2 of 2 prices were ready before you came.<" in page()


def test_the_rest_is_fetched_and_then_said_to_be_fresh(log_in):
    Stock.objects.filter(symbol="AAPL").update(checked_at=timezone.now())
    page = log_in()
    assert "1 of 2 prices were ready before you came; 1 is being fetched." in page()
    ended(0.8)
    assert "1 of 2 prices were ready before you came; all were fresh 0.8" in page()


def test_a_price_that_could_not_be_fetched_is_not_said_to_be_fresh(log_in):
    Stock.objects.filter(symbol="AAPL").update(checked_at=timezone.now())
    page = log_in()
    ended(0.8)
    Job.objects.update(status="failed", error="Yahoo Finance cannot be reached")
    shown = page()
    assert "1 of 2 prices were ready before you came; 1 could not be fetched." in shown
    assert "all were fresh" not in shown


def test_a_later_fetch_ends_the_message(log_in):
    page = log_in()
    ended(1)
    Job.objects.update(
        created_at=timezone.now() + timedelta(minutes=2), finished_at=timezone.now() + timedelta(hours=1)
    )
    assert "before you came" not in page()


def test_a_session_without_a_login_says_nothing(user, hold, client):
    hold(user, "AAPL")
    client.force_login(user)
    client.get("/")
    session = client.session
    session.pop("login", None)
    session.save()
    assert "before you came" not in client.get("/").content.decode()
