from django.db import models


class Worker(models.Model):
    """A row of the worker registry: a Celery worker creates the row at its start, renews it, and marks it at its end.

    Only `tasks.celery_worker.registry` writes rows, except for `told`. Times are the database's. A process without a
    broker (direct processing) has no row.
    """

    class State(models.TextChoices):
        """The attribute `state` of `tasks.celery_worker.registry.workers()`. The state changes as time passes."""

        ALIVE = "alive"
        STOPPED = "stopped"
        GONE = "gone"

    class Told(models.TextChoices):
        NOTHING = ""
        REGISTERED = "registered"
        UNREGISTERED = "unregistered"
        DISCONNECTED = "disconnected"

    worker_id = models.CharField(
        max_length=200, unique=True, help_text="Name and process id, as in a job's worker id."
    )
    name = models.CharField(max_length=4096, blank=True, help_text="Display name (worker.name).")
    hostname = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    queues = models.JSONField(default=list)
    concurrency = models.PositiveIntegerField(help_text="Number of jobs that the worker runs at the same time.")
    job_types = models.JSONField(
        default=list, help_text="Job types (worker.supported_job_types); empty: all types of its queues."
    )
    capabilities = models.JSONField(default=list, help_text="Capabilities (worker.capabilities).")
    started_at = models.DateTimeField(help_text="Time when the worker was ready.")
    heartbeat_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True, blank=True, help_text="Time of the clean shutdown.")
    told = models.CharField(
        max_length=12, choices=Told, blank=True, default=Told.NOTHING, help_text="Latest announcement on MQTT."
    )

    class Meta:
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return self.worker_id

    def was_replaced_by(self, other: "Worker") -> bool:
        """Whether the worker `other` has the same name, and started after the last heartbeat of this worker."""
        names = (one.worker_id.rpartition(":")[0] for one in (self, other))
        return len(set(names)) == 1 and other.started_at > self.heartbeat_at
