"""Alerts: each raised and cleared through its real cause, told by mail, on MQTT, in the admin and in the shell."""

import json
import signal
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from mqtt_bridge.models import BridgeLease
from operations import alert_news, alerts
from operations.models import Alert
from stockqueue.processes import wait_until
from tasks import lifecycle
from tasks.models import Job, JobEvent, Worker
from tests.asyncapi import check as check_message
from tests.conftest import BRIDGE, WORKER
from tests.jobs import new_job
from tests.outbox import PATIENCE, request
from tests.workers import new_worker

pytestmark = pytest.mark.django_db(transaction=True)

LIMITS = "monitoring.thresholds."
Check = Callable[[float], dict[str, str]]


@pytest.fixture
def check_after() -> Check:
    """check_after(90): measure so many seconds from now; the state of each alert that is open."""

    def check_after(seconds: float) -> dict[str, str]:
        alerts.check(timezone.now() + timedelta(seconds=seconds))
        return dict(Alert.objects.filter(cleared_at=None).values_list("name", "state"))

    return check_after


def check_that_it_is_raised_and_cleared(name: str, check_after: Check, mend: Callable[[], Any]) -> None:
    """It is there already. Seen for a minute it is raised, and a minute after `mend` it is cleared."""
    assert check_after(0)[name] == "suspected"
    assert check_after(30)[name] == "suspected"
    assert check_after(61)[name] == "raised"
    mend()
    assert check_after(62)[name] == "raised"
    assert name not in check_after(130)
    assert Alert.objects.get(name=name).state == "cleared"


def test_too_many_jobs_wait(configured, check_after):
    configured(**{LIMITS + "max_queue_depth": 5})
    jobs = request(*(f"S{number}" for number in range(6)))
    mend = partial(lifecycle.cancel, [job.pk for job in jobs[:2]], "enough")
    check_that_it_is_raised_and_cleared("queue-depth", check_after, mend)


def test_a_job_waits_for_too_long(check_after):
    job = new_job(created_at=timezone.now() - timedelta(seconds=601))
    mend = partial(lifecycle.cancel, [job.pk], "enough")
    check_that_it_is_raised_and_cleared("job-age", check_after, mend)


def test_fetches_take_too_long(check_after):
    now = timezone.now()
    job = new_job("AAPL", "completed", started_at=now - timedelta(seconds=31), finished_at=now)
    mend = partial(Job.objects.filter(pk=job.pk).update, started_at=now - timedelta(seconds=1))
    check_that_it_is_raised_and_cleared("fetch-latency", check_after, mend)


def test_too_many_attempts_fail(check_after):
    jobs = [new_job(f"S{number}", "failed") for number in range(10)]
    mend = partial(Job.objects.filter(pk__in=[job.pk for job in jobs]).update, status="completed")
    check_that_it_is_raised_and_cleared("worker-efficiency", check_after, mend)


def test_a_held_stock_is_stale_for_too_long(user, hold, check_after):
    (stock,) = hold(user, "BTC-USD")
    stock.checked_at = timezone.now() - timedelta(hours=3)
    stock.save()

    def mend() -> None:
        stock.checked_at = timezone.now()
        stock.save()

    check_that_it_is_raised_and_cleared("data-staleness", check_after, mend)


def test_events_wait_for_a_bridge(check_after):
    request("AAPL")
    JobEvent.objects.update(created_at=timezone.now() - timedelta(seconds=61))
    mend = partial(JobEvent.objects.update, published_at=timezone.now())
    check_that_it_is_raised_and_cleared("outbox-age", check_after, mend)


def alerts_end(check_after: Check) -> bool:
    check_after(100)
    return "bridge-silent" not in check_after(200)


