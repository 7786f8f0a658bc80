"""Alpha Vantage as a second source, asked where there is a key for it."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from market.jobs.requests import request_batches, request_fetches
from market.models import Stock
from market.sources import configured_sources, fetch_history
from market.sources.alpha_vantage import AlphaVantage
from market.sources.base import (
    AccessRefused,
    MalformedAnswer,
    NotOffered,
    RateLimited,
    SourceBusy,
    SourceDown,
    SourceError,
    SourceTimeout,
    SourceUnreachable,
    SymbolNotFound,
)
from market.sources.budget import Budget, usage_of
from market.sources.http import LARGEST_ANSWER
from tasks.models import Job
from tasks.running.execute import JobFailed, run_job
from tests.support.memory import watched_memory
from tests.support.standins.alpha_vantage import KEY, PAID_KEY, AlphaVantageStandIn
from tests.support.standins.yahoo import daily_bars

SOURCE = "alpha_vantage"
SINCE = timezone.now().date() - timedelta(days=30)


@pytest.fixture(scope="module")
def server() -> Iterator[AlphaVantageStandIn]:
    with AlphaVantageStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def alpha_vantage(server, settings) -> Iterator[AlphaVantageStandIn]:
    """Alpha Vantage with a free key; it knows AAPL."""
    settings.ALPHA_VANTAGE_API_KEY = KEY
    settings.ALPHA_VANTAGE_PROXY, settings.ALPHA_VANTAGE_CA_BUNDLE = server.proxy_url, str(server.ca_bundle)
    configured_sources.cache_clear()
    server.serve("AAPL", daily_bars("AAPL", 300))
    yield server
    server.forget()
    configured_sources.cache_clear()


@pytest.fixture
def source(alpha_vantage) -> AlphaVantage:
    return AlphaVantage()


@pytest.fixture
def in_order(configured):
    """in_order("alpha_vantage", "yahoo_finance"): these sources."""

    def in_order(*names: str) -> None:
        configured(**{"stock_jobs.data_fetch.sources": list(names)})
        configured_sources.cache_clear()

    return in_order


def served() -> list[tuple[Any, ...]]:
    """Alpha Vantage's prices have four decimals."""
    return [
        (bar.date, *(round(price, 4) for price in (bar.open, bar.high, bar.low, bar.close)), None, bar.volume)
        for bar in daily_bars("AAPL", 300)
        if bar.date >= SINCE
    ]


def failure(source: AlphaVantage, symbol: str = "AAPL") -> SourceError:
    with pytest.raises(SourceError) as caught:
        source.history(symbol, SINCE)
    return caught.value


# Its answers


def test_the_bars_are_the_served_ones_as_they_were_traded(source):
    history = source.history("AAPL", SINCE)

    assert [tuple(bar) for bar in history.bars] == served()
    assert (history.symbol, history.source) == ("AAPL", SOURCE)


def test_only_the_days_asked_for_are_given(source):
    first, last = SINCE + timedelta(days=5), SINCE + timedelta(days=15)

    dates = [bar.date for bar in source.history("AAPL", first, last).bars]

    assert dates == [bar.date for bar in daily_bars("AAPL", 300) if first <= bar.date <= last]


@pytest.mark.parametrize(("days", "size"), [(3, "compact"), (140, "compact"), (141, "full"), (3650, "full")])
def test_the_long_answer_is_asked_for_where_the_short_one_does_not_reach(alpha_vantage, settings, days, size):
    settings.ALPHA_VANTAGE_API_KEY = PAID_KEY
    start = timezone.now().date() - timedelta(days=days)

    bars = AlphaVantage().history("AAPL", start).bars

    assert alpha_vantage.requests[-1]["outputsize"] == size
    assert [bar.date for bar in bars] == [bar.date for bar in daily_bars("AAPL", 300) if bar.date >= start]


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        *(("BRK-B", "BRK-B"), ("TSCO.L", "TSCO.LON"), ("SHOP.TO", "SHOP.TRT"), ("GPV.V", "GPV.TRV")),
        *(("MBG.DE", "MBG.DEX"), ("RELIANCE.BO", "RELIANCE.BSE"), ("600104.SS", "600104.SHH")),
        *(("000002.SZ", "000002.SHZ"), ("BBD-B.TO", "BBD-B.TRT")),
    ],
)
def test_a_share_is_asked_for_by_alpha_vantages_name(alpha_vantage, source, symbol, name):
    alpha_vantage.serve(name, daily_bars(name, 25))

    assert source.history(symbol, SINCE).symbol == symbol


@pytest.mark.parametrize("symbol", ["^GSPC", "EURUSD=X", "GC=F", "BTC-USD", "M&M.NS", "7203.T"])
def test_what_alpha_vantage_cannot_have_is_not_asked_for(alpha_vantage, source, symbol):
    error = failure(source, symbol)

    assert type(error) is NotOffered
    assert symbol in str(error)
    assert alpha_vantage.requests == []


