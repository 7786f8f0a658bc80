"""Admission: which pending jobs may go to the broker, within the caps of queues and users.

An admitted job has `dispatched_at` and `dispatched_for`, the requester whose cap counts the job. Jobs are admitted in
a transaction under the queue's lock, so that no cap is exceeded. Messages are sent after the commit.

Caps count requests: a job of a cohort weighs its share of the request that answers for the whole cohort, and any other
job weighs 1. While a limit such as a source's rate limit leaves no request, jobs that are subject to it stay pending.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from tasks import job_types, limits
from tasks.models import Job, JobRequest
from tasks.sql import job_sql

PAGE = 2_000
"""Pending jobs in a query."""
FAIR_SHARE = 1 / 3
"""The share of the foreground's requests a minute after which a user's jobs let the jobs of other users go first."""
MINUTE = timedelta(minutes=1)
KEPT_FOR_OTHER_QUEUES = timedelta(minutes=1)
"""The time for which requests are kept for an admitted job of another queue."""
BEGINNING = timedelta(seconds=1)
"""The time after its start in which a job may not have sent its request yet."""
_FIELDS = (
    *("id", "job_type", "priority", "queue", "cohort", "status", "dispatched_at", "dispatched_for_id"),
    "limited_by",
)
"""The fields that are read of a pending job, in the model's order."""
_COHORT = _FIELDS.index("cohort")