def test_a_bridge_that_hangs(mosquitto_server, start, check_after, monkeypatch):
    monkeypatch.setattr(alerts, "BRIDGE_SILENT", 10.0)
    with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url) as bridge:
        assert "bridge-silent" not in check_after(0)
        bridge.send_signal(signal.SIGSTOP)
        try:
            wait_until(
                lambda: "bridge-silent" in check_after(0), "the silence to be noticed", timeout=PATIENCE, every=0.5
            )
            assert check_after(90)["bridge-silent"] == "raised"
        finally:
            bridge.send_signal(signal.SIGCONT)
        wait_until(lambda: alerts_end(check_after), "the end of the alert", timeout=PATIENCE, every=0.5)
    assert BridgeLease.objects.exists()


def test_beat_is_silent(check_after):
    """Beat writes down when it sent something."""
    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(seconds=700))
    mend = partial(PeriodicTask.objects.update, last_run_at=timezone.now() + timedelta(seconds=60))
    check_that_it_is_raised_and_cleared("beat-silent", check_after, mend)


def test_a_worker_that_was_killed(configured, redis_server, start, check_after):
    file = configured(**{"worker.heartbeat_interval": 1})
    with start(*WORKER, ready=" ready.", CELERY_BROKER_URL=redis_server.url, STOCKQUEUE_CONFIG=str(file)) as worker:
        wait_until(lambda: Worker.objects.filter(pid=worker.pid).exists(), "its row")
        assert "workers-gone" not in check_after(0)
        worker.send_signal(signal.SIGKILL)
        wait_until(lambda: "workers-gone" in check_after(0), "its absence to be noticed", timeout=30, every=0.5)

    def mend() -> None:
        new_worker(Worker.objects.get(pid=worker.pid).worker_id.rpartition(":")[0] + ":1")

    check_that_it_is_raised_and_cleared("workers-gone", check_after, mend)


def test_a_few_jobs_that_fail_are_no_alert(check_after):
    new_job("A", "failed")
    assert "worker-efficiency" not in check_after(0)


def test_nothing_is_measured_where_monitoring_is_off(configured, check_after):
    configured(**{LIMITS + "max_queue_depth": 1, "monitoring.enabled": False})
    request("A", "B")
    assert check_after(0) == {}


def test_what_is_well_again_within_a_minute_was_no_alert(configured, check_after):
    configured(**{LIMITS + "max_queue_depth": 1})
    jobs = request("A", "B")
    assert check_after(0) == {"queue-depth": "suspected"}
    lifecycle.cancel([job.pk for job in jobs], "enough")
    assert check_after(30) == {}
    assert not Alert.objects.exists()


def test_a_value_just_below_the_bound_neither_clears_nor_raises(configured, check_after):
    configured(**{LIMITS + "max_queue_depth": 20})
    jobs = request(*(f"S{number}" for number in range(21)))
    check_after(0)
    assert check_after(61)["queue-depth"] == "raised"
    lifecycle.cancel([job.pk for job in jobs[:2]], "enough")
    assert check_after(200)["queue-depth"] == "raised"
    assert check_after(300)["queue-depth"] == "raised"
    assert Alert.objects.get(name="queue-depth").worst == 21


def test_an_alert_that_comes_back_is_a_new_one(configured, check_after):
    configured(**{LIMITS + "max_queue_depth": 1})
    for round_ in range(2):
        jobs = request("A", "B")
        check_after(round_ * 1000)
        assert check_after(round_ * 1000 + 61)["queue-depth"] == "raised"
        lifecycle.cancel([job.pk for job in jobs], "enough")
        check_after(round_ * 1000 + 62)
        assert "queue-depth" not in check_after(round_ * 1000 + 130)
    assert Alert.objects.filter(name="queue-depth", state="cleared").count() == 2


@pytest.fixture
def raised(configured, check_after) -> Alert:
    """Three jobs wait, one is too many."""
    configured(**{LIMITS + "max_queue_depth": 1})
    request("A", "B", "C")
    publish_all()
    check_after(0)
    check_after(61)
    return Alert.objects.get()


def publish_all() -> None:
    """So that nothing waits for a bridge."""
    JobEvent.objects.filter(published_at=None).update(published_at=timezone.now())


