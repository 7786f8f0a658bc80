from django.apps import AppConfig, apps
from django.db.models.signals import post_delete, post_migrate

from operations import checks  # noqa: F401  (registers the checks)
from operations.default_schedules import add_missing_schedules


class OperationsConfig(AppConfig):
    name = "operations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models are not loaded before ready().
        from django.contrib.auth.models import User

        from mqtt_bridge import announcements, statistics
        from operations import price_alerts
        from operations.monitoring.alert_delivery import Watch
        from operations.monitoring.mqtt_statistics import collect_figures
        from operations.monitoring.readings import expired
        from operations.security.lockout import forget_deleted
        from tasks.upkeep import retention

        post_delete.connect(forget_deleted, sender=User, dispatch_uid="operations.forget_deleted")
        statistics.configure(collect_figures)
        announcements.register_source("alert", Watch().due)
        announcements.register_source("price alert", price_alerts.due)
        retention.also_delete("readings", expired, by="minute")
        # Django sends the signal for apps with models; the schedules are rows in the tables of django_celery_beat.
        beat = apps.get_app_config("django_celery_beat")
        post_migrate.connect(add_missing_schedules, sender=beat, dispatch_uid="operations.add_missing_schedules")
