"""The keys of job_processor.yml as frozen pydantic models: names, types, bounds, defaults, and what they mean.

A field's description goes into the JSON Schema and, marked as deprecated, says why a key is ignored.
"""

import math
import re
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    model_validator,
)

# The predecessor's transports of jobs that are not ours; here Celery carries jobs.
MEANS_CELERY = ("mqtt", "database")


def _check_text(text: str) -> str:
    if re.search(r"[\x00-\x1f\x7f-\x9f]", text):
        raise ValueError("contains a control character")
    return text


def _check_topic(template: str, *, known: tuple[str, ...], needed: bool) -> str:
    problem = None
    rest = re.sub(r"\{(" + "|".join(known) + r")\}", "", template) if known else template
    if re.search(r"[+#]", template):
        problem = "contains + or #, which only subscriptions may"
    elif template.startswith("$"):
        problem = "starts with $, which belongs to the broker"
    elif re.search(r"[{}]", rest):
        names = " or ".join(f"{{{name}}}" for name in known)
        problem = f"may have {names} in braces, and nothing else" if known else "may have no braces"
    elif needed and (missing := [name for name in known if f"{{{name}}}" not in template]):
        problem = f"lacks {{{missing[0]}}}"
    if problem:
        raise ValueError(problem)
    return template


def _known_topic(*known: str, needed: bool = False) -> AfterValidator:
    return AfterValidator(partial(_check_topic, known=known, needed=needed))


def _read_backend(value: object) -> object:
    return "celery" if value in MEANS_CELERY else value


def _read_protocol(value: object) -> object:
    """YAML reads an unquoted 5 as a number and an unquoted 3.1.1 as text."""
    return "5" if not isinstance(value, str) and value == 5 else value


def _read_size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]{1,9}) ?([KMG]?)B?", value, re.IGNORECASE)
    if match is None:
        raise ValueError("is not a size in bytes such as 52428800 or 50MB")
    return int(match[1]) * 1024 ** " KMG".index(match[2].upper() or " ")


