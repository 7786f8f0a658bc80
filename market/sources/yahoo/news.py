"""Yahoo's articles, as passed on by yfinance: JSON with parts that may be missing or of an unexpected type."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from market.sources.base import Headline


def read_articles(articles: Iterable[Any]) -> list[Headline]:
    """The headlines, in the given order; articles without a title or a time of publication are left out."""
    found = (_read(article) for article in articles)
    return [headline for headline in found if headline is not None]


def _read(article: Any) -> Headline | None:
    content = _part(article, "content")
    title, published_at = _text(content, "title"), _time(_text(content, "pubDate"))
    if not title or published_at is None:
        return None
    return Headline(
        external_id=_text(article, "id") or _text(content, "id"),
        title=title,
        publisher=_text(_part(content, "provider"), "displayName"),
        url=_text(_part(content, "canonicalUrl"), "url") or _text(_part(content, "clickThroughUrl"), "url"),
        published_at=published_at,
    )


def _part(node: Any, name: str) -> Any:
    return node.get(name) if isinstance(node, dict) else None


def _text(node: Any, name: str) -> str:
    found = _part(node, name)
    return found if isinstance(found, str) else ""


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
