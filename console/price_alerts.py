"""Price alerts of owners in the admin."""

from django.contrib import admin
from unfold.admin import ModelAdmin

from console.kit.read_only import ReadOnly
from portfolio.models import PriceAlert, PriceAlertNotice


@admin.register(PriceAlert)
class PriceAlertAdmin(ReadOnly, ModelAdmin):
    """The alerts that owners have set, with their state."""

    list_display = (
        *("stock", "user", "kind", "threshold", "currency"),
        *("state", "raised_at", "raised_price", "created_at"),
    )
    list_filter = ("state", "kind")
    list_select_related = ("stock", "user")
    search_fields = ("stock__symbol__exact", "user__username__exact")
    search_help_text = "a symbol, or a user's name"


@admin.register(PriceAlertNotice)
class PriceAlertNoticeAdmin(ReadOnly, ModelAdmin):
    """Raised alerts, and whether they were published, mailed and dismissed."""

    list_display = (
        *("stock", "user", "kind", "threshold", "currency", "price", "change_percent"),
        *("at", "published_at", "mailed_at", "seen_at"),
    )
    list_filter = ("kind", "at")
    list_select_related = ("stock", "user")
    search_fields = ("stock__symbol__exact", "user__username__exact")
    search_help_text = "a symbol, or a user's name"