Text = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_check_text)]
Secret = Annotated[Text | None, Field(repr=False)]
Topic = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_check_text)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Retries = Annotated[int, Field(ge=0, le=100)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Priority = Annotated[int, Field(ge=1, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]
Minutes = Annotated[int, Field(ge=0, le=525_600)]
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
# Waiting may be nothing or a part of a second, a limit to what runs may not be nothing.
Delay = Annotated[float, Field(ge=0, le=86_400)]
Timeout = Annotated[float, Field(ge=0.1, le=86_400)]
Delays = Annotated[tuple[Delay, ...], Field(strict=False, min_length=1, max_length=20)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]

IGNORED = Field(json_schema_extra={"deprecated": True})
# The value of a key whose content nobody reads: it is dropped, whatever it is.
Anything = Annotated[None, BeforeValidator(lambda value: None, json_schema_input_type=Any), IGNORED]


class Section(BaseModel):
    """A mapping of known keys. A section without content (null) is as if it were not there."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read_empty(cls, value: Any) -> Any:
        return {} if value is None else value


class Worker(Section):
    """The Celery workers."""

    worker_id: Text | None = None
    """Name of the worker in MQTT topics and payloads; null: one made from host and process."""
    name: Text | None = None
    """A name for people."""
    max_concurrent_jobs: Annotated[int, Field(ge=1, le=1000)] = 5
    """Jobs that a worker runs at the same time, where its -c is not given."""
    supported_job_types: Annotated[
        tuple[
            Literal["stock_fetch", "stock_batch_fetch", "stock_analysis", "stock_research", "portfolio_priority"], ...
        ],
        Field(strict=False),
    ] = ()
    """Job types whose queues a worker without -Q takes; empty: all. portfolio_priority means the fetches of a login,
    which are in the queue foreground."""
    capabilities: Annotated[Texts, IGNORED] = ()
    """Ignored: queues decide which worker takes a job."""
    poll_interval: Annotated[Delay, IGNORED] = 2.0
    """Ignored: workers do not poll, the broker hands them jobs."""
    max_execution_time: Seconds = 1800
    """Time limit in seconds of a job whose type has none in jobs.timeouts."""
    heartbeat_interval: Timeout = 15.0
    """Seconds between two heartbeats; after three without one a job is rescued."""


MaxJobs = Annotated[int, Field(ge=1, le=1_000_000, description="Jobs it holds; the next ones wait.")]
Ttl = Annotated[int, Field(ge=1, le=31_536_000, description="Seconds that a job may wait in it before it expires.")]
TopicPrefix = Annotated[
    Text | None, IGNORED, Field(description="Ignored: Celery's queues carry jobs, not MQTT topics.")
]
QueuePriority = "Priority of its jobs that have no rule of their own."


class ForegroundQueue(Section):
    """Jobs that a user waits for: priorities 1 to 3."""

    topic_prefix: TopicPrefix = None
    priority: Annotated[int, Field(ge=1, le=3, description=QueuePriority)] = 1
    max_jobs: MaxJobs = 100
    ttl: Ttl = 300


class BackgroundFetchQueue(Section):
    """Jobs that keep data fresh: priorities 4 to 6."""

    topic_prefix: TopicPrefix = None
    priority: Annotated[int, Field(ge=4, le=6, description=QueuePriority)] = 5
    max_jobs: MaxJobs = 1000
    ttl: Ttl = 3600


class BackgroundAnalysisQueue(Section):
    """Analysis, research and maintenance: priorities 7 to 10."""

    topic_prefix: TopicPrefix = None
    priority: Annotated[int, Field(ge=7, le=10, description=QueuePriority)] = 8
    max_jobs: MaxJobs = 500
    ttl: Ttl = 7200


class PriorityQueues(Section):
    """The three queues."""

    foreground: ForegroundQueue = ForegroundQueue()
    background_fetch: BackgroundFetchQueue = BackgroundFetchQueue()
    background_analysis: BackgroundAnalysisQueue = BackgroundAnalysisQueue()


class Redis(Section):
    """The broker, for the backend redis and where CELERY_BROKER_URL is not set."""

    host: Text = "localhost"
    """Host name or address."""
    port: Port = 6379
    """TCP port."""
    password: Secret = None
    """Password; null: none."""
    database: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Number of the database."""


class RabbitMQ(Section):
    """The broker, for the backend rabbitmq and where CELERY_BROKER_URL is not set."""

    host: Text = "localhost"
    """Host name or address."""
    port: Port = 5672
    """TCP port."""
    username: Text = "guest"
    """User."""
    password: Secret = "guest"  # noqa: S105  (RabbitMQ's own default, which works from the same machine only)
    """Password; null: none."""
    vhost: Text = "/"
    """Virtual host."""


class Topics(Section):
    """MQTT topics by template name. Names in braces are replaced."""

    portfolio_priority: Annotated[Topic, _known_topic("user_id")] = "stock/portfolio/priority/{user_id}"
    """A user's jobs after a login."""
    stock_fetch: Annotated[Topic, _known_topic("symbol")] = "stock/fetch/{symbol}"
    """Life of a stock_fetch job."""
    stock_batch_fetch: Annotated[Topic, _known_topic()] = "stock/fetch/batch"
    """Life of a stock_batch_fetch job."""
    stock_analysis: Annotated[Topic, _known_topic("symbol")] = "stock/analysis/{symbol}"
    """Life of a stock_analysis job."""
    stock_research: Annotated[Topic, _known_topic("symbol", needed=True)] = "stock/research/{symbol}"
    """Life of a stock_research job."""
    job_status: Annotated[Topic, _known_topic("job_id")] = "jobs/status/{job_id}"
    """Every event of every job."""
    job_queue: Annotated[Topic, _known_topic("priority", "job_type", needed=True)] = "jobs/queue/{priority}/{job_type}"
    """A job as it is queued; priority is high, normal or low."""
    job_completed: Annotated[Topic, _known_topic("job_id", needed=True)] = "jobs/completed/{job_id}"
    """A job that is done."""
    job_failed: Annotated[Topic, _known_topic("job_id", needed=True)] = "jobs/failed/{job_id}"
    """A job, or an attempt at it, that failed."""
    job_retry: Annotated[Topic, _known_topic("job_id", needed=True)] = "jobs/retry/{job_id}"
    """A job that gets another attempt."""
    worker_register: Annotated[Topic, _known_topic()] = "workers/register"
    """A worker that comes (retained)."""
    worker_unregister: Annotated[Topic, _known_topic()] = "workers/unregister"
    """A worker that goes."""
    worker_heartbeat: Annotated[Topic, _known_topic("worker_id")] = "workers/heartbeat/{worker_id}"
    """A worker that is alive."""
    worker_disconnect: Annotated[Topic, _known_topic()] = "workers/disconnect"
    """A worker whose heartbeats ran out."""
    system_stats: Annotated[Topic, _known_topic()] = "system/stats"
    """Statistics."""
    system_stats_request: Annotated[Topic, _known_topic()] = "system/stats/request"
    """Where statistics are asked for."""
    system_alert: Annotated[Topic, _known_topic("name", needed=True)] = "system/alerts/{name}"
    """An alert that starts or ends."""
    bridge_state: Annotated[Topic, _known_topic()] = "stockqueue/bridge/state"
    """online or offline (retained, the bridge's last will)."""


class MqttQueue(Section):
    """The MQTT broker that the bridge publishes to, where MQTT_URL is not set."""

    host: Text = "localhost"
    """Host name or address."""
    port: Port = 1883
    """TCP port."""
    username: Text | None = None
    """User; null: none."""
    password: Secret = None
    """Password; null: none."""
    tls: bool = False
    """Whether the connection is encrypted; most brokers have port 8883 for that."""
    ca_file: Text | None = None
    """File with the authorities that the broker's certificate may come from; null: those of the system."""
    certificate_file: Text | None = None
    """File with a certificate to show to the broker; null: none."""
    key_file: Text | None = None
    """File with the certificate's key, without a passphrase."""
    keepalive: Annotated[int, Field(ge=0, le=65_535)] = 60
    """Seconds without traffic after which a ping is sent; 0: no pings."""
    client_id_prefix: Annotated[Text, Field(max_length=64)] = "stockqueue"
    """Start of the client id."""
    protocol: Annotated[
        Literal["5", "3.1.1"],
        BeforeValidator(_read_protocol, json_schema_input_type=Literal["5", 5, "3.1.1"]),
    ] = "5"
    """Version of MQTT."""
    topics: Topics = Topics()


class Queue(Section):
    """Queues, and the brokers for jobs and for events."""

    backend: Annotated[
        Literal["celery", "redis", "rabbitmq", "direct"],
        BeforeValidator(
            _read_backend,
            json_schema_input_type=Literal["celery", "redis", "rabbitmq", "direct", "mqtt", "database"],
        ),
    ] = "celery"
    """What carries jobs where CELERY_BROKER_URL is not set: celery: an embedded Redis; redis, rabbitmq: the
    server of their section; direct: none, the process that asks runs them. mqtt and database mean celery."""
    priority_queues: PriorityQueues = PriorityQueues()
    redis: Redis = Redis()
    rabbitmq: RabbitMQ = RabbitMQ()
    mqtt: MqttQueue = MqttQueue()


class PortfolioPriority(Section):
    """Jobs that a login makes."""

    data_staleness_threshold: Minutes = 30
    """Minutes after which a stock's data is stale, where portfolio.freshness_schedule is not given."""
    portfolio_priority_boost: Annotated[int, Field(ge=0, le=1000)] = 10
    """Points that a login adds to the score of the user's stocks."""
    max_concurrent_per_user: Count = 3
    """Jobs of one user that are queued or running at the same time."""


class DataFetch(Section):
    """Jobs that fetch market data."""

    batch_size: Annotated[int, Field(ge=1, le=1000)] = 10
    """Stocks in one stock_batch_fetch job."""
    concurrency: Annotated[int, Field(ge=1, le=50)] = 4
    """Stocks of one stock_batch_fetch job that are asked for at the same time."""
    rate_limit: Count = 60
    """Requests a minute to one source, at most; see integration.apis for a source's own."""
    sources: Annotated[
        tuple[Literal["yahoo_finance", "alpha_vantage", "cached", "sample"], ...],
        Field(strict=False, min_length=1, max_length=4),
    ] = ("yahoo_finance", "alpha_vantage", "cached")
    """Sources in the order in which they are asked; cached: the last good bars if all fail; sample: invented ones."""
    max_retries: Retries = 3
    """Attempts after the first one."""
    retry_backoff: Delays = (30.0, 120.0, 300.0)
    """Seconds before each retry; the last one repeats."""
    background_share: Annotated[float, Field(ge=0.01, le=1)] = 0.7
    """Part of a source's rate limit that work outside the foreground queue may use."""
    cooldown: Delays = (60.0, 300.0, 900.0)
    """Seconds without requests after a source said there were too many; rises while it goes on."""


KindsOfAnalysis = Annotated[tuple[Literal["sentiment", "technical", "fundamental", "news"], ...], Field(strict=False)]


class Analysis(Section):
    """Jobs that analyse."""

    llm_timeout: Timeout = 120.0
    """Seconds for the LLM's whole answer."""
    analysis_priority: KindsOfAnalysis = ("sentiment", "technical", "fundamental", "news")
    """Kinds of analysis in the order in which they run."""
    at_login: KindsOfAnalysis = ("technical", "sentiment", "fundamental")
    """Kinds that follow the prices which a user waits for, where they are due; none: only by hand."""
    cache_ttl: Annotated[float, Field(ge=0, le=8760)] = 6.0
    """Hours that an analysis stays valid."""


class StockJobs(Section):
    """Settings by kind of job."""

    portfolio_priority: PortfolioPriority = PortfolioPriority()
    data_fetch: DataFetch = DataFetch()
    analysis: Analysis = Analysis()


class PriorityRules(Section):
    """Priority by a job's trigger: 1 is the most urgent, 10 the least; kept within the band of its queue."""

    user_login: Priority = 1
    """A user logged in."""
    user_request: Priority = 3
    """A user or an administrator asked."""
    scheduled_update: Priority = 5
    """A schedule asked."""
    background_analysis: Priority = 8
    """Analysis and research that nobody waits for."""
    maintenance: Priority = 10
    """Cleaning up."""


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
    """Whether Celery keeps a TaskResult of each job, beside the job's own row; without, jobs take less time."""
    cleanup_after_days: Annotated[int, Field(ge=1, le=36_500)] = 7
    """Days that finished jobs and their events are kept."""
    timeouts: Timeouts = Timeouts()


class PortfolioSource(Section):
    """Where a portfolio comes from."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    csv_file: Text | None = None
    """A CSV file that import_portfolio reads where none is named."""
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
    """Minutes while it trades."""
    market_closed: Minutes = 60
    """Minutes on a trading day, before and after hours."""
    weekend: Minutes = 720
    """Minutes on days without trading."""


class PriorityFactors(Section):
    """Weights of the score that moves a job's priority within its band; they add up to 1."""

    user_activity: Share = 0.4
    """Weight of how recently the user was active."""
    portfolio_value: Share = 0.3
    """Weight of how much the user's holdings are worth."""
    data_age: Share = 0.2
    """Weight of how old the data is."""
    market_volatility: Share = 0.1
    """Weight of how much the price moves."""

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
    """Files that import_portfolio takes where none is named, each as csv_file: path."""
    freshness_schedule: FreshnessSchedule | None = None
    """Limits of freshness by session; without it, data_staleness_threshold counts at all times."""
    refresh_cooldown: Delay = 60.0
    """Seconds before an owner can refresh the prices of the same stock again; 0: no limit."""
    priority_factors: PriorityFactors = PriorityFactors()


class ComponentLogs(Section):
    """A log file for each part of the program; a relative path is under STOCKQUEUE_VAR."""

    portfolio: Text = "logs/portfolio_jobs.log"
    """Logins, portfolios, freshness."""
    fetcher: Text = "logs/data_fetch.log"
    """Market data."""
    analyzer: Text = "logs/analysis.log"
    """Analysis and research."""
    mqtt: Text = "logs/mqtt.log"
    """The bridge."""


class Logging(Section):
    """Logs."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """The least severe messages that are logged."""
    file: Text | None = "logs/stock_worker.log"
    """Log file of everything; a relative path is under STOCKQUEUE_VAR; null: none."""
    max_size: Annotated[
        int,
        BeforeValidator(
            _read_size,
            json_schema_input_type=Annotated[int, Field(ge=0, le=1024**4)]
            | Annotated[str, Field(pattern="^[0-9]{1,9} ?[KkMmGg]?[Bb]?$")],
        ),
        Field(ge=0, le=1024**4),
    ] = 50 * 1024**2
    """Bytes, or a size such as 50MB (1 MB is 1048576 bytes), after which a file is rotated; 0: never."""
    backup_count: Annotated[int, Field(ge=0, le=1000)] = 5
    """Rotated files that are kept."""
    component_logs: ComponentLogs = ComponentLogs()


class StockMetrics(Section):
    """Which families of metrics are collected."""

    fetch_latency: bool = True
    """How long fetches take."""
    portfolio_timing: bool = True
    """How long it takes from a login to fresh data."""
    queue_depth: bool = True
    """How many jobs wait."""
    worker_efficiency: bool = True
    """How well workers are used."""


class Thresholds(Section):
    """Limits beyond which an alert is raised."""

    max_queue_depth: Count = 1000
    """Jobs that wait."""
    max_fetch_latency: Timeout = 30.0
    """Seconds that a fetch takes."""
    min_worker_efficiency: Share = 0.7
    """Worker efficiency, 0 to 1."""
    max_job_age: Seconds = 600
    """Seconds that a job waits."""
    max_data_staleness: Seconds = 7200
    """Seconds since a held stock was last checked."""


class Monitoring(Section):
    """Metrics, health and alerts."""

    enabled: bool = True
    """Whether metrics are collected and alerts raised."""
    format: Literal["prometheus", "json"] = "prometheus"
    """What /metrics answers."""
    port: Annotated[int, Field(ge=0, le=65_535), IGNORED] = 8080
    """Ignored: metrics and health are pages of the web server."""
    health_check_enabled: bool = True
    """Whether /health/live and /health/ready answer."""
    stock_metrics: StockMetrics = StockMetrics()
    thresholds: Thresholds = Thresholds()


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


class Market(Section):
    """Stocks that are of interest to everybody."""

    watchlist: Texts = ()
    """Symbols that are kept fresh although nobody holds them."""


class JobProcessor(Section):
    """All settings of job_processor.yml."""

    worker: Worker = Worker()
    queue: Queue = Queue()
    stock_jobs: StockJobs = StockJobs()
    jobs: Jobs = Jobs()
    portfolio: PortfolioSettings = PortfolioSettings()
    logging: Logging = Logging()
    monitoring: Monitoring = Monitoring()
    integration: Integration = Integration()
    market: Market = Market()
    database: Anything = None
    """Ignored: DATABASE_URL names the database."""

    _ignored: tuple[str, ...] = PrivateAttr(default=())
    _notes: tuple[str, ...] = PrivateAttr(default=())

    @property
    def ignored(self) -> tuple[str, ...]:
        """Dotted paths, sorted, of the keys that the file sets and that have no effect here; each key once."""
        return self._ignored

    @property
    def notes(self) -> tuple[str, ...]:
        """Every ignored key, and a value that is read as another, in a sentence each."""
        return self._notes
