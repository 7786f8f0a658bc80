"""The Celery tasks of operations."""

from celery import shared_task

from operations.monitoring import alert_delivery, alerts


@shared_task(name="stockqueue.check_alerts", ignore_result=True)
def check_alerts() -> None:
    """Raise and clear alerts, and mail the changes."""
    alerts.check()
    alert_delivery.mail_news()