def clear(check_after: Check) -> None:
    lifecycle.cancel(list(Job.objects.values_list("pk", flat=True)), "enough")
    publish_all()
    check_after(100)
    check_after(200)


def test_a_mail_tells_of_the_beginning_and_of_the_end(raised, check_after, settings):
    settings.ALERT_EMAILS = ["ops@example.com", "boss@example.com"]
    assert (alert_news.mail_news(), alert_news.mail_news()) == (1, 0)
    clear(check_after)
    assert (alert_news.mail_news(), alert_news.mail_news()) == (1, 0)
    assert [one.subject for one in mail.outbox] == [
        "stockqueue: queue-depth raised",
        "stockqueue: queue-depth cleared",
    ]
    assert mail.outbox[0].to == ["ops@example.com", "boss@example.com"]
    assert "3 jobs wait in one queue" in mail.outbox[0].body


def test_a_mail_that_cannot_be_sent_is_tried_again(raised, settings, monkeypatch):
    settings.ALERT_EMAILS = ["ops@example.com"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    assert alert_news.mail_news() == 0
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert alert_news.mail_news() == 1


def test_the_bridge_tells_of_alerts_on_their_topic(raised, check_after, mosquitto_server, start, subscribe):
    with (
        start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url),
        subscribe(mosquitto_server, "system/alerts/+") as seen,
    ):
        wait_until(lambda: Alert.objects.get().published == "raised", "the first message", timeout=PATIENCE)
        clear(check_after)
        wait_until(lambda: Alert.objects.get().published == "cleared", "the second message", timeout=PATIENCE)
        assert seen.wait_for(bool, PATIENCE)
    for message in seen.messages:
        check_message(message.topic, message.payload)
    assert seen.messages[-1].topic == "system/alerts/queue-depth"
    assert json.loads(seen.messages[-1].payload)["state"] == "cleared"


def test_the_bridge_checks_once_a_minute_though_beat_is_silent(configured):
    configured(**{LIMITS + "max_queue_depth": 1})
    request("A", "B")
    time = [0.0]
    watch = alert_news.Watch(clock=lambda: time[0])
    assert watch.due() == []
    assert not Alert.objects.exists()
    time[0] = 61.0
    assert watch.due() == []
    wait_until(Alert.objects.exists, "the check")
    assert Alert.objects.get().state == "suspected"


def test_an_admin_acknowledges_an_alert_and_the_log_says_so(raised, admin_client, admin_user):
    address = reverse("admin:operations_alert_changelist")
    answer = admin_client.post(address, {"action": "acknowledge", "_selected_action": [raised.pk]}, follow=True)
    assert "Acknowledged: queue-depth." in answer.content.decode()
    raised.refresh_from_db()
    assert raised.acknowledged_by == admin_user
    assert "Acknowledged." in admin_client.get(f"{address}{raised.pk}/history/").content.decode()


def test_who_may_only_look_cannot_acknowledge(raised, client, user):
    user.is_staff = True
    user.save()
    user.user_permissions.add(Permission.objects.get(codename="view_alert"))
    client.force_login(user)
    address = reverse("admin:operations_alert_changelist")
    assert raised.text in client.get(address).content.decode()
    client.post(address, {"action": "acknowledge", "_selected_action": [raised.pk]})
    raised.refresh_from_db()
    assert raised.acknowledged_at is None


def test_the_command_shows_what_is_open_and_its_exit_code_says_so(raised, capsys):
    new_worker()
    with pytest.raises(SystemExit) as exit_:
        call_command("check_alerts")
    assert exit_.value.code == 1
    assert "3 jobs wait in one queue" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call_command("check_alerts", "--json")
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["name"], one["state"], one["value"]) == ("queue-depth", "raised", 3)


def test_without_alerts_the_command_says_so(capsys, db):
    call_command("check_alerts")
    assert capsys.readouterr().out == "No alert is open.\n"
