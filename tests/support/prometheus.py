"""What `/metrics` tells, and what programs that read it ask for: whether the one has the other."""

import re
import subprocess
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from prometheus_client.parser import text_string_to_metric_families

from market.models import Stock, TradingSession
from mqtt_bridge.leadership import Lease
from portfolio.models import Login
from stockqueue import cache
from tasks.models import JobRequest
from tests.support.jobs import new_job
from tests.support.servers import find_server
from tests.support.workers import new_worker

Told = Mapping[str, Mapping[str, set[str]]]
"""By metric: its labels, each with the values that it has."""

OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus adds to what it scrapes."""


def promtool(*words: str, cwd: Path) -> str:
    """What it says; it has to be content."""
    ended = subprocess.run(
        [find_server("promtool"), *words], cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def fill(user: User, hold: Any) -> None:
    """Have something of all that is measured, so that `/metrics` tells every metric."""
    hold(user, "AAPL")
    new_worker()
    now = timezone.now()
    started = now - timedelta(seconds=2)
    job = new_job("A", "completed", queued_at=started, started_at=started, finished_at=now)
    JobRequest.objects.create(job=job, user=user, trigger="user_login", created_at=started)
    Login.objects.create(at=started, stocks=1, stale=1)
    Stock.objects.create(symbol="ENDS.NS", exchange="NSI", checked_at=now)
    TradingSession.objects.create(
        calendar="XBOM", opens_at=now + timedelta(days=20), closes_at=now + timedelta(days=21)
    )
    Lease().acquire()
    PeriodicTask.objects.update(last_run_at=now)
    for kind in cache.Kind:
        cache.cached(kind, ["AAPL"], lambda: 1)


def told(client: Client) -> Told:
    """What `/metrics` tells now."""
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").content.decode()):
        labels = found.setdefault(family.name, {})
        for sample in family.samples:
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def metrics_in(expressions: Iterable[str]) -> set[str]:
    """The metrics of ours that they ask for."""
    return set(re.findall(r"\bstockqueue_\w+", "\n".join(expressions)))


def what_is_not_there(expression: str, told: Told) -> list[str]:
    """Metrics, labels and values of labels that an expression asks for and nobody tells."""
    wrong = [name for name in metrics_in([expression]) if name not in told]
    known: set[str] = set()
    for name, selectors in re.findall(r"\b(stockqueue_\w+)(?:\{([^}]*)\})?", expression):
        labels = told.get(name, {})
        known |= labels.keys()
        for label, _how, value in re.findall(r'(\w+)\s*(!?=~?)\s*"([^"]*)"', selectors):
            if label not in OF_PROMETHEUS and value not in labels.get(label, ()):
                wrong.append(f'{name}{{{label}="{value}"}}')
    for group in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression):
        wrong += [label for label in re.findall(r"\w+", group) if label not in known | OF_PROMETHEUS]
    return wrong
