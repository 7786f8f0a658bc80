"""What every source of market data gives, and how it fails."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable


class Bar(NamedTuple):
    """One day: prices in the stock's currency, after splits (but see AS_TRADED); `adj_close` after dividends too."""

    date: date
    open: float | None
    high: float | None
    low: float | None
    close: float
    adj_close: float | None
    volume: int | None


@dataclass(frozen=True)
class History:
    """What a source answered for one symbol: bars in date order, and what it says of the instrument."""

    symbol: str
    source: str
    bars: Sequence[Bar]
    name: str = ""
    exchange: str = ""
    currency: str = ""


class Headline(NamedTuple):
    """One piece of news of a stock, as a source has it: nothing of it is trusted or cut yet."""

    external_id: str
    """The source's own; may be empty."""
    title: str
    publisher: str
    url: str
    published_at: datetime
    """With a time zone."""


AS_TRADED = frozenset(["alpha_vantage"])
"""Sources whose prices are as they were traded, without later splits and dividends. They have no `adj_close`."""


class Source(Protocol):
    """A place to get daily bars from."""

    name: str
    """As in `stock_jobs.data_fetch.sources`."""
    label: str
    """As people read it."""

    def history(self, symbol: str, start: date, end: date | None = None) -> History:
        """The bars from `start` to `end`, both included (None: to today); at least one. Raises SourceError."""
        ...


@runtime_checkable
class NewsSource(Protocol):
    """A place to get news from, too."""

    def news(self, symbol: str, count: int) -> list[Headline]:
        """About `count` of the newest headlines about a stock; none where there are none. Raises SourceError."""
        ...


class Allowance(Protocol):
    """What a session asks before each request, and tells after each answer."""

    def spend(self) -> None:
        """Count a request that is about to be sent. SourceBusy where there is none to be had now."""
        ...

    def note_refusal(self, retry_after: float | None) -> None:
        """The source said that there were too many; `retry_after`: the seconds that it asked for."""
        ...

    def note_answer(self) -> None:
        """The source answered."""
        ...


class Unlimited:
    """For sources that are used by themselves, without a database."""

    def spend(self) -> None: ...
    def note_refusal(self, retry_after: float | None) -> None: ...
    def note_answer(self) -> None: ...


class SourceError(Exception):
    """A source gave no usable answer; the message is for the user."""

    passes: ClassVar[bool] = False
    """Whether asking again later may help."""


class SymbolNotFound(SourceError):
    """The source answered that it has no data for the symbol."""


class NotOffered(SourceError):
    """The source was not asked, as it has nothing of this kind. Says nothing about the symbol."""


class AccessRefused(SourceError):
    """The source wants a key, or a better one."""


class MalformedAnswer(SourceError):
    """The source answered something that cannot be read."""


class RateLimited(SourceError):
    """The source refused because it was asked too often (429)."""

    passes = True


class SourceBusy(SourceError):
    """Nothing was asked: the budget of requests is used up, or the source wants to be left alone until `until`."""

    passes = True

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until


class SourceDown(SourceError):
    """The source answered with a server error (5xx), or that it is down."""

    passes = True


class SourceTimeout(SourceError):
    """The source did not answer in time."""

    passes = True


class SourceUnreachable(SourceError):
    """No connection to the source could be made or kept."""

    passes = True
