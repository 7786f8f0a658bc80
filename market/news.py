"""News of a stock: fetched, cleaned, stored once each, and queried."""

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
"""Headlines in one request to a source."""
KEPT = timedelta(days=90)
"""How long headlines stay. Older headlines are not stored, and the next refresh deletes stored ones."""
RECENT = timedelta(days=7)
"""Older headlines say nothing about today."""
MOST_HEADLINES = 20
"""The most headlines of an analysis; the newest count."""
VERSION = "news/1"
"""The version of a digest."""
AHEAD = timedelta(days=1)
"""A headline may be dated up to a day ahead, for clocks and time zones."""


def refresh_news(stock: Stock, now: datetime) -> int:
    """Fetch the newest headlines about a stock, and store them; returns the number of new items. Raises SourceError.

    Takes a single request (and any preparing requests of the source), counted like all requests. Idempotent.
    """
    return store_news(stock, fetch_news(stock.symbol, ASKED_FOR), now)


def store_news(stock: Stock, headlines: Iterable[Headline], now: datetime) -> int:
    """Store valid headlines with a new id and address; returns their number. Deletes headlines that are too old."""
    items = [item for headline in headlines if (item := _item(stock, headline, now)) is not None]
    stock.news.filter(published_at__lt=now - KEPT).delete()
    before = stock.news.count()
    # Sorted, so that two writers of the same headlines wait for each other instead of deadlocking.
    NewsItem.objects.bulk_create(sorted(items, key=lambda item: item.external_id), ignore_conflicts=True)
    return max(0, stock.news.count() - before)  # a concurrent writer of the same headlines may count them, too


def digest(stock: Stock, new: int, now: datetime) -> Analysis:
    """The news of the last days as an unsaved analysis, without a recommendation; `new` counts the new headlines."""
    news = recent_news(stock, now)
    return Analysis(
        stock=stock,
        kind=Analysis.Kind.NEWS,
        data_as_of=news[0].published_at.date() if news else None,
        values={"new": new, "headlines": [{"id": item.pk, "title": item.title} for item in news]},
        version=VERSION,
    )


def recent_news(stock: Stock, now: datetime) -> list[NewsItem]:
    """The headlines for an analysis, the newest first."""
    return newest_news(stock, MOST_HEADLINES, since=now - RECENT)


def newest_news(stock: Stock, count: int, *, since: datetime | None = None) -> list[NewsItem]:
    """The newest stored headlines, each with its `sentiment`; with `since`, none from before. One query."""
    news = stock.news.all() if since is None else stock.news.filter(published_at__gte=since)
    return list(news[:count])


def _item(stock: Stock, headline: Headline, now: datetime) -> NewsItem | None:
    """A headline as a row; None if it has no text, is too old or lies in the future."""
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
    """`url` if safe for a browser; else empty."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    fit = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    return url if fit and len(url) <= 1000 and url.isascii() and url.isprintable() and " " not in url else ""


def _key(external_id: str, other: str) -> str:
    """The source's id, if valid; else a digest of the id, address or title."""
    if external_id == clean_text(external_id, 100) != "":
        return external_id
    return hashlib.sha256(external_id.encode(errors="replace") or other.encode()).hexdigest()
