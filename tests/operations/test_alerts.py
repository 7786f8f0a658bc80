"""Alerts: each raised and cleared through its real cause, told by mail, on MQTT, in the admin and in the shell."""

import json
import re
import signal
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.management import call_command
from django.db.models import F
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from redis import Redis

from console.dashboard.page import Page
from mqtt_bridge.models import BridgeLease
from operations.local.child_processes import kill_group, stop, wait_until
from operations.models import Alert
from operations.monitoring import alert_delivery, alerts, health
from operations.monitoring.health import Readiness
from portfolio.fetching import fetch_stale_holdings
from portfolio.models import Login
from tasks.delivery import broker as celery_broker
from tasks.models import Job, JobEvent, Worker
from tasks.running.execute import JobFailed, run_job
from tasks.state import lifecycle
from tasks.upkeep.sweeper import sweep
from tests.conftest import BRIDGE, WORKER, output_of
from tests.support.asyncapi import check as check_message
from tests.support.jobs import new_job
from tests.support.outbox import PATIENCE, request, wait_until_all_is_published
from tests.support.standins.yahoo import ANY_SYMBOL
from tests.support.workers import new_worker

pytestmark = pytest.mark.django_db(transaction=True)

LIMITS = "monitoring.thresholds."
BEAT = ("-m", "celery", "-A", "stockqueue", "beat", "--pidfile", "", "--loglevel", "DEBUG")
Check = Callable[[float], dict[str, str]]


@pytest.fixture(autouse=True)
def broker(redis_without_workers, point_to) -> None:
    """It takes all jobs, and nobody takes them from it."""
    point_to(redis_without_workers.url)


@pytest.fixture
def check_after(monkeypatch) -> Check:
    """check_after(90): measure when so many seconds have passed; the state of each alert that is open.

    This process's clock is then there. That of the database goes on as always.
    """
    now = timezone.now

    def check_after(seconds: float) -> dict[str, str]:
        monkeypatch.setattr(timezone, "now", lambda: now() + timedelta(seconds=seconds))
        alerts.check()
        return dict(Alert.objects.filter(cleared_at=None).values_list("name", "state"))

    return check_after


def check_that_they_are_raised_and_cleared(
    names: Collection[str], check_after: Check, mend: Callable[[], Any], *, after: float = 0
) -> None:
    """They are there so many seconds from now. A minute later they are raised, and a minute after `mend` cleared."""

    def states(seconds: float) -> set[str | None]:
        found = check_after(after + seconds)
        return {found.get(name) for name in names}

    assert states(0) == {"suspected"}
    assert states(30) == {"suspected"}
    assert states(61) == {"raised"}
    mend()
    assert states(62) == {"raised"}
    assert states(130) == {None}
    assert set(Alert.objects.filter(name__in=names).values_list("state", flat=True)) == {"cleared"}


def do(jobs: Iterable[Job]) -> None:
    """As a worker does."""
    for job in jobs:
        with suppress(JobFailed):
            run_job(job.pk, "worker")


def test_too_many_jobs_wait(configured, check_after, yahoo):
    configured(**{LIMITS + "max_queue_depth": 5})
    jobs = request(*(f"S{number}" for number in range(6)))
    yahoo.serve("S0", "S1")
    check_that_they_are_raised_and_cleared(["queue-depth"], check_after, partial(do, jobs[:2]))


def test_a_job_waits_for_too_long(check_after, yahoo):
    yahoo.serve("AAPL")
    assert "job-age" not in check_after(599)
    jobs = request("AAPL")
    check_that_they_are_raised_and_cleared(["job-age"], check_after, partial(do, jobs), after=599 + 602)


def test_fetches_take_too_long(configured, check_after, yahoo):
    configured(**{LIMITS + "max_fetch_latency": 2})
    slow, *quick = (f"S{number}" for number in range(21))
    yahoo.serve(slow, *quick)
    yahoo.server.latency = 2.1
    do(request(slow))
    yahoo.server.latency = 0
    check_that_they_are_raised_and_cleared(["fetch-latency"], check_after, lambda: do(request(*quick)))


