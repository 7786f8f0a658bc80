"""The sections of log files and of monitoring."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stockqueue.config.values import IGNORED, Count, Seconds, Section, Share, Text, Timeout, read_size


class ComponentLogs(Section):
    """A log file for each part of the program; a relative path is under STOCKQUEUE_VAR."""

    portfolio: Text = "logs/portfolio_jobs.log"
    """Logins, portfolios, freshness."""
    fetcher: Text = "logs/data_fetch.log"
    """Market data."""
    analyzer: Text = "logs/analysis.log"
    """Analysis and research."""
    mqtt: Text = "logs/mqtt.log"
    """The MQTT bridge."""


class Logging(Section):
    """Logs."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Lowest level of logged messages."""
    file: Text | None = "logs/stock_worker.log"
    """Log file for all messages; a relative path is under STOCKQUEUE_VAR; null: none."""
    max_size: Annotated[
        int,
        BeforeValidator(
            read_size,
            json_schema_input_type=Annotated[int, Field(ge=0, le=1024**4)]
            | Annotated[str, Field(pattern="^[0-9]{1,9} ?[KkMmGg]?[Bb]?$")],
        ),
        Field(ge=0, le=1024**4),
    ] = 50 * 1024**2
    """Size at which a file is rotated, in bytes or such as 50MB (1 MB is 1048576 bytes); 0: never."""
    backup_count: Annotated[int, Field(ge=0, le=1000)] = 5
    """Number of rotated files to keep."""
    component_logs: ComponentLogs = ComponentLogs()


class StockMetrics(Section):
    """Which families of metrics are collected."""

    fetch_latency: bool = True
    """Durations of fetches and other jobs."""
    portfolio_timing: bool = True
    """Time from a login to fresh data."""
    queue_depth: bool = True
    """Numbers and ages of waiting jobs."""
    worker_efficiency: bool = True
    """Utilisation and efficiency of workers."""


class Thresholds(Section):
    """Limits beyond which an alert is raised."""

    max_queue_depth: Count = 1000
    """Waiting jobs in one queue."""
    max_fetch_latency: Timeout = 30.0
    """Seconds that a fetch takes."""
    min_worker_efficiency: Share = 0.7
    """Share of successful attempts, 0 to 1."""
    max_job_age: Seconds = 600
    """Seconds that a job waits."""
    max_data_staleness: Seconds = 7200
    """Seconds since a held stock was last checked."""
    min_instant_logins: Share = 0.9
    """Share of the last day's logins that found all held stocks fresh, 0 to 1."""


class Monitoring(Section):
    """Metrics, health and alerts."""

    enabled: bool = True
    """Whether metrics are collected and alerts raised."""
    format: Literal["prometheus", "json"] = "prometheus"
    """Format of /metrics."""
    port: Annotated[int, Field(ge=0, le=65_535), IGNORED] = 8080
    """Ignored: metrics and health are pages of the web server."""
    health_check_enabled: bool = True
    """Whether /health/live and /health/ready answer."""
    stock_metrics: StockMetrics = StockMetrics()
    thresholds: Thresholds = Thresholds()