class _Room:
    """What the caps of a queue leave: the weights of further jobs, in units of which a job alone has `unit`.

    `used_up` has the names of limits without requests for further jobs. `waits_for_others` has the users with more
    than a fair share of the requests: their limited jobs come after the jobs of other users.
    """

    def __init__(self, queue: str) -> None:
        self.unit = job_types.largest_cohort()
        self.used_up: set[str] = set()
        self.waits_for_others: frozenset[int] = frozenset()
        self._queue = queue
        self._weights: dict[str, int] = {}
        self._taken = 0
        self._reserved: int | None = None
        self._limits: dict[str, Callable[[int], limits.Left] | None] = {}
        self._of_users: Counter[int | None] = Counter()
        for user, cohort, jobs in job_sql().admitted_jobs(queue):
            self._of_users[user] += jobs * self.weight_of(cohort)
        self._cap = _cap() * self.unit
        self.left = _max_jobs(queue) * self.unit - self._of_users.total()

    def weight_of(self, cohort: str) -> int:
        """The weight of a job: its share of the request that answers for its cohort."""
        if cohort not in self._weights:
            self._weights[cohort] = -(-self.unit // job_types.cohort_size(cohort))
        return self._weights[cohort]

    def users_without(self, weight: int) -> list[int]:
        """The users whose cap leaves less than `weight`."""
        return [user for user, used in self._of_users.items() if user is not None and used + weight > self._cap]

    def has_place_for(self, user: int | None, cohort: str) -> bool:
        """Whether the cap of a user leaves room for a job."""
        return user is None or self._of_users[user] + self.weight_of(cohort) <= self._cap

    def take(self, job: Job) -> bool:
        """Count a job. False if its limit does not allow it."""
        weight, user = self.weight_of(job.cohort), job.dispatched_for_id
        if job.limited_by and not self._reserve(job, weight):
            return False
        self._of_users[user] += weight
        self.left -= weight
        return True

    def _reserve(self, job: Job, weight: int) -> bool:
        """Keep requests for a job that has not begun yet. False if its limit does not leave enough."""
        if job.limited_by in self.used_up:
            return False
        if job.limited_by not in self._limits:
            self._limits[job.limited_by] = limits.find(job.limited_by, self._queue)
        limit = self._limits[job.limited_by]
        if limit is None:
            return True
        left = limit(job.priority)
        if not self._has_plenty(left, weight):
            if self._reserved is None:
                self._reserved = sum(jobs * self.weight_of(cohort) for cohort, jobs in _not_begun(self._queue))
                self.waits_for_others = self._over_fair_share(left.a_minute)
            if job.dispatched_for_id in self.waits_for_others:
                return False
            if self._reserved + self._taken + weight > left.requests * self.unit:
                self.used_up.add(job.limited_by)
                return False
        self._taken += weight
        return True

    def _has_plenty(self, left: limits.Left, weight: int) -> bool:
        """Whether the limit leaves enough for all admitted jobs, and for more than a fair share. Saves two queries."""
        if self._queue != Job.Queue.FOREGROUND or left.requests <= (1 - FAIR_SHARE) * left.a_minute:
            return False
        return self._of_users.total() + weight <= left.requests * self.unit

    def _over_fair_share(self, a_minute: int) -> frozenset[int]:
        """The users whose jobs took more than FAIR_SHARE of the foreground's requests in the last minute."""
        if self._queue != Job.Queue.FOREGROUND:
            return frozenset()
        used: Counter[int] = Counter()
        for user, cohort, jobs in _limited_lately(self._queue):
            used[user] += jobs * self.weight_of(cohort)
        return frozenset(user for user, weight in used.items() if weight > FAIR_SHARE * a_minute * self.unit)


def admit(queue: str, at_most: int) -> list[Job]:
    """Admit and return up to `at_most` pending jobs of a queue, the most urgent and oldest first.

    Must be the last step of a transaction: the queue's lock is kept until the commit. A job is admitted as soon as any
    of its requesters is below the cap. The caps of users count each queue separately, so that analyses never delay a
    login.
    """
    job_sql().lock(f"turns in {queue}")
    room = _Room(queue)
    turns: list[Job] = []
    size = PAGE if at_most > room.unit else at_most
    while len(turns) < at_most and room.left > 0:
        known = (room.used_up.copy(), room.waits_for_others)
        page = _next_page(queue, room, at_most=size, but=[job.pk for job in turns])
        more = _choose(page, room, at_most - len(turns))
        turns += more
        if (more and len(page) == size) or known != (room.used_up, room.waits_for_others):
            continue  # other jobs may be on the next page
        if not room.waits_for_others:
            break
        room.waits_for_others = frozenset()  # nobody else waits any more
    if turns:
        now = timezone.now()
        for job in turns:
            job.dispatched_at = now
        job_sql().admit_jobs({job.pk: job.dispatched_for_id for job in turns}, now)
    return turns


def _choose(page: Iterable[tuple[Any, ...]], room: _Room, at_most: int) -> list[Job]:
    """The jobs of a page that the caps allow, up to the first job for which the queue has no room."""
    turns: list[Job] = []
    for payer, *values in page:
        cohort = values[_COHORT]
        if room.weight_of(cohort) > room.left or len(turns) == at_most:
            break
        if not room.has_place_for(payer, cohort):
            continue
        job = Job.from_db(connection.alias, _FIELDS, values)
        job.dispatched_for_id = payer
        if room.take(job):
            turns.append(job)
    return turns


def give_back(job_ids: Collection[UUID]) -> None:
    """Revoke the admission of jobs that were not sent; the next dispatch admits them again."""
    Job.objects.filter(pk__in=job_ids, status=Job.Status.PENDING).update(dispatched_at=None, dispatched_for=None)


def note_refusal(job_ids: Collection[UUID]) -> None:
    """Record that the broker refused admitted jobs. The record is cleared when the broker accepts jobs again."""
    Job.objects.filter(pk__in=job_ids, status=Job.Status.PENDING).update(
        refused_at=Coalesce("refused_at", timezone.now())
    )


def forget_refusals(queue: str) -> None:
    """Clear the refusals of a queue's jobs: the broker has accepted all admitted jobs, and the caps delay the rest."""
    Job.objects.refused().filter(queue=queue).update(refused_at=None)


def forget_unused(older_than: timedelta) -> int:
    """Revoke admissions without a sent message after `older_than`: the admitting process has died in between."""
    unused = Job.objects.active().filter(status=Job.Status.PENDING, dispatched_at__lte=timezone.now() - older_than)
    return unused.update(dispatched_at=None, dispatched_for=None)


def _due(queue: str) -> QuerySet[Job]:
    now = timezone.now()
    return Job.objects.active().filter(
        Q(run_at=None) | Q(run_at__lte=now), queue=queue, status=Job.Status.PENDING, dispatched_at=None
    )


def _not_begun(queue: str) -> QuerySet[Job, tuple[str, int]]:
    """The numbers by cohort of admitted limited jobs that may still have to send their requests.

    No worker has started these jobs yet, or a worker has started them within BEGINNING.
    Jobs of the foreground queue do not leave requests to other queues. Between other queues, a request is kept only
    for a while: a queue without a worker must not stop the rest.
    """
    now = timezone.now()
    to_ask = Q(status__in=Job.WAITING) | Q(status=Job.Status.RUNNING, started_at__gt=now - BEGINNING)
    admitted = Job.objects.active().filter(to_ask, dispatched_at__isnull=False).exclude(limited_by="")
    counts = Q(queue=queue)
    if queue != Job.Queue.FOREGROUND:
        counts |= Q(dispatched_at__gt=now - KEPT_FOR_OTHER_QUEUES)
    return admitted.filter(counts).order_by().values_list("cohort").annotate(jobs=Count("pk"))


def _limited_lately(queue: str) -> QuerySet[Job, tuple[int, str, int]]:
    """The numbers by user and cohort of limited jobs that are running, or have ended in the last minute."""
    lately = Q(finished_at=None, status=Job.Status.RUNNING) | Q(finished_at__gt=timezone.now() - MINUTE)
    limited = Job.objects.filter(lately, queue=queue, dispatched_for__isnull=False).exclude(limited_by="")
    return limited.order_by().values_list("dispatched_for", "cohort").annotate(jobs=Count("pk"))


def _max_jobs(queue: str) -> int:
    return int(getattr(settings.JOB_PROCESSOR.queue.priority_queues, queue).max_jobs)


def _cap() -> int:
    return int(settings.JOB_PROCESSOR.stock_jobs.portfolio_priority.max_concurrent_per_user)


def _next_page(queue: str, room: _Room, *, at_most: int, but: Collection[UUID]) -> list[tuple[Any, ...]]:
    """Pending jobs with a requester below the cap: the requester (None: the system), and the job's `_FIELDS`.

    Plain values, because most of the jobs have to wait, and model objects would take most of the time.
    """
    full = {*room.users_without(1), *room.waits_for_others}
    nearly_full = {*room.users_without(room.unit), *room.waits_for_others}
    requests = JobRequest.objects.filter(job=OuterRef("pk"))
    with_room = requests.exclude(user__in=full) if full else requests
    if nearly_full:
        with_room = with_room.exclude(user__in=nearly_full, job__cohort="")
    free_first = with_room.order_by(F("user").asc(nulls_first=True))
    jobs = _due(queue).exclude(pk__in=but).exclude(limited_by__in=room.used_up)
    if nearly_full:  # without this test, PostgreSQL would read every request
        jobs = jobs.filter(Exists(with_room) | ~Exists(requests))  # deleting a user deletes the requests
    return list(
        jobs.annotate(payer=Subquery(free_first.values("user")[:1]))
        .order_by("priority", "created_at")
        .values_list("payer", *_FIELDS)[:at_most]
    )
