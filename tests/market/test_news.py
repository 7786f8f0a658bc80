"""News of a stock: what is read of Yahoo's answer, and what of that is stored."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from market.analysis.sentiment.vader import sentiment_of
from market.models import LlmDay, NewsItem, SourceState, SourceUse, Stock
from market.news import ASKED_FOR, KEPT, newest_news, refresh_news, store_news
from market.sources import configured_sources, fetch_news
from market.sources.base import (
    Headline,
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
from market.sources.budget import spending
from market.sources.yahoo.news import read_articles
from market.text import clean_text
from tests.support.standins.yahoo import NEWS
from tests.support.standins.yahoo_news import advertisement, article

pytestmark = pytest.mark.django_db

NOW = timezone.now()


@pytest.fixture
def stock() -> Stock:
    return Stock.objects.create(symbol="AAPL")


def headline(title: str = "Apple does well", **changes: Any) -> Headline:
    return Headline(f"id of {title}"[:90], title, "Press", "", NOW)._replace(**changes)


def titles(stock: Stock) -> list[str]:
    return [item.title for item in newest_news(stock, 100)]


def test_news_and_the_days_of_the_llm_are_in_the_admin_to_read(stock, admin_client):
    store_news(stock, [headline("<b>Apple</b>")], NOW)
    LlmDay.objects.create(day=NOW.date(), tokens=460)
    for page, shown in (("newsitem", "&lt;b&gt;Apple&lt;/b&gt;"), ("llmday", "460")):
        assert shown in admin_client.get(f"/admin/market/{page}/").content.decode()
        assert admin_client.get(f"/admin/market/{page}/add/").status_code == 403


# What Yahoo answers


def test_headlines_are_read_as_yfinance_gives_them_without_advertisements(yahoo):
    yahoo.serve_news("AAPL", article("Apple soars", hours=2, publisher="Reuters"), advertisement("Buy now"))
    (found,) = fetch_news("AAPL", ASKED_FOR)
    assert (found.title, found.publisher) == ("Apple soars", "Reuters")
    assert found.url == f"https://finance.yahoo.com/news/{found.external_id}.html"
    assert timedelta(hours=1.9) < timezone.now() - found.published_at < timedelta(hours=2.1)


def test_a_stock_without_news_has_none(yahoo):
    assert fetch_news("NONEWS", ASKED_FOR) == []


def test_news_of_one_stock_are_asked_for_each_time_anew(yahoo):
    yahoo.serve_news("AAPL", article("First"))
    assert [one.title for one in fetch_news("AAPL", ASKED_FOR)] == ["First"]
    yahoo.serve_news("AAPL", article("Second"))
    assert [one.title for one in fetch_news("AAPL", ASKED_FOR)] == ["Second"]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("rate_limited", RateLimited),
        ("unauthorized", SourceDown),
        ("server_error", SourceDown),
        ("html", SourceDown),
        ("malformed", MalformedAnswer),
        ("null_body", MalformedAnswer),
        ("nested", MalformedAnswer),
        ("drop", SourceUnreachable),
        ("endless", MalformedAnswer),
        ("bomb", MalformedAnswer),
    ],
)
def test_every_failure_has_a_name(yahoo, how, error):
    yahoo.misbehave(how, NEWS)
    with pytest.raises(error):
        fetch_news("AAPL", ASKED_FOR)


def test_an_answer_that_takes_too_long_is_given_up(yahoo, configured):
    configured(**{"integration.apis.yahoo_finance.timeout": 0.3})
    configured_sources.cache_clear()
    yahoo.misbehave("timeout", NEWS)
    with pytest.raises(SourceTimeout):
        fetch_news("AAPL", ASKED_FOR)


def test_a_refused_cookie_is_renewed_once(yahoo):
    yahoo.serve_news("AAPL", article("Apple soars"))
    yahoo.misbehave("unauthorized", NEWS, times=1)
    assert [one.title for one in fetch_news("AAPL", ASKED_FOR)] == ["Apple soars"]


@pytest.mark.parametrize(
    "stream",
    [
        {"data": None},
        {"data": {"tickerStream": None}},
        {"data": {"tickerStream": {"stream": None}}},
        {"data": {"tickerStream": {"stream": [1, None, "text"]}}},
        [],
    ],
)
def test_an_answer_of_another_shape_is_malformed(yahoo, monkeypatch, stream):
    monkeypatch.setattr("tests.support.standins.yahoo.news_body", lambda _articles: stream)
    with pytest.raises(MalformedAnswer, match="sent an answer without news"):
        fetch_news("AAPL", ASKED_FOR)


def test_a_refusal_that_is_no_server_error_is_told_and_does_not_pass(yahoo):
    yahoo.misbehave("not_found", NEWS)
    with pytest.raises(SourceError, match="answered 404 for news") as refused:
        fetch_news("AAPL", ASKED_FOR)
    assert not refused.value.retryable


def test_what_looks_like_an_isin_that_yahoo_does_not_know_is_an_unknown_symbol(yahoo):
    with pytest.raises(SymbolNotFound):
        fetch_news("US0378331005", ASKED_FOR)


def test_requests_for_news_are_counted_as_every_other_one(yahoo, stock, configured):
    configured(**{"stock_jobs.data_fetch.rate_limit": 60})  # so low that each one is granted by itself
    before = len(yahoo.server.requests)
    refresh_news(stock, NOW)
    counted = sum(SourceUse.objects.filter(source="yahoo_finance").values_list("requests", flat=True))
    assert counted == len(yahoo.server.requests) - before > 0


def test_news_wait_while_the_source_wants_to_be_left_alone(yahoo):
    yahoo.misbehave("rate_limited", NEWS, retry_after=60)
    with pytest.raises(RateLimited, match="refused news"):
        fetch_news("AAPL", ASKED_FOR)
    assert SourceState.objects.get().cooldown_until is not None
    asked = len(yahoo.server.news_requests())
    with pytest.raises(SourceBusy), spending(0.5):
        fetch_news("AAPL", ASKED_FOR)
    assert len(yahoo.server.news_requests()) == asked


def test_where_no_source_has_news_that_is_said(configured):
    configured(**{"stock_jobs.data_fetch.sources": ["sample", "cached"]})
    configured_sources.cache_clear()
    try:
        with pytest.raises(NotOffered, match=r"No source of stock_jobs\.data_fetch\.sources has news"):
            fetch_news("AAPL", ASKED_FOR)
    finally:
        configured_sources.cache_clear()


_json = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.lists(st.text(max_size=2), max_size=2)


@settings(deadline=None)  # the machine may be busy
@given(
    article=st.dictionaries(st.sampled_from(["id", "content", "ad"]), _json)
    | st.fixed_dictionaries(
        {
            "content": st.dictionaries(
                st.sampled_from(["id", "title", "pubDate", "provider", "canonicalUrl", "clickThroughUrl"]), _json
            )
        }
    )
)
def test_an_article_may_lack_or_confuse_anything(article):
    for found in read_articles([article]):
        assert all(isinstance(text, str) for text in found[:4])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-06T14:00:00Z", datetime(2026, 3, 6, 14, tzinfo=UTC)),
        ("2026-03-06T14:00:00+02:00", datetime(2026, 3, 6, 12, tzinfo=UTC)),
        ("2026-03-06T14:00:00", datetime(2026, 3, 6, 14, tzinfo=UTC)),
    ],
)
def test_times_are_read_in_utc(text, expected):
    (found,) = read_articles([article("x", pubDate=text)])
    assert found.published_at == expected


@pytest.mark.parametrize("text", ["", "yesterday", "1e99", "0001-01-01T00:00:00+14:00", None, 7])
def test_an_article_without_a_time_is_none(text):
    assert read_articles([article("x", pubDate=text)]) == []


def test_where_there_is_no_canonical_address_the_other_one_counts():
    (found,) = read_articles([article("x", canonicalUrl=None, clickThroughUrl={"url": "https://press.example/x"})])
    assert found.url == "https://press.example/x"


# What is stored


def test_headlines_are_stored_with_how_they_sound(stock):
    store_news(stock, [headline("Apple wins a great award")], NOW)
    (item,) = newest_news(stock, 10)
    assert (item.title, item.publisher, item.published_at) == ("Apple wins a great award", "Press", NOW)
    assert item.sentiment == sentiment_of("Apple wins a great award") > 0.5


def test_what_is_stored_is_not_stored_again_by_its_id_or_its_address(stock):
    other = Stock.objects.create(symbol="MSFT")
    once = headline("Once", url="https://press.example/once")
    store_news(stock, [once, once], NOW)
    store_news(stock, [once._replace(title="Once again"), once._replace(external_id="another")], NOW)
    store_news(other, [once], NOW)
    assert (titles(stock), titles(other)) == (["Once"], ["Once"])


def test_without_an_id_the_address_or_the_title_tells_them_apart(stock):
    with_address = headline("A", external_id="", url="https://press.example/a")
    store_news(stock, [with_address, headline("B", external_id=""), headline("C", external_id="")], NOW)
    store_news(stock, [with_address._replace(title="A again"), headline("B", external_id="")], NOW)
    assert sorted(titles(stock)) == ["A", "B", "C"]


def test_the_newest_come_first_and_only_as_many_as_are_wanted(stock, django_assert_num_queries):
    store_news(stock, [headline(f"{n} h", published_at=NOW - timedelta(hours=n)) for n in (3, 1, 2)], NOW)
    with django_assert_num_queries(1):
        assert [item.title for item in newest_news(stock, 2)] == ["1 h", "2 h"]
    assert [item.title for item in newest_news(stock, 9, since=NOW - timedelta(hours=2))] == ["1 h", "2 h"]


def test_the_newest_are_found_by_their_index(stock):
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
    store_news(stock, [headline()], NOW)
    assert "news_newest" in stock.news.all()[:20].explain()


def test_what_is_too_old_or_of_the_future_is_not_stored_and_what_became_old_goes(stock):
    days = [timedelta(days=-91), timedelta(days=-89), timedelta(hours=23), timedelta(hours=25)]
    store_news(stock, [headline(str(day), published_at=NOW + day) for day in days], NOW)
    assert sorted(titles(stock)) == sorted([str(days[1]), str(days[2])])
    store_news(stock, [], NOW + KEPT - timedelta(days=80))
    assert titles(stock) == [str(days[2])]


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,<script>",
        "ftp://press.example/x",
        "//press.example/x",
        "/x",
        "https:///x",
        "https://user@press.example/x",
        "https://[::1",
        "https://press.example/a b",
        "https://press.example/\u202e",
        "https://press.example/\n",
        "https://press.example/" + "x" * 1000,
        "\x00",
    ],
)
def test_an_address_that_a_browser_should_not_be_sent_to_is_left_out(stock, url):
    store_news(stock, [headline(url=url)], NOW)
    assert [item.url for item in newest_news(stock, 10)] == [""]


@pytest.mark.parametrize("url", ["https://press.example/x?y=1", "http://press.example:8080/x"])
def test_other_addresses_are_kept(stock, url):
    store_news(stock, [headline(url=url)], NOW)
    assert [item.url for item in newest_news(stock, 10)] == [url]


def test_text_that_no_database_or_page_can_take_is_made_fit(stock):
    odd = headline(
        "NUL\x00 and\nlines, half \ud800 a character, \u202eturned", publisher="P" * 999, external_id="\x00" * 500
    )
    store_news(
        stock, [odd, headline("x" * 10_000, external_id="\ud800"), headline("\x00\n ", external_id="empty")], NOW
    )
    long, first = sorted(newest_news(stock, 10), key=lambda item: item.title.startswith("NUL"))
    assert first.title == "NUL and lines, half a character, turned"
    assert (first.publisher, len(first.external_id)) == ("P" * 99 + "…", 64)
    assert long.title == "x" * 299 + "…"
    assert NewsItem.objects.count() == 2


@settings(deadline=None)
@given(text=st.text(), longest=st.integers(1, 50))
def test_cleaned_text_is_one_short_line_that_can_be_stored_and_stays_as_it_is(text, longest):
    cleaned = clean_text(text, longest)
    assert len(cleaned) <= longest
    assert cleaned.encode().decode() == cleaned
    assert not set(cleaned) & set("\x00\n\r\t\u202e")
    assert clean_text(cleaned, longest) == cleaned


def test_words_in_other_writing_stay():
    assert clean_text("苹果公司股价上涨: Übermaß", 100) == "苹果公司股价上涨: Übermaß"
