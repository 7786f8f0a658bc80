"""Bulk actions: a user's action on all jobs that match the filters of a list, however many."""

import hashlib
from datetime import datetime
from typing import ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class BulkActionQuerySet(models.QuerySet["BulkAction"]):
    def running(self) -> Self:
        return self.filter(finished_at=None)


class BulkAction(models.Model):
    """An action on all jobs that matched filters at its confirmation, done in batches, newest job first.

    `running` → `completed`, `stopped` (by a user, or because its user lost the permission) or `failed` (a permanent
    error). Jobs created later do not match. A job that changes meanwhile is judged by its state in its batch. Only
    `tasks.bulk.runner` writes these rows.
    """

    class Kind(models.TextChoices):
        CANCEL = "cancel", "Cancel"
        RUN_AGAIN = "run_again", "Rerun"
        REPRIORITISE = "reprioritise", "Change the priority"

    class State(models.TextChoices):
        RUNNING = "running"
        COMPLETED = "completed"
        STOPPED = "stopped"
        FAILED = "failed"

    PERMISSIONS: ClassVar[dict[str, str]] = {
        Kind.CANCEL: "tasks.cancel_job",
        Kind.RUN_AGAIN: "tasks.retry_job",
        Kind.REPRIORITISE: "tasks.reprioritise_job",
    }
    """The permission for each kind, the same as for a single job."""

    kind = models.CharField(max_length=15, choices=Kind)
    priority = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="New priority, if the action changes it."
    )
    filters = models.TextField(blank=True, help_text="Filters as in the URL of the job list; empty: all jobs.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    matched = models.PositiveIntegerField(help_text="Matching jobs at the confirmation, counted up to a limit.")
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    done = models.PositiveIntegerField(default=0, help_text="Jobs that were changed or rerun.")
    skipped = models.PositiveIntegerField(default=0, help_text="Matching jobs that could not be changed.")
    reasons = models.JSONField(
        default=dict, blank=True, help_text="Reasons for skipping jobs, with the number of jobs."
    )
    reached_at = models.DateTimeField(null=True, blank=True, help_text="Creation time of the last processed job.")
    reached_id = models.UUIDField(null=True, blank=True, help_text="Id of the last processed job.")
    next_at = models.DateTimeField(help_text="Time when the action is sent again if it makes no progress.")
    created_at = models.DateTimeField(default=timezone.now, help_text="Start time; jobs created later do not match.")
    finished_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, help_text="Reason why the action did not complete.")
    same = models.CharField(
        max_length=64, editable=False, help_text="Digest that at most one running action may have."
    )

    objects = BulkActionQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["same"], condition=Q(finished_at=None), name="one_running_bulk_action"),
        ]

    def __str__(self) -> str:
        return self.what

    @property
    def what(self) -> str:
        """`Cancel`, `Change the priority to 5`."""
        label = str(self.Kind(self.kind).label)
        return label if self.priority is None else f"{label} to {self.priority}"

    @property
    def looked_at(self) -> int:
        return self.done + self.skipped

    @property
    def permission(self) -> str:
        return self.PERMISSIONS[self.kind]

    @classmethod
    def digest(cls, kind: str, filters: str, priority: int | None) -> str:
        """The value of `same`."""
        return hashlib.sha256(f"{kind} {priority} {filters}".encode()).hexdigest()

    def end(self, state: "BulkAction.State", now: datetime, error: str = "") -> None:
        """Set the end of the action without saving."""
        self.state, self.finished_at, self.error = state, now, error
