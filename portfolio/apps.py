from django.apps import AppConfig
from django.conf import settings
from django.contrib.auth.signals import user_logged_in


class PortfolioConfig(AppConfig):
    name = "portfolio"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models are not loaded before ready().
        from market import splits
        from market.prices.changes import watch_prices
        from portfolio.accounts.links import old_sign_ups
        from portfolio.mails import hand_over_due, old_mails
        from portfolio.price_alerts.check import check_alerts
        from portfolio.price_alerts.mails import mail_notices
        from portfolio.price_alerts.notices import old_notices
        from portfolio.retention import expired_sessions, old_logins
        from portfolio.signals import fetch_what_is_stale
        from portfolio.splits.adjusting import adjust_holdings
        from tasks.upkeep import retention, sweeper

        retention.also_delete("logins", old_logins, by="at")
        retention.also_delete("mails", old_mails, by="created_at")
        retention.also_delete("sign_ups", old_sign_ups, by="date_joined")
        retention.also_delete("sessions", expired_sessions, by="expire_date")
        splits.follow(adjust_holdings)
        retention.also_delete("price_alert_notices", old_notices, by="at")
        watch_prices(check_alerts)
        sweeper.add_chore(mail_notices)
        if settings.JOB_PROCESSOR.queue.backend == "direct":
            sweeper.add_chore(hand_over_due)
        user_logged_in.connect(fetch_what_is_stale, dispatch_uid="portfolio.fetch_what_is_stale")
