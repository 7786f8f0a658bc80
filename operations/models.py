from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from market.models import Stock


class Alert(models.Model):
    """Something that was out of bounds, from the first time that it was seen until it was well again.

    `suspected` (seen, but not yet for long enough) → `raised` → `cleared`; what was well again before it was raised is
    deleted. Only `operations.alerts` writes a state.
    """

    class State(models.TextChoices):
        SUSPECTED = "suspected"
        RAISED = "raised"
        CLEARED = "cleared"

    name = models.SlugField(help_text="What it is about: a rule of operations/alerts.py.")
    state = models.CharField(max_length=10, choices=State, default=State.SUSPECTED)
    value = models.FloatField(help_text="The latest value.")
    worst = models.FloatField(help_text="The worst value.")
    threshold = models.FloatField(help_text="The bound that it is measured against.")
    text = models.TextField(help_text="What is wrong, in a sentence.")
    since = models.DateTimeField(default=timezone.now, help_text="When it was out of bounds for the first time.")
    raised_at = models.DateTimeField(null=True, blank=True)
    well_since = models.DateTimeField(null=True, blank=True, help_text="Since when it is well again, if it is.")
    cleared_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(
        null=True, blank=True, help_text="When somebody said that they look after it."
    )
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    mailed = models.CharField(max_length=10, choices=State, blank=True, help_text="The state that was mailed last.")
    published = models.CharField(max_length=10, choices=State, blank=True, help_text="The same on MQTT.")

    class Meta:
        ordering = ["-since"]
        constraints = [
            models.UniqueConstraint(fields=["name"], condition=Q(cleared_at=None), name="one_open_alert_a_name"),
        ]
        permissions = [("acknowledge_alert", "Can acknowledge alerts")]

    def __str__(self) -> str:
        return self.text


class StockData(Stock):
    """No table: the page in the admin that tells how the stocks' data is, with a permission and a place of its own."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        verbose_name = verbose_name_plural = "stock data"
