"""The interface of sources of market data, and their errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable


class Bar(NamedTuple):
    """A day: prices in the stock's currency, after splits (except AS_TRADED); `adj_close` after dividends too."""

    date: date
    open: float | None
    high: float | None
    low: float | None
    close: float
    adj_close: float | None
    volume: int | None


class Split(NamedTuple):
    """A split: on `date`, each `denominator` shares became `numerator` shares. Whole numbers above 0."""

    date: date
    numerator: int
    denominator: int


@dataclass(frozen=True)
class History:
    """A source's answer for a symbol: bars in date order, and facts about the instrument."""

    symbol: str
    source: str
    bars: Sequence[Bar]
    name: str = ""
    exchange: str = ""
    currency: str = ""
    is_quote: bool = False
    """Whether the only bar comes from a quote, which continues the stored bars."""
    reason: str = ""
    """Why the answer is a quote or a chart."""
    is_break: bool = False
    """Whether a quote did not continue the stored bars, so that the chart was fetched."""
    actions: tuple[date, ...] = ()
    """The first days of splits and without a right to a dividend, which adjust all earlier bars."""
    splits: tuple[Split, ...] | None = None
    """The splits since the first bar, announced splits included; None if the source does not tell."""
    begins: date | None = None
    """The first day of the instrument at its exchange, if the source tells."""


class Quote(NamedTuple):
    """What a source says about the present session of a stock, or about its last session while it is closed."""

    symbol: str
    source: str
    at: datetime
    """The time of the last trade, in UTC."""
    bar: Bar
    """The session so far: the last price as close, dated at the exchange. `adj_close` is the close."""
    previous_close: float
    """The close of the session before."""
    is_traded: bool
    """Whether the session has a trade yet. If not, the price is the last price of an earlier session."""
    name: str = ""
    exchange: str = ""
    currency: str = ""


class Headline(NamedTuple):
    """A piece of news about a stock as the source sent it, not checked or shortened yet."""

    external_id: str
    """The source's own id; may be empty."""
    title: str
    publisher: str
    url: str
    published_at: datetime
    """With a time zone."""


class Fundamentals(NamedTuple):
    """A company's figures from a source at one time. Numbers are finite; None means not known.

    A fraction of 0.25 means 25 %. Amounts of the statements (revenue, debt, cash) are in `currency`. The remaining
    amounts are in a currency of the source's choice: a share may be priced in pence, and all amounts in pounds. Only
    ratios and fractions are safe to compare between companies.
    """

    currency: str = ""
    """The currency of the statements: USD. All texts here are short and clean, and may be empty."""
    price_currency: str = ""
    """The currency of the price, perhaps a hundredth of another: GBp."""
    sector: str = ""
    industry: str = ""
    most_recent_quarter: date | None = None
    """The last day of the newest quarter with statements."""

    market_cap: float | None = None
    """An amount: the price of all shares."""
    enterprise_value: float | None = None
    """An amount: `market_cap` with the debt and without the cash."""
    trailing_pe: float | None = None
    """A ratio: the price to the earnings of the last four quarters. Losses usually have no ratio."""
    forward_pe: float | None = None
    """A ratio: the price to the earnings expected by analysts."""
    price_to_book: float | None = None
    """A ratio. `price_to_book` and `price_to_sales` are unknown if statements and price differ in currency."""
    price_to_sales: float | None = None
    """A ratio, to the revenue of the last four quarters."""
    ev_to_ebitda: float | None = None
    """A ratio, of the enterprise value."""
    trailing_eps: float | None = None
    """An amount for each share: the earnings of the last four quarters; below 0, a loss."""

    gross_margin: float | None = None
    """A fraction of the revenue, like the next two margins."""
    operating_margin: float | None = None
    profit_margin: float | None = None
    return_on_equity: float | None = None
    """A fraction: a year's profit of the equity."""

    revenue_growth: float | None = None
    """A fraction: growth of the last quarter over the same quarter a year before."""
    earnings_growth: float | None = None
    """A fraction: growth of the last quarter over the same quarter a year before."""
    total_revenue: float | None = None
    """An amount: of the last four quarters."""

    total_debt: float | None = None
    """An amount."""
    total_cash: float | None = None
    """An amount."""
    debt_to_equity: float | None = None
    """A ratio: at 1.5 there is half as much debt again as equity."""
    current_ratio: float | None = None
    """A ratio: current assets to current liabilities."""
    free_cashflow: float | None = None
    """An amount: of the last four quarters."""

    dividend_rate: float | None = None
    """An amount for each share and year."""
    dividend_yield: float | None = None
    """A fraction of the price, for a year."""
    payout_ratio: float | None = None
    """A fraction of the earnings."""
    ex_dividend_date: date | None = None
    """The first day on which a buyer does not get the dividend, whether the last dividend or the next."""


