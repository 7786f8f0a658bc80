from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in


class PortfolioConfig(AppConfig):
    name = "portfolio"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from portfolio.signals import fetch_what_is_stale  # models are not loaded before ready()

        user_logged_in.connect(fetch_what_is_stale, dispatch_uid="portfolio.fetch_what_is_stale")
