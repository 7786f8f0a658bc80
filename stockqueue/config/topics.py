"""The section of MQTT topics."""

import re
from functools import partial
from typing import Annotated

from pydantic import AfterValidator

from stockqueue.config.values import Section, Topic


def _check_topic(template: str, *, known: tuple[str, ...], needed: bool) -> str:
    problem = None
    rest = re.sub(r"\{(" + "|".join(known) + r")\}", "", template) if known else template
    if re.search(r"[+#]", template):
        problem = "contains + or #, which are only allowed in subscriptions"
    elif template.startswith("$"):
        problem = "starts with $, which is reserved for the broker"
    elif re.search(r"[{}]", rest):
        names = " or ".join(f"{{{name}}}" for name in known)
        problem = f"may contain braces only in {names}" if known else "must not contain braces"
    elif needed and (missing := [name for name in known if f"{{{name}}}" not in template]):
        problem = f"lacks {{{missing[0]}}}"
    if problem:
        raise ValueError(problem)
    return template


def _known_topic(*known: str, needed: bool = False) -> AfterValidator:
    return AfterValidator(partial(_check_topic, known=known, needed=needed))


class Topics(Section):
    """MQTT topics by template name. Names in braces are replaced."""

    portfolio_priority: Annotated[Topic, _known_topic("user_id")] = "stock/portfolio/priority/{user_id}"
    """Events of a user's jobs after a login."""
    stock_fetch: Annotated[Topic, _known_topic("symbol")] = "stock/fetch/{symbol}"
    """Events of stock_fetch jobs."""
    stock_batch_fetch: Annotated[Topic, _known_topic()] = "stock/fetch/batch"
    """Events of stock_batch_fetch jobs."""
    stock_analysis: Annotated[Topic, _known_topic("symbol")] = "stock/analysis/{symbol}"
    """Events of stock_analysis jobs."""
    stock_research: Annotated[Topic, _known_topic("symbol", needed=True)] = "stock/research/{symbol}"
    """Events of stock_research jobs."""
    job_status: Annotated[Topic, _known_topic("job_id")] = "jobs/status/{job_id}"
    """All events of all jobs."""
    job_queue: Annotated[Topic, _known_topic("priority", "job_type", needed=True)] = "jobs/queue/{priority}/{job_type}"
    """Queued jobs; priority is high, normal or low."""
    job_completed: Annotated[Topic, _known_topic("job_id", needed=True)] = "jobs/completed/{job_id}"
    """Completed jobs."""
    job_failed: Annotated[Topic, _known_topic("job_id", needed=True)] = "jobs/failed/{job_id}"
    """Failed, expired and cancelled jobs, and failed attempts."""
    job_retry: Annotated[Topic, _known_topic("job_id", needed=True)] = "jobs/retry/{job_id}"
    """Jobs that will be retried."""
    worker_register: Annotated[Topic, _known_topic()] = "workers/register"
    """Registration of a worker (retained)."""
    worker_unregister: Annotated[Topic, _known_topic()] = "workers/unregister"
    """Clean shutdown of a worker."""
    worker_heartbeat: Annotated[Topic, _known_topic("worker_id")] = "workers/heartbeat/{worker_id}"
    """Heartbeat of a worker."""
    worker_disconnect: Annotated[Topic, _known_topic()] = "workers/disconnect"
    """Loss of a worker, after missed heartbeats."""
    system_stats: Annotated[Topic, _known_topic()] = "system/stats"
    """Statistics."""
    system_stats_request: Annotated[Topic, _known_topic()] = "system/stats/request"
    """Requests for statistics."""
    system_alert: Annotated[Topic, _known_topic("name", needed=True)] = "system/alerts/{name}"
    """Raised and cleared alerts."""
    price_alert: Annotated[Topic, _known_topic("user_id", "symbol")] = "stockqueue/alerts/{user_id}/{symbol}"
    """Raised price alerts of owners."""
    bridge_state: Annotated[Topic, _known_topic()] = "stockqueue/bridge/state"
    """State of the bridge, online or offline (retained; offline is its last will)."""