def test_too_many_attempts_fail(configured, check_after, yahoo):
    configured(**{LIMITS + "min_worker_efficiency": 0.4, "stock_jobs.data_fetch.max_retries": 0})
    symbols = [f"S{number}" for number in range(20)]
    yahoo.serve(*symbols)
    yahoo.misbehave("server_error")
    do(request(*symbols[:10]))
    yahoo.server.behave(ANY_SYMBOL)
    check_that_they_are_raised_and_cleared(["worker-efficiency"], check_after, lambda: do(request(*symbols[10:])))


def test_a_held_stock_is_stale_for_too_long(user, hold, check_after, yahoo):
    yahoo.serve("BTC-USD", exchange="CCC")
    hold(user, "BTC-USD")
    do(request("BTC-USD"))
    assert "data-staleness" not in check_after(7_190)
    check_that_they_are_raised_and_cleared(
        ["data-staleness"], check_after, lambda: do(request("BTC-USD")), after=7_201
    )


def test_too_few_logins_find_everything_fresh(user, hold, check_after, yahoo):
    yahoo.serve("BTC-USD", exchange="CCC")
    hold(user, "BTC-USD")
    for _ in range(2):
        fetch_stale_holdings(user)
    do(Job.objects.all())
    for _ in range(8):
        fetch_stale_holdings(user)

    def forget_the_others() -> None:
        Login.objects.filter(stale__gt=0).update(at=timezone.now() - timedelta(hours=25))
        Login.objects.bulk_create(Login(at=timezone.now(), stocks=1, stale=0) for _ in range(2))

    check_that_they_are_raised_and_cleared(["instant-logins"], check_after, forget_the_others)
    assert Alert.objects.get(name="instant-logins").text == (
        "80% of the logins of the last day found all held stocks fresh; the threshold is 90%."
    )


def test_a_few_logins_with_stale_stocks_are_no_alert(user, hold, check_after):
    hold(user, "AAPL")
    for _ in range(9):
        fetch_stale_holdings(user)
    assert "instant-logins" not in check_after(0)
    fetch_stale_holdings(user)
    assert check_after(1)["instant-logins"] == "suspected"


def test_a_bridge_hangs_and_events_wait_for_it(mosquitto_server, start, check_after):
    with start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url) as bridge:
        wait_for_sign_of_life()
        bridge.send_signal(signal.SIGSTOP)  # just after it wrote, so that it holds no lock
        jobs = request("AAPL")

        def mend() -> None:
            bridge.send_signal(signal.SIGCONT)
            wait_until_all_is_published(jobs)
            wait_for_sign_of_life()

        try:
            assert check_after(0) == {}
            BridgeLease.objects.update(renewed_at=F("renewed_at") - timedelta(seconds=62))  # by the database's clock
            check_that_they_are_raised_and_cleared(["bridge-silent", "outbox-age"], check_after, mend, after=62)
        finally:
            bridge.send_signal(signal.SIGCONT)


def wait_for_sign_of_life() -> None:
    before = BridgeLease.objects.get().renewals
    wait_until(BridgeLease.objects.filter(renewals__gt=before).exists, "a sign of life", timeout=PATIENCE)