FAILURES = [
    ("a_second", RateLimited, "Alpha Vantage refused AAPL: too many requests a second"),
    ("a_minute", RateLimited, "Alpha Vantage refused AAPL: too many requests a minute"),
    ("a_day", RateLimited, "Alpha Vantage refused AAPL: too many requests a day"),
    ("too_many", RateLimited, "Alpha Vantage refused AAPL: too many requests (429)"),
    ("unheard_of", SourceError, "Alpha Vantage sent a note instead of data for AAPL: Closed for repairs, …"),
    ("server_error", SourceDown, "Alpha Vantage answered 503 for AAPL"),
    *(
        (how, MalformedAnswer, "Alpha Vantage sent an answer for AAPL that is not a series of daily prices")
        for how in ("html", "malformed", "nested", "list", "empty", "nan", "missing_field", "redirect")
    ),
    ("endless", MalformedAnswer, "Alpha Vantage sent more than 16 MiB for AAPL"),
    ("bomb", MalformedAnswer, "Alpha Vantage sent more than 16 MiB for AAPL"),
]


@pytest.mark.parametrize(("how", "kind", "message"), FAILURES)
def test_a_failure_has_a_class_and_a_message_of_its_own(alpha_vantage, source, how, kind, message):
    alpha_vantage.misbehave(how)

    error = failure(source)

    assert type(error) is kind
    assert str(error) == message


def test_no_answer_within_the_configured_limit_is_a_time_out(alpha_vantage, configured):
    configured(**{"integration.apis.alpha_vantage.timeout": 0.25})
    alpha_vantage.misbehave("timeout")

    error = failure(AlphaVantage())

    assert type(error) is SourceTimeout
    assert str(error) == "Alpha Vantage did not answer for AAPL in time (at most 0.25 s)"


def test_a_connection_that_breaks_off_is_no_answer(alpha_vantage, source):
    alpha_vantage.misbehave("drop")

    error = failure(source)

    assert type(error) is SourceUnreachable
    assert str(error).startswith("Alpha Vantage could not be reached for AAPL: ")


@pytest.mark.parametrize("how", ["endless", "bomb"])
def test_an_answer_without_end_takes_no_more_memory_than_the_largest_one(alpha_vantage, source, how):
    alpha_vantage.misbehave(how)

    with watched_memory() as growth:
        failure(source)

    assert growth.peak < 4 * LARGEST_ANSWER


def test_an_unknown_share_is_not_found(source):
    error = failure(source, "ZZTOP")

    assert type(error) is SymbolNotFound
    assert str(error) == "Alpha Vantage has no data for ZZTOP"


def test_a_share_without_a_bar_in_these_days_is_not_found(alpha_vantage, source):
    alpha_vantage.serve("OLD", daily_bars("OLD", 10, SINCE - timedelta(days=1)))

    assert type(failure(source, "OLD")) is SymbolNotFound


def test_a_free_key_is_told_that_a_long_history_needs_a_paid_one(source):
    with pytest.raises(AccessRefused) as error:
        source.history("AAPL", SINCE - timedelta(days=365))

    assert str(error.value) == "Alpha Vantage refused AAPL: the request needs a paid key"


def test_a_key_that_is_not_accepted_is_named(source, settings):
    settings.ALPHA_VANTAGE_API_KEY = "WRONG"

    error = failure(source)

    assert type(error) is AccessRefused
    assert str(error) == "Alpha Vantage refused AAPL: it does not accept ALPHA_VANTAGE_API_KEY"


@pytest.mark.parametrize("how", [*(how for how, _, _ in FAILURES), "timeout", "drop"])
def test_the_key_is_never_told(alpha_vantage, configured, caplog, how):
    caplog.set_level(logging.DEBUG)
    configured(**{"integration.apis.alpha_vantage.timeout": 2})
    alpha_vantage.misbehave(how)

    error: BaseException | None = failure(AlphaVantage())

    assert alpha_vantage.requests[0]["apikey"] == KEY
    while error is not None:
        assert KEY not in repr(error)
        error = None if error.__suppress_context__ else error.__cause__ or error.__context__
    assert KEY not in caplog.text


# Its budget


@pytest.mark.django_db
def test_five_requests_a_minute_are_its_own_budget(alpha_vantage):
    source = AlphaVantage(Budget(SOURCE))
    for _ in range(5):
        source.history("AAPL", SINCE)

    with pytest.raises(SourceBusy, match=r"Alpha Vantage: rate limit reached \(5 of 5 requests a minute\) until"):
        source.history("AAPL", SINCE)
    assert len(alpha_vantage.requests) == usage_of(SOURCE).used == 5
    assert usage_of("yahoo_finance").used == 0


