"""The Celery tasks of operations."""

from celery import shared_task

from operations import alert_news, alerts


@shared_task(name="stockqueue.check_alerts", ignore_result=True)
def check_alerts() -> None:
    """Raise and clear alerts, and mail what is new."""
    alerts.check()
    alert_news.mail_news()
