"""The sections of jobs: limits of each kind, priorities, and the influence of portfolios."""

import math
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from stockqueue.config.values import (
    IGNORED,
    Count,
    Delay,
    Delays,
    Minutes,
    Priority,
    Retries,
    Seconds,
    Section,
    Share,
    Text,
    Timeout,
)


class PortfolioPriority(Section):
    """Jobs that a login creates."""

    data_staleness_threshold: Minutes = 30
    """Minutes after which a stock's data is stale, if portfolio.freshness_schedule is not set."""
    portfolio_priority_boost: Annotated[int, Field(ge=0, le=1000)] = 10
    """Points that a login adds to the score of the user's stocks."""
    max_concurrent_per_user: Count = 3
    """Maximum number of requests of one user's jobs in a queue at a time; quote_size fetches are one request."""


class DataFetch(Section):
    """Jobs that fetch market data."""

    batch_size: Annotated[int, Field(ge=1, le=1000)] = 10
    """Stocks in one stock_batch_fetch job."""
    quote_size: Annotated[int, Field(ge=1, le=99)] = 50
    """Stocks in one request for quotes; 1: no quotes, a chart for each stock."""
    concurrency: Annotated[int, Field(ge=1, le=50)] = 4
    """Charts that a process fetches at the same time."""
    rate_limit: Count = 60
    """Maximum number of requests a minute to one source; integration.apis has the limits of each source."""
    sources: Annotated[
        tuple[Literal["yahoo_finance", "alpha_vantage", "cached", "sample"], ...],
        Field(strict=False, min_length=1, max_length=4),
    ] = ("yahoo_finance", "alpha_vantage", "cached")
    """Sources in the order of their use; cached: the last good bars if all others fail; sample: invented prices."""
    max_retries: Retries = 3
    """Attempts after the first one."""
    retry_backoff: Delays = (30.0, 120.0, 300.0)
    """Seconds before each retry; the last value repeats."""
    background_share: Annotated[float, Field(ge=0.01, le=1)] = 0.7
    """Share of a source's rate limit that is available outside the foreground queue."""
    foreground_share: Annotated[float, Field(ge=0.01, le=1)] = 0.9
    """Share of a source's rate limit that is available to foreground jobs less urgent than priority 1."""
    cooldown: Delays = (60.0, 300.0, 900.0)
    """Seconds that a source is paused after too many requests, for each refusal in a row; the last value repeats."""


KindsOfAnalysis = Annotated[tuple[Literal["sentiment", "technical", "fundamental", "news"], ...], Field(strict=False)]


class Analysis(Section):
    """Analyses."""

    llm_timeout: Timeout = 120.0
    """Seconds for the complete answer of the LLM."""
    analysis_priority: KindsOfAnalysis = ("sentiment", "technical", "fundamental", "news")
    """Kinds of analysis in the order in which they run."""
    at_login: KindsOfAnalysis = ("technical", "sentiment", "fundamental")
    """Kinds that run after the fetches of a waiting user, if they are due; empty: only on request."""
    cache_ttl: Annotated[float, Field(ge=0, le=8760)] = 6.0
    """Hours that an analysis stays valid."""


class Warm(Section):
    """The schedule that keeps held and watched stocks fresh."""

    enabled: bool = True
    """Whether the schedule fetches anything."""
    ahead: Minutes = 15
    """Minutes before its data is stale from which a stock fills a spare place; at most half of freshness' limit."""


class Settle(Section):
    """The schedule that fetches charts, with adjusted closes and corrections, of stocks that quotes keep fresh."""

    enabled: bool = True
    """Whether the schedule fetches anything."""


class StockJobs(Section):
    """Settings by kind of job."""

    portfolio_priority: PortfolioPriority = PortfolioPriority()
    data_fetch: DataFetch = DataFetch()
    warm: Warm = Warm()
    settle: Settle = Settle()
    analysis: Analysis = Analysis()


