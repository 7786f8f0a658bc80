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
