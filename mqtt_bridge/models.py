from django.db import models


class BridgeLease(models.Model):
    """Which of several bridges publishes. There is one row, and only `mqtt_bridge.leadership` writes it."""

    holder = models.CharField(max_length=300, blank=True, help_text="Host and process; empty: nobody.")
    place = models.CharField(max_length=100, blank=True, help_text="Where the holder's process number means anything.")
    pid = models.PositiveIntegerField(default=0)
    renewals = models.BigIntegerField(default=0, help_text="Grows as long as the holder is well.")
    renewed_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.holder or "nobody"
