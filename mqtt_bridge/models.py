from typing import ClassVar

from django.db import models

from tasks.models import DEAD_LETTER, JobEvent


class BridgeLease(models.Model):
    """The lease of the publishing bridge. The table has a single row, written by `mqtt_bridge.leadership` alone."""

    holder = models.CharField(max_length=300, blank=True, help_text="Host and process id; empty: no bridge.")
    place = models.CharField(
        max_length=100, blank=True, help_text="Machine and namespace in which the holder's process id is valid."
    )
    pid = models.PositiveIntegerField(default=0)
    renewals = models.BigIntegerField(default=0, help_text="Number of renewals; grows while the holder is alive.")
    renewed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = verbose_name_plural = "MQTT bridge"

    def __str__(self) -> str:
        return self.holder or "nobody"


class SetAsideManager(models.Manager["SetAsideEvent"]):
    def get_queryset(self) -> "models.QuerySet[SetAsideEvent]":
        return super().get_queryset().filter(DEAD_LETTER)


class SetAsideEvent(JobEvent):
    """A dead letter: an event that the bridge could not publish; `error` says why. A person may publish it again."""

    objects: ClassVar[SetAsideManager] = SetAsideManager()

    class Meta:
        proxy = True
        ordering = ["-id"]
        verbose_name = "dead letter"
        default_permissions = ("view",)
        permissions = [("send_again", "Can send dead letters again")]
