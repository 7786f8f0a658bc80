from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from market.models import Stock
from tasks.models import Job


class Alert(models.Model):
    """A metric out of bounds, from its first bad value until its recovery.

    `suspected` (bad, for less than the hold time) → `raised` → `cleared`; an alert that recovers before being raised
    is deleted. Only `operations.monitoring.alerts` writes a state.
    """

    class State(models.TextChoices):
        SUSPECTED = "suspected"
        RAISED = "raised"
        CLEARED = "cleared"

    name = models.SlugField(help_text="Alert rule: a name in operations/monitoring/alerts.py.")
    state = models.CharField(max_length=10, choices=State, default=State.SUSPECTED)
    value = models.FloatField(help_text="The latest value.")
    worst = models.FloatField(help_text="The worst value.")
    threshold = models.FloatField(help_text="Threshold of the rule.")
    text = models.TextField(help_text="Description of the problem.")
    since = models.DateTimeField(default=timezone.now, help_text="Time of the first value out of bounds.")
    raised_at = models.DateTimeField(null=True, blank=True)
    well_since = models.DateTimeField(
        null=True, blank=True, help_text="Time since which the value is within bounds again; empty if it is not."
    )
    cleared_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True, help_text="Time of the acknowledgement.")
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    mailed = models.CharField(max_length=10, choices=State, blank=True, help_text="State in the latest mail.")
    published = models.CharField(
        max_length=10, choices=State, blank=True, help_text="State in the latest MQTT message."
    )

    class Meta:
        ordering = ["-since"]
        constraints = [
            models.UniqueConstraint(fields=["name"], condition=Q(cleared_at=None), name="one_open_alert_a_name"),
        ]
        permissions = [("acknowledge_alert", "Can acknowledge alerts")]

    def __str__(self) -> str:
        return self.text


class Reading(models.Model):
    """The metrics of a minute, for charts. Empty without data, or with the metric switched off.

    Only `operations.monitoring.readings` writes rows, and names the metric of each figure. Units are seconds, jobs and
    shares of 1.
    """

    minute = models.IntegerField(primary_key=True, help_text="Minutes since 1970.")
    at = models.DateTimeField(help_text="Time of the measurement.")
    waiting_foreground = models.FloatField(null=True)
    waiting_background_fetch = models.FloatField(null=True)
    waiting_background_analysis = models.FloatField(null=True)
    oldest_waiting = models.FloatField(null=True)
    completed = models.FloatField(null=True)
    failed = models.FloatField(null=True)
    expired = models.FloatField(null=True)
    cancelled = models.FloatField(null=True)
    wait_stock_fetch = models.FloatField(null=True)
    wait_stock_batch_fetch = models.FloatField(null=True)
    wait_stock_analysis = models.FloatField(null=True)
    wait_stock_research = models.FloatField(null=True)
    run_stock_fetch = models.FloatField(null=True)
    run_stock_batch_fetch = models.FloatField(null=True)
    run_stock_analysis = models.FloatField(null=True)
    run_stock_research = models.FloatField(null=True)
    login_p50 = models.FloatField(null=True)
    login_p95 = models.FloatField(null=True)
    coverage = models.FloatField(null=True)
    instant_logins = models.FloatField(null=True)
    requests = models.JSONField(default=dict, help_text="Number of requests by source.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}"


class StockData(Stock):
    """No table: the admin page about the freshness of stocks, with a separate permission and place."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        verbose_name = verbose_name_plural = "stock data"


class Fetch(Job):
    """No table: the admin page for requesting fetches and backfills. Needs the permission to add jobs."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = verbose_name_plural = "fetch"
