from django.db import models
from django.utils import timezone


class ScheduleRun(models.Model):
    """A used slot of a schedule. The row and the slot's work are committed together."""

    schedule = models.CharField(max_length=200, help_text="Name of the periodic task.")
    slot = models.DateTimeField(help_text="Time when the run was due.")
    ran_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-slot"]
        constraints = [models.UniqueConstraint(fields=["schedule", "slot"], name="one_run_a_slot")]

    def __str__(self) -> str:
        return f"{self.schedule} {self.slot.isoformat()}"
