"""Whether Yahoo can be reached, and what stands for its prices if not."""

import socket
from collections.abc import Iterator

import pytest
import yaml
from django.conf import settings
from django.utils import timezone

from market.models import PriceBar, Stock
from operations.local import samples
from operations.local.samples import YahooCheck, forget_samples, has_real_prices, write_configuration
from stockqueue.config import load_config
from tests.support.prices import keep
from tests.support.standins.yahoo import daily_bars


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_yahoo_is_reachable_when_it_answers_at_all(yahoo):
    assert YahooCheck().why_unreachable() == ""  # with 404
    assert yahoo.asked_for() == []


def test_why_yahoo_is_unreachable_is_told(settings):
    settings.YAHOO_PROXY = "http://127.0.0.1:9"
    assert YahooCheck().why_unreachable() == "Connection refused"


def test_a_yahoo_that_does_not_answer_delays_the_start_for_a_bounded_time(settings, silent_port, monkeypatch):
    monkeypatch.setattr(samples, "PATIENCE", 0.3)
    settings.YAHOO_PROXY = f"http://127.0.0.1:{silent_port}"
    assert YahooCheck().why_unreachable() in ("timed out", "no answer within 0 s")


@pytest.mark.parametrize(
    "sections",
    [
        {"job_processor": {}},
        {"job_processor": {"stock_jobs": {"data_fetch": {"sources": ["yahoo_finance"], "rate_limit": 7}}}},
        {"job_processor": {}, "development": {"job_processor": {"stock_jobs": {"data_fetch": {"rate_limit": 7}}}}},
        {"job_processor": {}, "development": {}},
    ],
)
def test_the_configuration_of_samples_differs_in_sources_and_analyses_alone(sections, tmp_path):
    (tmp_path / "own.yml").write_text(yaml.safe_dump(sections))
    before = load_config(tmp_path / "own.yml", settings.ENVIRONMENT)
    written = write_configuration(tmp_path / "own.yml", tmp_path / "sample.yml", ["sample"])
    after = load_config(written, settings.ENVIRONMENT)
    assert after.stock_jobs.data_fetch.sources == ("sample",)
    assert after.stock_jobs.analysis.at_login == ()
    assert after.stock_jobs.data_fetch.rate_limit == before.stock_jobs.data_fetch.rate_limit


@pytest.mark.django_db
def test_samples_are_forgotten_and_real_prices_stay():
    for symbol, source in (("AAPL", "sample"), ("MSFT", "yahoo_finance")):
        stock = Stock.objects.create(symbol=symbol, source=source, exchange="SAMPLE", checked_at=timezone.now())
        keep(stock, daily_bars(symbol, 5))
    assert has_real_prices()
    assert forget_samples() == 1
    assert set(PriceBar.objects.values_list("stock__symbol", flat=True)) == {"MSFT"}
    forgotten = Stock.objects.get(symbol="AAPL")
    assert (forgotten.source, forgotten.exchange, forgotten.checked_at, forgotten.last_bar_on) == ("", "", None, None)
    assert forget_samples() == 0


@pytest.mark.django_db
def test_an_empty_database_has_no_real_prices():
    Stock.objects.create(symbol="AAPL")
    assert not has_real_prices()
