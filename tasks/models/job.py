import uuid
from datetime import datetime
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Case, CharField, F, Q, Value, When
from django.db.models.functions import Concat, Replace
from django.utils import timezone


class JobQuerySet(models.QuerySet["Job"]):
    def active(self) -> Self:
        """Jobs without an end: pending, queued or running.

        The condition is `finished_at`, not a list of states, because the partial indexes contain it. SQLite uses a
        partial index only if a query repeats its condition, and would read all jobs otherwise.
        """
        return self.filter(finished_at=None)

    def refused(self) -> Self:
        """Active jobs that the broker refused after their admission."""
        return self.active().filter(refused_at__isnull=False)

    def ended_since(self, moment: datetime) -> Self:
        """Jobs that ended at `moment` or later."""
        return self.filter(finished_at__gte=moment)

    def unsuccessful(self) -> Self:
        """Jobs that failed, expired or were cancelled. The condition repeats the condition of the partial indexes."""
        return self.filter(status__in=Job.UNSUCCESSFUL)

    def with_reason(self) -> models.QuerySet[Any]:
        """Annotate each job with `reason`: its error without its symbol."""
        name = Concat(Value(" for "), F("symbol"), output_field=CharField())
        nameless = Case(
            When(symbol="", then=F("error")),
            default=Replace(F("error"), name, Value("")),  # type: ignore[arg-type]
            output_field=CharField(),
        )
        return self.annotate(reason=nameless)


class Job(models.Model):
    """A request for work. The job's id is also the id of its Celery task.

    `pending` (committed; waits for admission, its retry time or a broker) → `queued` (in the broker) → `running` →
    `completed`, `failed`, `expired` (waited past its queue's `ttl`) or `cancelled`. A retry goes from `running` back
    to `pending`. The last four never change again. Only `tasks.state.lifecycle` writes a status.
    """

    class Type(models.TextChoices):
        STOCK_FETCH = "stock_fetch"
        STOCK_BATCH_FETCH = "stock_batch_fetch"
        STOCK_ANALYSIS = "stock_analysis"
        STOCK_RESEARCH = "stock_research"

    class Trigger(models.TextChoices):
        USER_LOGIN = "user_login"
        USER_REQUEST = "user_request"
        SCHEDULED_UPDATE = "scheduled_update"
        BACKGROUND_ANALYSIS = "background_analysis"
        MAINTENANCE = "maintenance"

    class Queue(models.TextChoices):
        FOREGROUND = "foreground"
        BACKGROUND_FETCH = "background_fetch"
        BACKGROUND_ANALYSIS = "background_analysis"

    class Status(models.TextChoices):
        PENDING = "pending"
        QUEUED = "queued"
        RUNNING = "running"
        COMPLETED = "completed"
        FAILED = "failed"
        EXPIRED = "expired"
        CANCELLED = "cancelled"

    class Outcome(models.TextChoices):
        UPDATED = "updated"
        UNCHANGED = "unchanged"
        PARTIAL = "partial"

    ACTIVE: ClassVar = (Status.PENDING, Status.QUEUED, Status.RUNNING)
    WAITING: ClassVar = (Status.PENDING, Status.QUEUED)
    UNSUCCESSFUL: ClassVar = (Status.FAILED, Status.EXPIRED, Status.CANCELLED)
    ENDED: ClassVar = (Status.COMPLETED, *UNSUCCESSFUL)
    WORKED_TO_THE_END: ClassVar = (Status.COMPLETED, Status.FAILED)
    """The ends of jobs that a worker ended; the other ends come from a limit or from a person."""
    REQUESTERS: ClassVar = "requests__user"
    """The path to prefetch for the `requesters()` of many jobs."""

    others_wait: bool = True
    """False after a transition that found no other job of its queue waiting for admission."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job_type = models.CharField(max_length=20, choices=Type)
    subtype = models.CharField(max_length=40, blank=True)
    trigger = models.CharField(max_length=20, choices=Trigger)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="jobs"
    )
    symbol = models.CharField(max_length=32, blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    unique_key = models.CharField(
        max_length=200, editable=False, help_text="Key that at most one active job may have."
    )
    priority = models.PositiveSmallIntegerField(help_text="1 is the most urgent, 10 the least.")
    priority_reason = models.JSONField(default=dict, blank=True, help_text="Why the job has this priority.")
    queue = models.CharField(max_length=20, choices=Queue)
    cohort = models.CharField(
        max_length=20,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Jobs of a queue with the same value can be claimed together; empty: the job is claimed alone.",
    )
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    attempt = models.PositiveIntegerField(default=0, help_text="Number of started attempts; also the fencing token.")
    retries = models.PositiveSmallIntegerField(default=0, help_text="Number of failed attempts that were retried.")
    last_seq = models.PositiveIntegerField(default=0, editable=False, help_text="Number of the newest event.")
    worker_id = models.CharField(max_length=200, blank=True)
    claimed_with = models.UUIDField(
        null=True, blank=True, editable=False, help_text="Job whose message led to the claim; the same for a cohort."
    )
    created_at = models.DateTimeField(default=timezone.now)
    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    run_at = models.DateTimeField(
        null=True, blank=True, help_text="Earliest time of the next attempt; empty if there is no wait."
    )
    dispatched_at = models.DateTimeField(
        null=True, blank=True, help_text="Time of the admission, or of the latest message to the broker."
    )
    dispatched_for = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text="Requester whose cap counts the job; empty: the system.",
    )
    limited_by = models.CharField(
        max_length=20,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Name of the limit that the job's requests count against; empty: none.",
    )
    waiting_for = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="What the job waited for when it last had to wait, such as a source's rate limit.",
    )
    waits_for = models.UUIDField(null=True, blank=True, editable=False, help_text="Job whose end the job waits for.")
    refused_at = models.DateTimeField(
        null=True, blank=True, help_text="Time since which the broker has refused the admitted job."
    )
    retry_of = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="reruns",
        db_index=False,
        help_text="Ended job that this job reruns.",
    )
    outcome = models.CharField(max_length=10, choices=Outcome, blank=True)
    result = models.JSONField(null=True, blank=True)
    error = models.TextField(blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            # A partial index: it stays small, and ended jobs are not in it.
            models.Index(
                fields=["queue", "status", "priority", "created_at"],
                name="job_work_order",
                condition=Q(finished_at=None),
            ),
            # Counts the jobs within the caps, and finds the jobs that a worker may claim together.
            models.Index(
                fields=["queue", "status", "priority", "created_at"],
                name="job_admitted",
                condition=Q(finished_at=None, dispatched_at__isnull=False),
            ),
            models.Index(
                fields=["refused_at"],
                name="job_refused",
                condition=Q(finished_at=None, refused_at__isnull=False),
            ),
            models.Index(fields=["symbol", "-created_at"], name="job_of_a_stock"),
            models.Index(fields=["-created_at"], name="job_newest_first"),
            # Written once per job, at its end; every scrape of the metrics reads the jobs that ended in the last hour.
            models.Index(fields=["finished_at"], name="job_ended", condition=Q(finished_at__isnull=False)),
            # Indexes for unsuccessful jobs, which are few: in the order of the list of jobs, and by their end.
            models.Index(
                fields=["-created_at"],
                name="job_unsuccessful",
                condition=Q(status__in=["failed", "expired", "cancelled"]),
            ),
            models.Index(
                fields=["finished_at"],
                name="job_unsuccessful_end",
                condition=Q(status__in=["failed", "expired", "cancelled"]),
            ),
            # Few jobs wait for another job.
            models.Index(
                fields=["waits_for"],
                name="job_waiting",
                condition=Q(finished_at=None, waits_for__isnull=False),
            ),
            models.Index(fields=["retry_of"], name="job_reruns", condition=Q(retry_of__isnull=False)),
        ]
        permissions = [
            ("cancel_job", "Can cancel jobs"),
            ("retry_job", "Can rerun jobs"),
            ("reprioritise_job", "Can change the priority of jobs"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["unique_key"],
                condition=Q(finished_at=None),
                name="one_active_job_a_thing",
            ),
            models.CheckConstraint(condition=Q(priority__gte=1, priority__lte=10), name="priority_1_to_10"),
            models.CheckConstraint(
                condition=Q(finished_at=None, status__in=["pending", "queued", "running"])
                | Q(finished_at__isnull=False, status__in=["completed", "failed", "expired", "cancelled"]),
                name="only_ended_jobs_have_an_end",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job_type} {self.symbol}".strip()

    @property
    def subject(self) -> str:
        """The job's stock or stocks: `AAPL`, or `a batch of 50`."""
        return self.symbol or f"a batch of {len(self.parameters.get('symbols', []))}"

    def requesters(self) -> list[str]:
        """The names of the requesters, each once, the first requester first. For many jobs, prefetch REQUESTERS."""
        return list(dict.fromkeys(str(request.user or "system") for request in self.requests.all()))


