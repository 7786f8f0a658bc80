"""The MQTT bridge in the admin: dead letters, and the publishing bridge."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.admin import ModelAdmin

from console.jobs import search as job_search
from console.kit.keyset import KeysetList, Path
from console.kit.read_only import ReadOnly
from console.kit.selection import selected_rows
from mqtt_bridge.models import BridgeLease, SetAsideEvent
from mqtt_bridge.replay import replay
from stockqueue.wording import describe_duration


@admin.register(SetAsideEvent)
class SetAsideEventAdmin(ReadOnly, KeysetList):
    """Dead letters with their reasons. After the cause is fixed, a person sends them again."""

    list_display = ("id", "job_link", "symbol", "event", "created_at", "error")
    list_filter = ("event",)
    list_select_related = ("job",)
    search_fields = ("job__symbol", "job__requests__user__username", "job__id")
    search_help_text = job_search.HELP
    nothing_yet = "Events that cannot be published become dead letters."
    actions = ("send_again",)
    fields = ("job_link", "symbol", "seq", "event", "created_at", "error", "payload")

    def search(self, text: str) -> Sequence[Path]:
        return job_search.paths_to_events(text)

    @admin.display(description="Job")
    def job_link(self, event: SetAsideEvent) -> str:
        return format_html('<a href="{}">{}</a>', reverse("admin:tasks_job_change", args=[event.job_id]), event.job)

    @admin.display(description="Symbol")
    def symbol(self, event: SetAsideEvent) -> str:
        return event.job.symbol

    def has_send_again_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("mqtt_bridge.send_again"))

    @admin.action(description="Send again", permissions=["send_again"])
    def send_again(self, request: HttpRequest, events: QuerySet[SetAsideEvent]) -> None:
        hint = "select fewer, or send all again with manage.py replay_events --set-aside"
        chosen = selected_rows(request, events, hint)
        if chosen is None:
            return
        jobs: Any = list({event.job_id: event.job for event in chosen}.values())
        with transaction.atomic():
            replayed = replay(SetAsideEvent.objects.filter(pk__in=[event.pk for event in chosen]))
            if replayed.events:
                LogEntry.objects.log_actions(request.user.pk, jobs, CHANGE, "Dead letters sent again.")  # type: ignore[arg-type]
        if replayed.events:
            self.message_user(request, f"Sent again: {replayed}.", messages.SUCCESS)
        else:
            self.message_user(request, "None of these events is a dead letter any more.", messages.WARNING)


@admin.register(BridgeLease)
class BridgeLeaseAdmin(ReadOnly, ModelAdmin):
    list_display = fields = ("publishes", "sign_of_life")

    @admin.display(description="Publisher")
    def publishes(self, lease: BridgeLease) -> str:
        return str(lease)

    @admin.display(description="Last seen")
    def sign_of_life(self, lease: BridgeLease) -> str | None:
        at = lease.renewed_at
        return None if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC, {describe_duration(timezone.now() - at)} ago"
