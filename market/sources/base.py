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


class Fundamentals(NamedTuple):
    """What a source says of a company at one time. Numbers are finite; None is not known.

    A fraction of 0.25 is 25 %. Amounts of the statements (revenue, debt, cash) are in `currency`. The others are in
    the currency that the source thinks fit: a share may be priced in pence, and all of them in pounds. Only ratios and
    fractions are sure to compare with those of other companies.
    """

    currency: str = ""
    """Of the statements: USD. This and the next three texts are short and clean, and may be empty."""
    price_currency: str = ""
    """Of the price, which may be a hundredth of another: GBp."""
    sector: str = ""
    industry: str = ""
    most_recent_quarter: date | None = None
    """The last day of the newest quarter that there are statements of."""

    market_cap: float | None = None
    """An amount: the price of all shares."""
    enterprise_value: float | None = None
    """An amount: `market_cap` with the debt and without the cash."""
    trailing_pe: float | None = None
    """A ratio: the price to the earnings of the last four quarters. As a rule there is none where those are losses."""
    forward_pe: float | None = None
    """A ratio: the price to the earnings that analysts expect."""
    price_to_book: float | None = None
    """A ratio. This and the next are not known where the statements are in another currency than the price."""
    price_to_sales: float | None = None
    """A ratio, to the revenue of the last four quarters."""
    ev_to_ebitda: float | None = None
    """A ratio, of the enterprise value."""
    trailing_eps: float | None = None
    """An amount for each share: the earnings of the last four quarters; below 0, a loss."""

    gross_margin: float | None = None
    """A fraction of the revenue, as the next two."""
    operating_margin: float | None = None
    profit_margin: float | None = None
    return_on_equity: float | None = None
    """A fraction: a year's profit of the equity."""

    revenue_growth: float | None = None
    """A fraction: the last quarter's against the same quarter a year before."""
    earnings_growth: float | None = None
    """A fraction, as that."""
    total_revenue: float | None = None
    """An amount: of the last four quarters."""

    total_debt: float | None = None
    """An amount."""
    total_cash: float | None = None
    """An amount."""
    debt_to_equity: float | None = None
    """A ratio: at 1.5 there is half as much debt again as equity."""
    current_ratio: float | None = None
    """A ratio: what can be had within a year to what is owed within it."""
    free_cashflow: float | None = None
    """An amount: of the last four quarters."""

    dividend_rate: float | None = None
    """An amount for each share and year."""
    dividend_yield: float | None = None
    """A fraction of the price, for a year."""
    payout_ratio: float | None = None
    """A fraction of the earnings."""
    ex_dividend_date: date | None = None
    """Who buys on that day or later does not get the dividend, be it the last one or the next."""


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


@runtime_checkable
class FundamentalsSource(Protocol):
    """A place to get fundamentals from, too."""

    def fundamentals(self, symbol: str) -> Fundamentals:
        """At least one number. SymbolNotFound where it has none, as of an exchange rate; raises SourceError."""
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

    retryable: ClassVar[bool] = False
    """Whether asking again later may help."""


class SymbolNotFound(SourceError):
    """The source answered that it has no data for the symbol."""


class NotOffered(SourceError):
    """The source was not asked, as it has nothing of this kind. Says nothing about the symbol."""


class AccessRefused(SourceError):
    """The source wants a key, or a better one."""


class MalformedAnswer(SourceError):
    """The source answered something that cannot be read, such as an answer that breaks off."""

    retryable = True


class RateLimited(SourceError):
    """The source refused because it was asked too often."""

    retryable = True


class SourceBusy(SourceError):
    """Nothing was asked: the budget of requests is used up, or the source wants to be left alone until `until`."""

    retryable = True

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until


class SourceDown(SourceError):
    """The source answered with a server error (5xx), or that it is down."""

    retryable = True


class SourceTimeout(SourceError):
    """The source did not answer in time."""

    retryable = True


class SourceUnreachable(SourceError):
    """No connection to the source could be made or kept."""

    retryable = True
