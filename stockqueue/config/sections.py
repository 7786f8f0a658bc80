"""All sections of job_processor.yml as frozen pydantic models: names, types, bounds, defaults and descriptions."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PrivateAttr

from stockqueue.config.integration import Integration
from stockqueue.config.jobs import Jobs, PortfolioSettings, StockJobs
from stockqueue.config.monitoring import Logging, Monitoring
from stockqueue.config.queues import Queue
from stockqueue.config.values import IGNORED, Anything, Delay, Seconds, Section, Text, Texts, Timeout


class Worker(Section):
    """The Celery workers."""

    worker_id: Text | None = None
    """Name of the worker in MQTT topics and payloads; null: a name made of host and process."""
    name: Text | None = None
    """Display name."""
    max_concurrent_jobs: Annotated[int, Field(ge=1, le=1000)] = 5
    """Maximum number of jobs that a worker without -c runs at the same time."""
    supported_job_types: Annotated[
        tuple[
            Literal["stock_fetch", "stock_batch_fetch", "stock_analysis", "stock_research", "portfolio_priority"], ...
        ],
        Field(strict=False),
    ] = ()
    """Job types whose queues a worker without -Q consumes; empty: all. portfolio_priority means the fetches of a
    login, which are in the queue foreground."""
    capabilities: Annotated[Texts, IGNORED] = ()
    """Ignored: queues decide which worker takes a job."""
    poll_interval: Annotated[Delay, IGNORED] = 2.0
    """Ignored: workers do not poll; the broker delivers jobs to them."""
    max_execution_time: Seconds = 1800
    """Time limit in seconds of a job whose type has none in jobs.timeouts."""
    heartbeat_interval: Timeout = 15.0
    """Seconds between two heartbeats; a job is rescued after three missed heartbeats."""


class Market(Section):
    """Stocks of interest to all users."""

    watchlist: Texts = ()
    """Symbols that are kept fresh even if nobody holds them."""


class JobProcessor(Section):
    """All settings of job_processor.yml."""

    # Django's settings look for this attribute at each access. A pydantic model without it takes 5 µs to say so.
    _mask_wrapped: ClassVar[bool] = True

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
        """Dotted paths, sorted, of the keys in the file without an effect; each key once."""
        return self._ignored

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each ignored key, and for a value read as another value."""
        return self._notes
