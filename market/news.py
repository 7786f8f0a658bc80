"""News of a stock: fetched, made fit to be stored, kept once each, and given back."""

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from market.analysis.sentiment.vader import sentiment_of
from market.models import Analysis, NewsItem, Stock
from market.sources import fetch_news
from market.sources.base import Headline
from market.text import clean_text

ASKED_FOR = 20
"""Headlines that a source is asked for."""
KEPT = timedelta(days=90)
"""How long headlines stay. Older ones are not stored, and go with the next that come."""
RECENT = timedelta(days=7)
"""Older headlines say nothing about today."""
MOST = 20
"""Headlines that an analysis looks at; the newest."""
VERSION = "news/1"
"""Of a digest."""
AHEAD = timedelta(days=1)
"""A headline may be dated later than now by that, for clocks and time zones; not by more."""


def refresh_news(stock: Stock, now: datetime) -> int:
    """Ask a source for the newest headlines about a stock, and store them; how many are new. Raises SourceError.

    One request (and what a source needs before it), counted as every other one. Doing it twice changes nothing.
    """
    return store_news(stock, fetch_news(stock.symbol, ASKED_FOR), now)


def store_news(stock: Stock, headlines: Iterable[Headline], now: datetime) -> int:
    """Store what is fit to be shown and new by its id and its address; how many that is. What is too old goes."""
    items = [item for headline in headlines if (item := _item(stock, headline, now)) is not None]
    stock.news.filter(published_at__lt=now - KEPT).delete()
    before = stock.news.count()
    # In this order, so that two who store the same wait for each other instead of deadlocking.
    NewsItem.objects.bulk_create(sorted(items, key=lambda item: item.external_id), ignore_conflicts=True)
    return max(0, stock.news.count() - before)  # another who stores them at the same time may count them, too


def digest(stock: Stock, new: int, now: datetime) -> Analysis:
    """What is in the news of the last days, not saved yet; `new` headlines came just now. It recommends nothing."""
    news = recent_news(stock, now)
    return Analysis(
        stock=stock,
        kind=Analysis.Kind.NEWS,
        data_as_of=news[0].published_at.date() if news else None,
        values={"new": new, "headlines": [{"id": item.pk, "title": item.title} for item in news]},
        version=VERSION,
    )


def recent_news(stock: Stock, now: datetime) -> list[NewsItem]:
    """The headlines that an analysis is of, the newest first."""
    return newest_news(stock, MOST, since=now - RECENT)


def newest_news(stock: Stock, count: int, *, since: datetime | None = None) -> list[NewsItem]:
    """The newest headlines that are stored, each with its `sentiment`; with `since`, none from before. One query."""
    news = stock.news.all() if since is None else stock.news.filter(published_at__gte=since)
    return list(news[:count])


def _item(stock: Stock, headline: Headline, now: datetime) -> NewsItem | None:
    """None without anything to read, and for what is too old or of the future."""
    title, url = clean_text(headline.title, 300), _web_address(headline.url)
    if not title or not now - KEPT <= headline.published_at <= now + AHEAD:
        return None
    return NewsItem(
        stock=stock,
        external_id=_key(headline.external_id, url or title),
        title=title,
        publisher=clean_text(headline.publisher, 100),
        url=url,
        published_at=headline.published_at,
        sentiment=sentiment_of(title),
    )


def _web_address(url: str) -> str:
    """`url` where a browser may be sent there; else empty."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    fit = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    return url if fit and len(url) <= 1000 and url.isascii() and url.isprintable() and " " not in url else ""


def _key(external_id: str, other: str) -> str:
    """The source's id, where it is one that fits; else one that is always the same for the same address or title."""
    if external_id == clean_text(external_id, 100) != "":
        return external_id
    return hashlib.sha256(external_id.encode(errors="replace") or other.encode()).hexdigest()
