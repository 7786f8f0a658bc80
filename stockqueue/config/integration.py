"""The sections of external servers."""

from typing import Annotated

from pydantic import Field

from stockqueue.config.values import IGNORED, Anything, Count, Retries, Seconds, Section, Text, Timeout

RetryCount = Annotated[
    Retries | None,
    IGNORED,
    Field(description="Ignored: the settings of retries are in stock_jobs.data_fetch."),
]
ApiTimeout = Annotated[Timeout, Field(description="Seconds for one request.")]
ApiRate = Annotated[
    Count, Field(description="Maximum number of requests a minute; data_fetch.rate_limit applies if it is lower.")
]
Price = Annotated[float, Field(ge=0, le=1_000_000)] | None


class YahooFinance(Section):
    """Yahoo Finance."""

    rate_limit: ApiRate = 100
    timeout: ApiTimeout = 30.0
    retry_count: RetryCount = None


class AlphaVantage(Section):
    """Alpha Vantage; used only if ALPHA_VANTAGE_API_KEY is set."""

    rate_limit: ApiRate = 5
    timeout: ApiTimeout = 30.0
    retry_count: RetryCount = None


class OpenAI(Section):
    """A server with OpenAI's protocol; used only if a model is set, and a key or an address."""

    model: Text | None = None
    """Model, if OPENAI_MODEL is not set; null: no LLM is used."""
    max_tokens: Count = 1000
    """Maximum number of tokens of one answer."""
    timeout: ApiTimeout = 60.0
    daily_tokens: Annotated[int, Field(ge=0, le=1_000_000_000)] = 100_000
    """Maximum number of tokens of all prompts and answers of a day (UTC)."""
    prompt_price: Price = None
    """Price of a million prompt tokens, in a currency of your choice; null: unknown."""
    completion_price: Price = None
    """Price of a million completion tokens, in the same currency; null: unknown."""
    retry_count: Annotated[Retries | None, IGNORED] = None
    """Ignored: a request that is refused, or fails in the server, is repeated once."""


class Apis(Section):
    """External servers."""

    yahoo_finance: YahooFinance = YahooFinance()
    alpha_vantage: AlphaVantage = AlphaVantage()
    openai: OpenAI = OpenAI()


class Cache(Section):
    """The cache of search answers, chart data and value histories."""

    redis_enabled: bool = False
    """Whether the cache is in Redis: the broker for jobs, or the server of queue.redis if the broker is RabbitMQ."""
    file_cache_path: Text = "cache"
    """Folder of the cache without Redis, and while Redis is away; relative to STOCKQUEUE_VAR."""
    default_ttl: Seconds = 3600
    """Seconds that a cached answer may be used."""


class Integration(Section):
    """External servers, and the rollout."""

    apis: Apis = Apis()
    rollout_percent: Annotated[int, Field(ge=0, le=100)] = 100
    """Percentage of users whose jobs go through the queues; jobs of other users are processed directly."""
    cache: Cache = Cache()
    web_ui: Anything = None
    """Ignored: the predecessor's pages are not part of this program."""
    python: Anything = None
    """Ignored: this program is Python and calls no scripts."""