AS_TRADED = frozenset(["alpha_vantage"])
"""Sources with prices as traded, without later splits and dividends. Their bars have no `adj_close`."""


class Source(Protocol):
    """A source of daily bars."""

    name: str
    """The name in `stock_jobs.data_fetch.sources`."""
    label: str
    """The name for people."""

    def history(self, symbol: str, start: date, end: date | None = None) -> History:
        """The bars from `start` to `end`, both included (None: to today); at least one. Raises SourceError."""
        ...


@runtime_checkable
class QuoteSource(Protocol):
    """A source with quotes for many stocks in one request, too."""

    def quotes(self, symbols: Sequence[str]) -> dict[str, "Quote | str"]:
        """The quote of each symbol, or the reason why the answer has no usable quote. Raises SourceError."""
        ...

    def prepare(self) -> None:
        """Fetch a cookie, key or the like ahead of requests for quotes. Raises SourceError."""
        ...


@runtime_checkable
class NewsSource(Protocol):
    """A source with news, too."""

    def news(self, symbol: str, count: int) -> list[Headline]:
        """About `count` of the newest headlines about a stock; may be empty. Raises SourceError."""
        ...


@runtime_checkable
class FundamentalsSource(Protocol):
    """A source with fundamentals, too."""

    def fundamentals(self, symbol: str) -> Fundamentals:
        """A company's figures, at least one number. Raises SourceError.

        SymbolNotFound if the source has no figures, as for an exchange rate.
        """
        ...


class Listed(NamedTuple):
    """A symbol that a source lists, with the name of its company or fund, and the source's code of its exchange.

    `market` and `kind` are for people: `NASDAQ`, and `Equity` or `ETF`; empty if unknown.
    """

    symbol: str
    name: str
    exchange: str
    market: str = ""
    kind: str = ""


@runtime_checkable
class NameSearch(Protocol):
    """A source that finds symbols by name, too."""

    def search(self, name: str) -> list[Listed]:
        """What the source lists under a name, or a similar name; may be empty. Raises SourceError."""
        ...


class Allowance(Protocol):
    """The budget of a session, spent before each request and informed after each answer."""

    def spend(self) -> None:
        """Count a request before sending it. SourceBusy if the budget does not allow a request now."""
        ...

    def note_refusal(self, retry_after: float | None) -> None:
        """The source reported too many requests; `retry_after`: the seconds to wait, if the source said so."""
        ...

    def note_answer(self) -> None:
        """The source answered."""
        ...


class Unlimited:
    """No limit, for sources used alone, without a database."""

    def spend(self) -> None: ...
    def note_refusal(self, retry_after: float | None) -> None: ...
    def note_answer(self) -> None: ...


class SourceError(Exception):
    """A source gave no usable answer; the message is for the user."""

    retryable: ClassVar[bool] = False
    """Whether asking again later may help."""


class SymbolNotFound(SourceError):
    """The source has no data for the symbol, and said so."""


class NoBars(SourceError):
    """The source knows the symbol, and has no bars of the requested days, perhaps because trade is suspended."""


class NotOffered(SourceError):
    """The source has no data of the requested kind, and was not asked. Says nothing about the symbol."""


class AccessRefused(SourceError):
    """The source needs a key, or a better key."""


class MalformedAnswer(SourceError):
    """The source sent an unreadable answer, such as a truncated answer."""

    retryable = True


class RateLimited(SourceError):
    """The source refused a request because there were too many."""

    retryable = True


class SourceBusy(SourceError):
    """No request was sent: the rate limit is reached, or the source is paused until `until`."""

    retryable = True

    def __init__(self, message: str, until: datetime, cause: str) -> None:
        super().__init__(message)
        self.until = until
        self.cause = cause
        """What the request waits for, without the time: "Yahoo Finance's rate limit"."""


class SourceDown(SourceError):
    """The source answered with a server error (5xx), or with a notice of being down."""

    retryable = True


class SourceTimeout(SourceError):
    """The source did not answer in time."""

    retryable = True


class SourceUnreachable(SourceError):
    """No connection to the source could be made or kept."""

    retryable = True
