from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in


class PortfolioConfig(AppConfig):
    name = "portfolio"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models are not loaded before ready().
        from portfolio.retention import old_logins
        from portfolio.signals import fetch_what_is_stale
        from tasks.upkeep import retention

        retention.also_delete("logins", old_logins, by="at")
        user_logged_in.connect(fetch_what_is_stale, dispatch_uid="portfolio.fetch_what_is_stale")
