"""Yahoo's news as its site gets them: the shape of what yfinance 1.7 reads from `/xhr/ncp`."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5


def article(title: str, *, hours: float = 1.0, publisher: str = "Stand-in Press", **changes: Any) -> dict[str, Any]:
    """One that was published so many hours ago; `changes` are of its content, such as `pubDate` or `canonicalUrl`."""
    number = str(uuid5(NAMESPACE_URL, title))
    published = (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
    page = {
        "url": f"https://finance.yahoo.com/news/{number}.html",
        "site": "finance",
        "region": "US",
        "lang": "en-US",
    }
    content = {
        "id": number,
        "contentType": "STORY",
        "title": title,
        "description": "",
        "summary": "What happened, in two sentences.",
        "pubDate": published,
        "displayTime": published,
        "isHosted": True,
        "bypassModal": False,
        "previewUrl": None,
        "thumbnail": None,
        "provider": {"displayName": publisher, "url": "http://press.example/"},
        "canonicalUrl": page,
        "clickThroughUrl": page,
        "metadata": {"editorsPick": False},
        "finance": {"premiumFinance": {"isPremiumNews": False, "isPremiumFreeNews": False}},
        "storyline": None,
    }
    return {"id": number, "content": content | changes}


def advertisement(title: str) -> dict[str, Any]:
    """What stands among the articles and is none; yfinance leaves it out."""
    return {"id": "ad", "ad": [{"headline": title}], "content": None}


def news_body(articles: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The whole answer."""
    stream = {"pagination": {"uuids": ""}, "nextPage": False, "stream": list(articles)}
    return {"status": "OK", "data": {"tickerStream": stream}}


def symbol_asked_for(body: bytes) -> str | None:
    """The symbol of a request; None where its body is another one than yfinance sends."""
    try:
        (symbol,) = json.loads(body)["serviceConfig"]["s"]
    except (ValueError, LookupError, TypeError):
        return None
    return str(symbol)