def test_beat_is_silent(new_redis, start, check_after):
    """Beat writes down that it sent something when it begins, every three minutes, and when it ends."""
    IntervalSchedule.objects.filter(periodictask__name="Sweep").update(every=1)
    sends = "Sending due task Sweep"
    with start(*BEAT, ready=sends, CELERY_BROKER_URL=new_redis.url) as beat:
        wait_until(PeriodicTask.objects.filter(last_run_at__isnull=False).exists, "its note")
        assert "beat-silent" not in check_after(0)
        beat.send_signal(signal.SIGSTOP)
        PeriodicTask.objects.update(last_run_at=F("last_run_at") - timedelta(seconds=601))  # as if it hung for so long

        def mend() -> None:
            sent = output_of(beat).count(sends)
            beat.send_signal(signal.SIGCONT)
            wait_until(lambda: output_of(beat).count(sends) > sent, "what it sends", process=beat)
            stop(beat, grace=PATIENCE)  # killed, it would not write that down

        check_that_they_are_raised_and_cleared(["beat-silent"], check_after, mend)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"worker.heartbeat_interval": 1}, id="quick"),
        pytest.param({}, id="default", marks=pytest.mark.long),
    ],
)
def test_a_killed_worker_is_shown_as_gone_within_a_minute_and_is_an_alert_until_one_of_its_name_is_there(
    values, configured, new_redis, start, check_after, admin_client, capsys, monkeypatch
):
    checks = {"database": health.OK, "broker": health.OK}
    monkeypatch.setattr(health, "readiness", lambda: Readiness(health.OK, checks))
    monkeypatch.setattr(health, "database", lambda: health.OK)
    environment = {"CELERY_BROKER_URL": new_redis.url, "STOCKQUEUE_CONFIG": str(configured(**values))}

    def check_ours_after(seconds: float) -> dict[str, str]:
        forget_other_workers()
        return check_after(seconds)

    ours = ("-n", "lost@%h", "-c", "1", "--without-mingle")
    with start(*WORKER, *ours, ready=" ready.", **environment) as worker:
        wait_until(Worker.objects.filter(pid=worker.pid).exists, "its row")
        worker_id = Worker.objects.get(pid=worker.pid).worker_id
        assert shown_states(worker_id, admin_client, capsys) == ("alive", 0, "alive")
        assert "workers-gone" not in check_ours_after(0)
        kill_group(worker)
        wait_until(
            lambda: shown_states(worker_id, admin_client, capsys) == ("gone", 1, "gone"),
            "its loss to be shown",
            timeout=60,
            every=0.5,
        )

    def mend() -> None:
        with start(*WORKER, *ours, ready=" ready.", **environment) as another:
            wait_until(Worker.objects.filter(pid=another.pid).exists, "its row")
            assert shown_states(worker_id, admin_client, capsys) == ("replaced", 0, "gone")

    check_that_they_are_raised_and_cleared(["workers-gone"], check_ours_after, mend)


def forget_other_workers() -> None:
    """One that all tests share writes its row as rarely as the shipped configuration says, and would count as gone."""
    Worker.objects.exclude(worker_id__startswith="lost@").delete()


def look(client: Client) -> Page:
    page: Page = client.get("/admin/operations/stockdata/figures/").context["page"]
    return page


def shown_states(worker_id: str, client: Client, capsys) -> tuple[str, float, str]:
    """A worker's state on the page "Stock data", how many workers are gone in the metrics, its state in job_stats."""
    forget_other_workers()
    page = look(client)
    (on_the_page,) = (row.state for row in page.workers if row.worker.text == worker_id)
    (gone,) = re.findall(r'stockqueue_workers{state="gone"} (\S+)', client.get("/metrics").content.decode())
    capsys.readouterr()
    call_command("job_stats", "--json")
    told = json.loads(capsys.readouterr().out)["workers"]
    (in_the_command,) = (one["state"] for one in told if one["worker_id"] == worker_id)
    return on_the_page, float(gone), in_the_command


def test_jobs_wait_because_the_broker_is_full(new_redis, point_to, check_after, admin_client, monkeypatch):
    checks = {"database": health.OK, "broker": health.OK}
    monkeypatch.setattr(health, "readiness", lambda: Readiness(health.OK, checks))
    point_to(new_redis.url)
    redis = Redis.from_url(new_redis.url)
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", "1")
    request("AAPL", "MSFT")
    light = next(one for one in look(admin_client).lights if one.name == "Broker")
    assert (light.state, light.figures[1].text) == ("bad", "2 refused jobs")

    def mend() -> None:
        redis.config_set("maxmemory", "0")
        celery_broker.breaker.succeed()
        sweep()
        assert set(Job.objects.values_list("status", flat=True)) == {"queued"}

    check_that_they_are_raised_and_cleared(["broker-refuses"], check_after, mend)
    assert Alert.objects.get(name="broker-refuses").worst == 2


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
    assert (alert_delivery.mail_news(), alert_delivery.mail_news()) == (1, 0)
    clear(check_after)
    assert (alert_delivery.mail_news(), alert_delivery.mail_news()) == (1, 0)
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
    assert alert_delivery.mail_news() == 0
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert alert_delivery.mail_news() == 1


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
    watch = alert_delivery.Watch(clock=lambda: time[0])
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
    assert capsys.readouterr().out == "No open alerts.\n"