class JobRequest(models.Model):
    """A requester of a job: the user with the first request, or a user who joined. No user: the system."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="requests")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True)
    trigger = models.CharField(max_length=20, choices=Job.Trigger)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [
            models.Index(fields=["created_at"], name="request_of_a_login", condition=Q(trigger="user_login")),
        ]

    def __str__(self) -> str:
        return f"{self.user or 'system'} ({self.trigger})"


# In these words the partial indexes have them: a query that repeats the words finds its events by an index.
UNPUBLISHED = Q(published_at__isnull=True, error="")
"""The condition of an event that the bridge has still to publish."""
DEAD_LETTER = Q(published_at__isnull=True) & ~Q(error="")
"""The condition of an event that cannot be published."""


class JobEvent(models.Model):
    """A step of a job, and the outbox: `published_at` is empty until the MQTT broker has acknowledged the event.

    `seq` counts from 1 without gaps within a job. `payload` has the job's facts at the time of the event: `state`,
    `priority`, `queue`, `attempt`, `worker_id`, and the event's own details.
    """

    class Event(models.TextChoices):
        CREATED = "created"
        QUEUED = "queued"
        STARTED = "started"
        PROGRESS = "progress"
        RETRIED = "retried"
        PROMOTED = "promoted"
        COMPLETED = "completed"
        FAILED = "failed"
        EXPIRED = "expired"
        CANCELLED = "cancelled"

    # The index of `one_event_a_seq` finds a job's events.
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events", db_index=False)
    seq = models.PositiveIntegerField()
    event = models.CharField(max_length=10, choices=Event)
    payload = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)
    published_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, help_text="Reason why the event cannot be published and is a dead letter.")

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["job", "seq"], name="one_event_a_seq")]
        indexes = [
            models.Index(fields=["id"], name="outbox", condition=UNPUBLISHED),
            models.Index(fields=["id"], name="outbox_set_aside", condition=DEAD_LETTER),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} {self.seq} {self.event}"
