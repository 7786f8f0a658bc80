"""The sections of external servers."""

from typing import Annotated

from pydantic import Field

from stockqueue.config.values import IGNORED, Anything, Count, Retries, Section, Text, Timeout

RetryCount = Annotated[
    Retries | None,
    IGNORED,
    Field(description="Ignored: retries are those of stock_jobs.data_fetch."),
]
ApiTimeout = Annotated[Timeout, Field(description="Seconds for one request.")]
ApiRate = Annotated[Count, Field(description="Requests a minute; data_fetch.rate_limit counts where it is lower.")]
Price = Annotated[float, Field(ge=0, le=1_000_000)] | None


class YahooFinance(Section):
    """Yahoo Finance."""

    rate_limit: ApiRate = 100
    timeout: ApiTimeout = 30.0
    retry_count: RetryCount = None


class AlphaVantage(Section):
    """Alpha Vantage; asked only where ALPHA_VANTAGE_API_KEY is set."""

    rate_limit: ApiRate = 5
    timeout: ApiTimeout = 30.0
    retry_count: RetryCount = None


class OpenAI(Section):
    """A server that speaks OpenAI's protocol; asked where its key or its address, and a model, are set."""

    model: Text | None = None
    """Model, where OPENAI_MODEL is not set; null: no LLM is asked."""
    max_tokens: Count = 1000
    """Tokens of one answer, at most."""
    timeout: ApiTimeout = 60.0
    daily_tokens: Annotated[int, Field(ge=0, le=1_000_000_000)] = 100_000
    """Tokens of all questions and answers of a day (UTC), at most."""
    prompt_price: Price = None
    """What a million tokens of questions cost, in a currency of your choice; null: not known."""
    completion_price: Price = None
    """What a million tokens of answers cost, in the same currency; null: not known."""
    retry_count: Annotated[Retries | None, IGNORED] = None
    """Ignored: a question that is refused, or fails in the server, is asked once more."""


class Apis(Section):
    """Servers of others."""

    yahoo_finance: YahooFinance = YahooFinance()
    alpha_vantage: AlphaVantage = AlphaVantage()
    openai: OpenAI = OpenAI()


class Integration(Section):
    """What this program works with."""

    apis: Apis = Apis()
    rollout_percent: Annotated[int, Field(ge=0, le=100)] = 100
    """Users, in per cent, whose jobs go through the queues; those of the others are processed directly."""
    cache: Anything = None
    """Ignored: what was fetched is kept in the database."""
    web_ui: Anything = None
    """Ignored: the predecessor's pages are not part of this program."""
    python: Anything = None
    """Ignored: this program is Python and calls no scripts."""