@pytest.mark.django_db
@pytest.mark.parametrize(("how", "seconds"), [("a_second", 2), ("a_minute", 60), ("a_day", 3600), ("too_many", 17)])
def test_after_a_refusal_it_is_left_alone_for_a_while(alpha_vantage, how, seconds):
    source = AlphaVantage(Budget(SOURCE))
    alpha_vantage.misbehave(how)
    failure(source)

    until = usage_of(SOURCE).pause_until

    assert until
    assert timedelta(seconds=seconds - 2) < until - timezone.now() <= timedelta(seconds=seconds)
    with pytest.raises(SourceBusy, match="Alpha Vantage is paused until"):
        AlphaVantage(Budget(SOURCE)).history("AAPL", SINCE)
    assert len(alpha_vantage.requests) == 1


# Beside Yahoo


pair = pytest.mark.parametrize("order", [("yahoo_finance", SOURCE), (SOURCE, "yahoo_finance")])


@pytest.mark.django_db
def test_it_answers_where_yahoo_fails(alpha_vantage, yahoo):
    yahoo.misbehave("server_error")

    assert fetch_history("AAPL", SINCE).source == SOURCE


@pytest.mark.django_db
def test_without_a_key_it_is_not_asked(alpha_vantage, yahoo, settings):
    settings.ALPHA_VANTAGE_API_KEY = None
    configured_sources.cache_clear()
    yahoo.misbehave("server_error")

    with pytest.raises(SourceDown, match="Yahoo Finance answered 503"):
        fetch_history("AAPL", SINCE)
    assert [source.name for source in configured_sources()] == ["yahoo_finance"]
    assert alpha_vantage.requests == []


@pytest.mark.django_db
@pair
def test_an_index_that_yahoo_does_not_know_is_unknown(alpha_vantage, yahoo, in_order, order):
    in_order(*order)

    with pytest.raises(SymbolNotFound, match=r"Yahoo Finance has no data for \^NONE"):
        fetch_history("^NONE", SINCE)


@pytest.mark.django_db
@pair
def test_an_index_is_not_unknown_because_yahoo_fails(alpha_vantage, yahoo, in_order, order):
    in_order(*order)
    yahoo.misbehave("malformed")

    with pytest.raises(MalformedAnswer, match="Yahoo Finance sent an answer"):
        fetch_history("^GSPC", SINCE)


@pytest.mark.django_db
@pair
def test_a_key_that_is_not_accepted_does_not_keep_yahoo_from_being_tried_again(
    alpha_vantage, yahoo, in_order, settings, order
):
    in_order(*order)
    settings.ALPHA_VANTAGE_API_KEY = "WRONG"
    yahoo.misbehave("server_error")

    with pytest.raises(SourceDown, match="Yahoo Finance answered 503"):
        fetch_history("AAPL", SINCE)


@pytest.mark.django_db
def test_an_index_alone_cannot_be_fetched_and_is_not_parked(alpha_vantage, in_order):
    in_order(SOURCE)
    stock = Stock.objects.create(symbol="^GSPC")
    job = request_fetches([stock], Job.Trigger.USER_REQUEST).created[0]

    with pytest.raises(JobFailed, match=r"Alpha Vantage has only shares, and \^GSPC is not a share"):
        run_job(job.pk, "worker")
    stock.refresh_from_db()
    assert (stock.checked_at, stock.misses, stock.status) == (None, 0, "active")


@pytest.mark.django_db
def test_a_job_and_its_parameters_name_the_first_source_that_can_be_asked(alpha_vantage, in_order, settings):
    stock = Stock.objects.create(symbol="AAPL")
    in_order("cached", SOURCE, "yahoo_finance")
    job = request_fetches([stock], Job.Trigger.USER_REQUEST).created[0]

    result = run_job(job.pk, "worker")

    assert result
    assert (job.parameters["source"], result["source"]) == (SOURCE, SOURCE)
    settings.ALPHA_VANTAGE_API_KEY = None
    again = request_fetches([stock], Job.Trigger.USER_REQUEST).created[0]
    assert again.parameters["source"] == "yahoo_finance"


@pytest.mark.django_db(transaction=True)
def test_each_member_of_a_batch_tells_its_source(alpha_vantage, yahoo):
    yahoo.serve("AAPL", "MSFT")
    yahoo.misbehave("server_error", "AAPL")
    stocks = [Stock.objects.create(symbol=symbol) for symbol in ("AAPL", "MSFT")]
    job = request_batches(stocks, Job.Trigger.SCHEDULED_UPDATE).created[0]
    configured_sources.cache_clear()

    result = run_job(job.pk, "worker")

    assert result
    sources = {symbol: member["source"] for symbol, member in result["results"].items()}
    assert sources == {"AAPL": SOURCE, "MSFT": "yahoo_finance"}
    told = job.events.filter(event="progress").values_list("payload__symbol", "payload__source")
    assert dict(told) == sources
