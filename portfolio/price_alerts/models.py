"""Price alerts of owners, and the notices of raised alerts."""

import uuid
from decimal import Decimal

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from market.models import Stock

DIGITS, PLACES = 24, 8
"""Enough for every close that `PriceBar` takes."""
SMALLEST = Decimal("0.00000001")


class Kind(models.TextChoices):
    """The condition of an alert. The labels are completed by a price, or by a percentage."""

    ABOVE = "above", "price at or above"
    BELOW = "below", "price at or below"
    MOVED = "moved", "change in a day of at least"


class PriceAlert(models.Model):
    """An owner's alert on a stock. Only `portfolio.price_alerts.check` writes its state.

    `threshold` is a price in `currency`, a major unit; for MOVED it is a percentage. A raised alert on a price is
    armed again after the price has gone back past the threshold. MOVED is raised once a session at most.
    """

    class State(models.TextChoices):
        ARMED = "armed"
        RAISED = "raised"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="price_alerts")
    stock = models.ForeignKey(Stock, on_delete=models.CASCADE, related_name="price_alerts")
    kind = models.CharField(max_length=10, choices=Kind)
    threshold = models.DecimalField(max_digits=DIGITS, decimal_places=PLACES, validators=[MinValueValidator(SMALLEST)])
    currency = models.CharField(max_length=8, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.ARMED)
    created_at = models.DateTimeField(default=timezone.now)
    raised_at = models.DateTimeField(null=True, blank=True, help_text="Time of the last raising.")
    raised_price = models.DecimalField(max_digits=DIGITS, decimal_places=PLACES, null=True, blank=True)
    raised_on = models.DateField(
        null=True, blank=True, help_text="Session that raised the alert last. It raises no change again."
    )
    base_on = models.DateField(null=True, editable=False, help_text="Day whose close shows later splits.")
    base_close = models.FloatField(null=True, editable=False, help_text="Close of that day when the alert was set.")
    adjusted_on = models.DateField(null=True, blank=True, help_text="Day on which a split adjusted the threshold.")

    class Meta:
        default_permissions = ("view",)
        ordering = ["stock__symbol", "kind", "threshold", "pk"]
        constraints = [models.CheckConstraint(condition=Q(threshold__gt=0), name="alert_threshold_above_zero")]

    def __str__(self) -> str:
        unit = "%" if self.kind == Kind.MOVED else self.currency
        return f"{self.stock} {self.get_kind_display()} {self.threshold.normalize():f} {unit}".rstrip()

    @property
    def is_on_price(self) -> bool:
        return self.kind != Kind.MOVED


class PriceAlertNotice(models.Model):
    """A raising of an alert, with the facts of that moment. It stays if the owner deletes the alert.

    It is published on MQTT (`published_at`), mailed unless the owner takes no mails (`mailed_at`, `needs_mail` until
    that is decided), and shown until the owner dismisses it (`seen_at`).
    """

    event_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    alert = models.ForeignKey(PriceAlert, on_delete=models.SET_NULL, null=True, related_name="notices")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="price_alert_notices")
    stock = models.ForeignKey(Stock, on_delete=models.CASCADE, related_name="price_alert_notices")
    kind = models.CharField(max_length=10, choices=Kind)
    threshold = models.DecimalField(max_digits=DIGITS, decimal_places=PLACES)
    currency = models.CharField(max_length=8, blank=True)
    price = models.DecimalField(max_digits=DIGITS, decimal_places=PLACES)
    change_percent = models.FloatField(null=True, help_text="Change since the close of the session before.")
    session = models.DateField(help_text="Day of the bar that raised the alert.")
    at = models.DateTimeField(default=timezone.now, db_index=True)
    published_at = models.DateTimeField(null=True)
    needs_mail = models.BooleanField(default=True)
    mailed_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)
        ordering = ["-at", "-pk"]
        indexes = [
            models.Index(fields=["user", "-at"], condition=Q(seen_at=None), name="unseen_price_alert_notices"),
            models.Index(fields=["id"], condition=Q(published_at=None), name="new_price_alert_notices"),
            models.Index(fields=["user"], condition=Q(needs_mail=True), name="unmailed_price_alerts"),
        ]

    def __str__(self) -> str:
        return f"{self.stock} {self.kind} {self.threshold.normalize():f} {self.at:%Y-%m-%d %H:%M}"
