"""The texts of the stream. portfolio/static/portfolio/live.js reads them."""

import re

GONE = "event: gone\ndata: 1\n\n"
"""The session has ended: the page reloads, and so leads to the login."""
FIGURES = "event: figures\ndata: 1\n\n"
"""The stock of the page has changed: the page fetches its figures."""

_SPACES = re.compile(r"[ \t\r\n]+")


def element(html: str) -> str:
    """An element in place of the page's element with the same id."""
    return f"event: element\ndata: {_SPACES.sub(' ', html).strip()}\n\n"


def beat(seen_until: float) -> str:
    """A sign of life. `seen_until`: the page has been sent all that was committed before this Unix time."""
    return f"event: beat\ndata: {seen_until:.3f}\n\n"
