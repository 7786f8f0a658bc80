"""Some hundred jobs, stocks, portfolios, workers and alerts in random states, for figures that count them."""

import random
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from django.contrib.auth.models import User
from django_celery_beat.models import PeriodicTask

from market.models import Analysis, SourceState, SourceUse, Stock
from mqtt_bridge.models import BridgeLease
from operations.models import Alert
from portfolio.models import Holding, Login, Portfolio, PortfolioPriority
from tasks.models import Job, JobEvent, JobRequest, Worker
from tasks.priority import BANDS

JOBS, STOCKS, PEOPLE, LOGINS = 500, 150, 40, 90
REASONS = [
    *("Yahoo Finance answered 503 for {}", "Yahoo Finance does not know it & never did", "100 % of <it>\nand more"),
    *("", "no answer for {} in 30 s", *(f"reason {number}" for number in range(12))),
]
ENDS = ("completed", "failed", "expired", "cancelled")
ALERTS = [
    ("queue-depth", "raised"),
    ("job-age", "raised"),
    ("fetch-latency", "raised"),
    ("outbox-age", "suspected"),
    ("beat-silent", "suspected"),
    ("workers-gone", "cleared"),
    ("workers-gone", "cleared"),
]


class Crowd:
    """Fills an empty database. All moments are whole seconds before `now`, and the random ones those of `seed`."""

    def __init__(self, seed: int, now: datetime) -> None:
        self._chance = random.Random(seed)
        self._now = now
        self.people = User.objects.bulk_create(User(username=f"person{number}") for number in range(PEOPLE))
        self._add_stocks()
        self._add_portfolios()
        self._add_priorities()
        self._add_workers()
        self._add_jobs()
        self._add_logins()
        self._add_events()
        self._add_others()

    def _ago(self, seconds: float) -> datetime:
        return self._now - timedelta(seconds=seconds)

    def _lately(self, shortest: int, longest: int) -> int:
        """Seconds, short ones as likely as long ones."""
        return round(shortest * (longest / shortest) ** self._chance.random())

    def _add_stocks(self) -> None:
        ages = [None if self._chance.random() < 0.05 else self._lately(1, 30 * 86_400) for _ in range(STOCKS)]
        self._stocks = Stock.objects.bulk_create(
            Stock(
                symbol=f"S{number:03}",
                exchange="CCC",  # never closes: no day on which nothing can have changed
                status=self._chance.choices(["active", "unknown", "delisted"], [8, 1, 1])[0],
                checked_at=None if age is None else self._ago(age),
            )
            for number, age in enumerate(ages)
        )

    def _add_portfolios(self) -> None:
        portfolios = Portfolio.objects.bulk_create(
            Portfolio(user=user, name=f"Portfolio {number}")
            for user in self.people
            for number in range(self._chance.randrange(3))
        )
        popular = self._stocks[: STOCKS * 3 // 4]
        Holding.objects.bulk_create(
            Holding(portfolio=portfolio, stock=stock, shares=1, buy_price=1)
            for portfolio in portfolios
            for stock in self._chance.sample(popular, self._chance.randrange(12))
        )

    def _add_priorities(self) -> None:
        pairs = self._chance.sample(list(product(self.people, self._stocks)), 60)
        PortfolioPriority.objects.bulk_create(
            PortfolioPriority(
                user=person, stock=stock, priority_score=100 + score, is_active=self._chance.random() < 0.7
            )
            for score, (person, stock) in enumerate(pairs)
        )
        analysed = self._chance.choices(self._stocks, k=STOCKS)
        ages = sorted((self._lately(1, 90_000) for _ in analysed), reverse=True)
        Analysis.objects.bulk_create(
            Analysis(stock=stock, kind=self._chance.choice(Analysis.Kind.values), created_at=self._ago(age))
            for stock, age in zip(analysed, ages, strict=True)
        )

    def _add_workers(self) -> None:
        """A name of two runs for each two states: where one is gone, the other may have come after it."""
        rows = []
        for name, states in enumerate(product(["alive", "gone", "stopped"], repeat=2)):
            for run, state in enumerate(states):
                # The database's clock decides: alive for longer than a test takes, and not so far ahead as to be gone.
                heartbeat = -40 if state == "alive" else self._lately(600, 30_000)
                rows.append(
                    Worker(
                        worker_id=f"worker{name}@größe & co:{run}",
                        hostname="größe & co",
                        pid=run,
                        concurrency=self._chance.randrange(1, 6),
                        started_at=self._ago(max(heartbeat, 0) + self._lately(60, 9_000)),
                        heartbeat_at=self._ago(heartbeat),
                        stopped_at=self._ago(heartbeat) if state == "stopped" else None,
                    )
                )
        self._workers = Worker.objects.bulk_create(rows)

    def _add_jobs(self) -> None:
        ids = [*(worker.worker_id for worker in self._workers), "direct@here:1", "direct@here:2"]
        statuses = self._chance.choices([*Job.ACTIVE, *ENDS], [3, 3, 3, 10, 4, 2, 2], k=JOBS)
        self._jobs = Job.objects.bulk_create(
            self._job(number, status, self._chance.choice(ids)) for number, status in enumerate(statuses)
        )

    def _job(self, number: int, status: str, worker: str) -> Job:
        queue = self._chance.choice(list(BANDS))
        symbol = self._chance.choice(self._stocks).symbol
        ended = self._lately(1, 100_000) if status in ENDS else 0
        took, waited = self._lately(1, 100), self._lately(1, 3_000)
        has_begun = status in ("running", "completed", "failed")
        error = self._chance.choice(REASONS).format(symbol) if status in ("failed", "expired") else ""
        result = {"source": self._chance.choice(["yahoo_finance"] * 9 + ["cached"]), "requests": number % 7}
        return Job(
            job_type=self._chance.choice(Job.Type.values),
            parameters={"ahead": 5} if number % 3 else {},
            trigger=self._chance.choice(Job.Trigger.values),
            symbol=self._chance.choice([symbol, symbol, ""]) if "for" not in error else symbol,
            unique_key=str(number),
            queue=queue,
            priority=self._chance.choice(BANDS[queue]),
            status=status,
            worker_id=worker if has_begun else "",
            retries=self._chance.choice([0, 0, 0, 1, 2]),
            created_at=self._ago(ended + took + waited),
            queued_at=None if status == "pending" else self._ago(ended + took),
            started_at=self._ago(ended + took) if has_begun else None,
            heartbeat_at=self._ago(0) if status == "running" else None,
            finished_at=self._ago(ended) if status in ENDS else None,
            result=result if has_begun else None,
            refused_at=self._ago(waited) if status == "pending" and number % 3 == 0 else None,
            error=error,
        )

    def _add_logins(self) -> None:
        """Of one to four jobs each, which end after the login; and requests that are no login's."""
        requests = []
        for number in range(LOGINS):
            user, age = self._chance.choice(self.people), self._lately(10, 5_000)
            going_on = [job for job in self._jobs if job.finished_at is None or job.finished_at > self._ago(age)]
            done = [job for job in going_on if job.status == "completed"]
            for job in self._chance.choices(self._chance.choice([done, going_on]), k=self._chance.randrange(1, 5)):
                age -= self._chance.choice([0, 1, 2])
                requests.append(self._request(job, user, age + number / 1_000))
        for job in self._jobs[:100]:
            requests.append(self._request(job, self._chance.choice(self.people), 60, trigger="user_request"))
            requests.append(self._request(job, None, 60))
        JobRequest.objects.bulk_create(requests)

    def _request(self, job: Job, user: User | None, seconds: float, trigger: str = "user_login") -> JobRequest:
        return JobRequest(job=job, user=user, trigger=trigger, created_at=self._ago(seconds))

    def _add_events(self) -> None:
        ages = sorted((self._lately(1, 9_000) for _ in self._jobs), reverse=True)
        states = self._chance.choices(["published", "waiting", "set aside"], [6, 2, 1], k=len(ages))
        JobEvent.objects.bulk_create(
            JobEvent(
                job=job,
                seq=1,
                event="created",
                created_at=self._ago(age),
                published_at=self._ago(1) if state == "published" else None,
                error="too large" if state == "set aside" else "",
            )
            for job, age, state in zip(self._jobs, ages, states, strict=True)
        )

    def _add_others(self) -> None:
        Alert.objects.bulk_create(self._alert(name, state) for name, state in ALERTS)
        SourceState.objects.create(source="yahoo_finance")
        SourceUse.objects.bulk_create(
            SourceUse(source="yahoo_finance", granted_at=self._ago(seconds), requests=self._chance.randrange(1, 9))
            for seconds in range(5, 120, 7)
        )
        BridgeLease.objects.create(holder="here:1", renewed_at=self._now)
        tasks = PeriodicTask.objects.order_by("pk")
        for number, task in enumerate(tasks):
            tasks.filter(pk=task.pk).update(enabled=number % 3 > 0, last_run_at=self._ago(60 * (number + 1)))

        Login.objects.bulk_create(
            Login(at=self._ago(self._lately(10, 300_000)), stocks=4, stale=self._chance.choice([0, 0, 0, 1, 4]))
            for _ in range(LOGINS)
        )

    def _alert(self, name: str, state: str) -> Alert:
        by = self._chance.choice([None, *self.people])
        since = self._lately(90, 9_000)
        times: dict[str, Any] = {"since": self._ago(since), "acknowledged_by": by}
        if state == "cleared":
            times["cleared_at"] = self._ago(since - 80)
        return Alert(name=name, state=state, value=9, worst=9, threshold=5, text=f"{name} {since}", **times)