class PriorityRules(Section):
    """Priority by a job's trigger: 1 is the most urgent, 10 the least; kept within the band of its queue."""

    user_login: Priority = 1
    """Logins."""
    user_request: Priority = 3
    """Requests of users and administrators."""
    scheduled_update: Priority = 5
    """Schedules."""
    background_analysis: Priority = 8
    """Analysis and research in the background."""
    maintenance: Priority = 10
    """Maintenance."""


class Timeouts(Section):
    """Time limits of one attempt."""

    stock_fetch: Seconds = 300
    """Seconds for a stock_fetch job."""
    portfolio_fetch: Seconds = 600
    """Seconds for a stock_batch_fetch job."""
    stock_analysis: Seconds = 900
    """Seconds for a stock_analysis job."""
    batch_analysis: Seconds = 1800
    """Seconds for a stock_research job."""


class Jobs(Section):
    """Settings of all jobs."""

    priority_rules: PriorityRules = PriorityRules()
    default_priority: Priority = 5
    """Priority of a job whose trigger has no rule."""
    max_retries: Retries = 3
    """Attempts after the first one, for jobs that do not fetch."""
    retry_delay: Delay = 60.0
    """Seconds before a retry, for jobs that do not fetch."""
    keep_task_results: bool = True
    """Whether Celery keeps a TaskResult of each job, in addition to the job's row; jobs are faster without."""
    cleanup_after_days: Annotated[int, Field(ge=1, le=36_500)] = 7
    """Days that ended jobs and their events are kept."""
    timeouts: Timeouts = Timeouts()


class PortfolioSource(Section):
    """A source of portfolios."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    csv_file: Text | None = None
    """CSV file that import_portfolio reads if no file is named."""
    database_table: Annotated[Text | None, IGNORED] = None
    """Ignored: portfolios are in this program's own tables."""

    @model_validator(mode="after")
    def _check_one_is_there(self) -> "PortfolioSource":
        if not self.model_fields_set:
            raise ValueError("has neither csv_file nor database_table")
        return self


class FreshnessSchedule(Section):
    """Minutes after which data is stale, by the state of the stock's exchange."""

    market_open: Minutes = 5
    """Minutes during trading hours."""
    market_closed: Minutes = 60
    """Minutes on a trading day, outside trading hours."""
    weekend: Minutes = 720
    """Minutes on days without trading."""


class PriorityFactors(Section):
    """Weights of the score that moves a job's priority within its band; they add up to 1."""

    user_activity: Share = 0.4
    """Weight of the user's recent activity."""
    portfolio_value: Share = 0.3
    """Weight of the value of the user's holdings."""
    data_age: Share = 0.2
    """Weight of the age of the data."""
    market_volatility: Share = 0.1
    """Weight of the volatility of the price."""

    @model_validator(mode="after")
    def _check_sum(self) -> "PriorityFactors":
        weights = dict(self)
        total = math.fsum(weights.values())
        if abs(total - 1) > 1e-6:
            parts = " + ".join(f"{name} {weight:g}" for name, weight in weights.items())
            raise ValueError(f"of weights adds up to {total:.7g}, not to 1: {parts}")
        return self


class PortfolioSettings(Section):
    """Portfolios, and how fresh their stocks are kept."""

    sources: Annotated[tuple[PortfolioSource, ...], Field(strict=False)] = ()
    """Files that import_portfolio reads if no file is named, each as csv_file: path."""
    freshness_schedule: FreshnessSchedule | None = None
    """Limits of freshness by session; null: data_staleness_threshold applies at all times."""
    sign_up: Literal["closed", "open"] = "closed"
    """Whether visitors can create accounts for themselves."""
    base_currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "USD"
    """Currency of totals for users without a choice of their own, as an ISO 4217 code."""
    max_positions: Annotated[int, Field(ge=1, le=100_000)] = 5_000
    """Maximum number of positions in a file that is imported."""
    refresh_cooldown: Delay = 60.0
    """Seconds before an owner can refresh the prices of the same stock again; 0: no limit."""
    priority_factors: PriorityFactors = PriorityFactors()
