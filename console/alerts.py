"""Alerts in the admin."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from console.kit.read_only import ReadOnly
from operations.models import Alert
from operations.monitoring.alerts import acknowledge


@admin.register(Alert)
class AlertAdmin(ReadOnly, ModelAdmin):
    """Open and cleared alerts. Acknowledging an alert shows everybody that a person is looking after it."""

    list_display = (
        "text",
        "name",
        "state",
        "value",
        "threshold",
        "since",
        "raised_at",
        "cleared_at",
        "acknowledged_by",
    )
    list_filter = ("state", "name")
    list_select_related = ("acknowledged_by",)
    actions = ("acknowledge",)

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("operations.acknowledge_alert")

    @admin.action(description="Acknowledge", permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, alerts: QuerySet[Alert]) -> None:
        done = acknowledge(alerts, request.user)
        for alert in done:
            self.log_change(request, alert, "Acknowledged.")
        said = f"Acknowledged: {', '.join(alert.name for alert in done)}." if done else "No open alerts match."
        self.message_user(request, said, messages.SUCCESS if done else messages.WARNING)
