"""Exchange rates and benchmarks: stocks that nobody holds, and that are kept fresh like held stocks."""

from decimal import Decimal

import pytest
from django.utils import timezone

from market.exchange_rates import Rates, rate_symbols
from market.models import PriceBar, Stock
from portfolio.fetching import fetch_stale_holdings
from portfolio.models import Preferences
from portfolio.references import rates_in_use
from portfolio.schedules.warming import fetch_warm, kept_stocks
from tasks.models import Job
from tests.support.jobs import new_job, run_once

pytestmark = pytest.mark.django_db


def test_a_single_currency_needs_no_rate():
    assert rate_symbols(["EUR", "EUR"]) == []
    assert rate_symbols(["GBp", "GBP"]) == []


def test_rates_go_through_the_dollar():
    assert rate_symbols(["EUR", "USD"]) == ["EUR=X"]
    assert rate_symbols(["EUR", "GBp", "JPY"]) == ["EUR=X", "GBP=X", "JPY=X"]
    assert rate_symbols(["USD", "", "no code", "ÄÖÜ", "eur"]) == []


def test_an_amount_is_converted_at_the_newest_trusted_rate():
    for symbol, closes in (("EUR=X", (0.8, 0.9)), ("JPY=X", (150.0,))):
        stock = Stock.objects.create(symbol=symbol)
        for day, close in enumerate(closes, 23):
            PriceBar.objects.create(stock=stock, date=f"2026-11-{day}", close=close)
    PriceBar.objects.create(stock=stock, date="2026-11-25", close=1.5, is_suspicious=True)
    rates = Rates.between(["EUR", "JPY", "SEK"])
    assert rates.convert(Decimal(9), "EUR", "USD") == Decimal(10)
    assert rates.convert(Decimal(9), "EUR", "JPY") == Decimal(1_500)
    assert rates.convert(Decimal(9), "SEK", "SEK") == Decimal(9)
    assert rates.convert(Decimal(9), "SEK", "USD") is None


def in_currencies(**currencies: str) -> None:
    for symbol, currency in currencies.items():
        Stock.objects.filter(symbol=symbol).update(currency=currency, checked_at=timezone.now())


def test_a_login_fetches_the_rates_of_the_totals(user, hold):
    hold(user, "SAP", "VOD", "AAPL")
    in_currencies(SAP="EUR", VOD="GBp", AAPL="USD")
    assert [job.symbol for job in fetch_stale_holdings(user).created] == ["EUR=X", "GBP=X"]
    Stock.objects.update(checked_at=timezone.now())
    Job.objects.all().delete()
    assert fetch_stale_holdings(user).created == []


def test_a_login_fetches_no_rate_of_a_portfolio_in_its_base_currency(user, hold):
    hold(user, "SAP")
    in_currencies(SAP="EUR")
    Preferences.objects.create(user=user, base_currency="EUR")
    assert fetch_stale_holdings(user).created == []


def test_rates_in_use_are_kept_warm_and_those_of_inactive_users_are_not(user, hold, django_user_model):
    hold(user, "SAP")
    in_currencies(SAP="EUR")
    other = django_user_model.objects.create_user("other", is_active=False)
    hold(other, "ERIC")
    in_currencies(ERIC="SEK")
    Preferences.objects.create(user=user, base_currency="CHF")
    assert rates_in_use() == ["CHF=X", "EUR=X"]
    fetch_warm()
    (batch,) = Job.objects.all()
    assert {"CHF=X", "EUR=X"} <= set(batch.parameters["symbols"])


def test_new_preferences_fetch_their_rates_and_the_history_of_their_benchmark(user, hold, client):
    hold(user, "AAPL")
    in_currencies(AAPL="USD")
    client.force_login(user)
    Job.objects.all().delete()
    choices = {"base_currency": "CHF", "time_zone": "UTC", "benchmark": "^SSMI", "mails_alerts": "on"}
    client.post("/accounts/preferences/", choices)
    assert set(Job.objects.values_list("symbol", "user_id")) == {("CHF=X", user.pk), ("^SSMI", user.pk)}
    assert "start" in Job.objects.get(symbol="^SSMI").parameters
    Job.objects.all().delete()
    client.post("/accounts/preferences/", choices | {"time_zone": "Europe/Zurich"})
    assert not Job.objects.exists()


def test_a_benchmark_that_somebody_has_looked_at_is_kept_warm():
    assert not kept_stocks().exists()
    Stock.objects.create(symbol="^GSPC")
    assert [stock.symbol for stock in kept_stocks()] == ["^GSPC"]


def test_the_first_price_in_a_currency_brings_its_rate(yahoo):
    yahoo.serve("SAP.DE", currency="EUR")
    run_once(new_job("SAP.DE"))
    rate = Job.objects.get(symbol="EUR=X")
    assert rate.status == "pending"
    yahoo.serve("EUR=X", currency="EUR")
    run_once(rate)
    run_once(new_job("SAP.DE"))
    assert Job.objects.filter(symbol="EUR=X").count() == 1
