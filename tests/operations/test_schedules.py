"""Schedules are rows that the admin edits, and what beat sends is done once a slot."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import current_app
from celery.app.task import Context
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks
from django_celery_beat.schedulers import DatabaseScheduler
from django_celery_results.models import TaskResult
from redis import Redis

from market.jobs.watchlist import fetch_watchlist
from market.models import Stock
from operations.checks import check_watchlist
from operations.default_schedules import DEFAULTS, add_missing_schedules
from operations.local.child_processes import wait_until
from operations.routes import route
from portfolio.fetching import fetch_scheduled
from tasks.models import Job, JobRequest, ScheduleRun
from tasks.upkeep.schedule_slots import run_once_a_slot, slot_at

BEAT = ("-m", "celery", "-A", "stockqueue", "beat", "--pidfile", "", "--loglevel", "DEBUG")
WORKER = ("-m", "celery", "-A", "stockqueue", "worker", "-Q", "background_fetch", "-c", "2", "--loglevel", "INFO")
UPDATE = "Scheduled portfolio update"
NEW_YORK = "America/New_York"

pytestmark = pytest.mark.django_db
real_processes = pytest.mark.django_db(transaction=True)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def crontab(minute: str, hour: str = "*", zone: str = "UTC", **more: str) -> PeriodicTask:
    return PeriodicTask(name="x", crontab=CrontabSchedule(minute=minute, hour=hour, timezone=zone, **more))


def update() -> PeriodicTask:
    return PeriodicTask.objects.get(name=UPDATE)


def by_beat(name: str = UPDATE) -> Context:
    """The request of a message that beat sent for the schedule."""
    return Context({"periodic_task_name": name, "celery_beat_task": True})


def make_due() -> None:
    """Make the update due: an hour that has begun, and a last run long before."""
    hour = (timezone.now() - timedelta(hours=1)).hour
    CrontabSchedule.objects.filter(periodictask__name=UPDATE).update(hour=str(hour), day_of_week="*")
    PeriodicTask.objects.filter(name=UPDATE).update(last_run_at=timezone.now() - timedelta(days=2))
    PeriodicTasks.update_changed()


def messages(url: str, queue: str) -> list[dict[str, Any]]:
    """What waits in a queue, of any priority."""
    with Redis.from_url(url) as redis:
        return [
            json.loads(message)
            for key in redis.keys(f"{queue}*")
            if redis.type(key) == b"list"
            for message in redis.lrange(key, 0, -1)
        ]


@pytest.mark.parametrize(
    ("schedule", "now", "slot"),
    [
        (crontab("0", "9", day_of_week="1-5"), "2026-11-24 09:00:00", "2026-11-24 09:00"),  # a Tuesday
        (crontab("0", "9", day_of_week="1-5"), "2026-11-24 08:59:59", "2026-11-23 09:00"),
        (crontab("0", "9", day_of_week="1-5"), "2026-11-22 12:00:00", "2026-11-20 09:00"),  # a Sunday
        (crontab("0", "9", day_of_week="0"), "2026-11-23 12:00:00", "2026-11-22 09:00"),
        (crontab("*/15"), "2026-11-24 10:44:59", "2026-11-24 10:30"),
        (crontab("0", "0", day_of_month="29", month_of_year="2"), "2026-11-24 00:00:00", "2024-02-29 00:00"),
        (crontab("0", "9", zone="Asia/Kolkata"), "2026-11-24 03:30:00", "2026-11-24 03:30"),
        (crontab("0", "9", zone=NEW_YORK), "2026-07-01 13:00:00", "2026-07-01 13:00"),
        (crontab("0", "9", zone=NEW_YORK), "2026-12-01 13:59:00", "2026-11-30 14:00"),
    ],
)
def test_the_slot_of_a_crontab_is_its_last_minute_in_its_own_time_zone(schedule, now, slot):
    assert slot_at(schedule, at(now)) == at(slot)


@pytest.mark.parametrize("now", ["2026-03-08 07:30:00", "2026-03-08 12:00:00", "2026-03-09 06:29:59"])
def test_a_time_that_clocks_jump_over_has_one_slot(now):
    assert slot_at(crontab("30", "2", zone=NEW_YORK), at(now)) == at("2026-03-08 07:30")
    assert slot_at(crontab("30", "2", zone=NEW_YORK), at("2026-03-08 07:29:59")) == at("2026-03-07 07:30")
    assert slot_at(crontab("30", "2", zone=NEW_YORK), at("2026-03-09 06:30")) == at("2026-03-09 06:30")


def test_times_around_a_jump_of_the_clock_are_in_their_real_order():
    schedule = crontab("0,30", "2,3", zone=NEW_YORK)  # 02:00 and 03:00 are one moment on that day, 07:00 UTC
    assert slot_at(schedule, at("2026-03-08 07:15")) == at("2026-03-08 07:00")
    assert slot_at(schedule, at("2026-03-08 07:45")) == at("2026-03-08 07:30")


@pytest.mark.parametrize("now", ["2026-11-01 05:30:00", "2026-11-01 06:10:00", "2026-11-01 06:30", "2026-11-02 06:29"])
def test_a_time_that_clocks_show_twice_has_one_slot(now):
    assert slot_at(crontab("30", "1", zone=NEW_YORK), at(now)) == at("2026-11-01 05:30")


@pytest.mark.parametrize(
    ("every", "period", "now", "slot"),
    [
        (10, "seconds", "2026-11-24 10:00:09.999999", "2026-11-24 10:00"),
        (10, "seconds", "2026-11-24 10:00:10", "2026-11-24 10:00:10"),
        (1, "days", "2026-11-24 23:59:59", "2026-11-24 00:00"),
    ],
)
def test_the_slot_of_an_interval_is_its_last_multiple(every, period, now, slot):
    schedule = PeriodicTask(name="x", interval=IntervalSchedule(every=every, period=period))
    assert slot_at(schedule, at(now)) == at(slot)


def test_a_slot_is_done_once_and_the_next_one_again():
    done: list[int] = []
    for _message in range(3):
        run_once_a_slot(by_beat(), lambda: done.append(1))
    assert len(done) == 1
    CrontabSchedule.objects.filter(periodictask__name=UPDATE).update(hour="*", minute="*", day_of_week="*")
    assert "done" in run_once_a_slot(by_beat(), lambda: "done")
    assert ScheduleRun.objects.count() == 2


def test_work_that_fails_leaves_its_slot_to_the_next_message():
    def fail() -> None:
        Stock.objects.create(symbol="AAPL")
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        run_once_a_slot(by_beat(), fail)
    assert not ScheduleRun.objects.exists()
    assert not Stock.objects.exists()
    assert run_once_a_slot(by_beat(), lambda: "done") == "done"


def test_a_message_sent_by_hand_always_runs():
    run_once_a_slot(by_beat(), lambda: None)
    from_the_admin = Context({"periodic_task_name": UPDATE})
    assert [run_once_a_slot(request, lambda: "done") for request in (Context(), from_the_admin)] == ["done", "done"]
    assert ScheduleRun.objects.count() == 1


def test_a_message_of_a_deleted_schedule_does_nothing():
    assert "no longer exists" in run_once_a_slot(by_beat("gone"), lambda: pytest.fail("it ran"))


def test_the_update_asks_for_what_is_stale_and_held_by_active_users(user, hold, django_user_model):
    hold(user, "AAPL", "MSFT")
    hold(django_user_model.objects.create_user("second"), "AAPL", "CADL")
    hold(django_user_model.objects.create_user("left", is_active=False), "IINN")
    Stock.objects.filter(symbol="MSFT").update(checked_at=timezone.now())
    Stock.objects.create(symbol="ABEO")
    fetch_scheduled()
    job = Job.objects.get()
    assert sorted(job.parameters["symbols"]) == ["AAPL", "CADL"]
    assert (job.job_type, job.trigger) == ("stock_batch_fetch", "scheduled_update")
    assert (job.queue, job.priority) == ("background_fetch", 5)


def test_the_watchlist_is_kept_fresh_although_nobody_holds_it(configured):
    configured(**{"market.watchlist": ["^GSPC", "brk.b", "EURUSD=X", "^GSPC"]})
    Stock.objects.create(symbol="EURUSD=X", checked_at=timezone.now())
    assert run_once_a_slot(by_beat("Market data"), fetch_watchlist) == "queued a batch of 2"
    job = Job.objects.get()
    assert job.parameters["symbols"] == ["^GSPC", "BRK-B"]
    assert (job.queue, job.priority, job.trigger) == ("background_fetch", 5, "scheduled_update")
    assert fetch_watchlist().jobs == []


def test_an_empty_watchlist_asks_for_nothing():
    assert str(fetch_watchlist()) == "nothing to fetch"


def test_a_watchlist_with_something_that_is_no_symbol_stops_the_start(configured):
    configured(**{"market.watchlist": ["^GSPC", "S&P 500"]})
    (error,) = check_watchlist()
    assert error.id == "stockqueue.E002"
    assert "market.watchlist: 'S&P 500' is not a symbol" in error.msg


def test_defaults_are_added_once_and_edits_are_left_alone():
    assert set(PeriodicTask.objects.values_list("task", flat=True)) == {default.task for default in DEFAULTS}
    assert str(update().crontab) == "0 9 * * 1-5 (m/h/dM/MY/d) UTC"
    PeriodicTask.objects.filter(name=UPDATE).update(name="Renamed", enabled=False)
    add_missing_schedules(using="default")
    assert sorted(PeriodicTask.objects.values_list("name", "enabled")) == [
        ("Alerts", True),
        ("Cleanup", True),
        ("Mails about ends", True),
        ("Mails to users", True),
        ("Market data", True),
        ("Portfolio values", True),
        ("Renamed", False),
        ("Settle", True),
        ("Sweep", True),
        ("Warm", True),
    ]


@pytest.mark.parametrize(("broker", "priorities"), [("redis://x", [0, 4, 9]), ("amqp://x", [10, 6, 1])])
def test_scheduled_messages_have_the_priority_of_their_broker(settings, broker, priorities):
    settings.CELERY_BROKER_URL = broker
    names = ["stockqueue.sweep", "stockqueue.scheduled_portfolio_update", "celery.backend_cleanup"]
    routes = [route(name, (), {}, {}) for name in names]
    assert [found["queue"] for found in routes] == ["foreground", "background_fetch", "background_analysis"]
    assert [found["priority"] for found in routes] == priorities


@pytest.mark.parametrize("hour", ["*", "*/2", "1-5", "1,3", "07"])
def test_beat_reads_every_way_to_write_an_hour(hour):
    CrontabSchedule.objects.filter(periodictask__name=UPDATE).update(hour=hour)
    DatabaseScheduler(current_app, lazy=True).enabled_models()


def form(row: PeriodicTask, **changes: object) -> dict[str, object]:
    """What a browser sends from the page of a schedule."""
    values = {
        "name": row.name,
        "task": row.task,
        "enabled": "on" if row.enabled else None,
        "interval": row.interval_id,
        "crontab": row.crontab_id,
        "args": row.args,
        "kwargs": row.kwargs,
        "expire_seconds": row.expire_seconds,
        "queue": row.queue,
    }
    return {name: value for name, value in (values | changes).items() if value is not None}


def save(client, row: PeriodicTask, **changes: object) -> None:
    name, args = ("change", [row.pk]) if row.pk else ("add", [])
    answer = client.post(reverse(f"admin:django_celery_beat_periodictask_{name}", args=args), form(row, **changes))
    assert answer.status_code == 302, answer.context["adminform"].form.errors


@pytest.mark.parametrize("model", ["periodictask", "intervalschedule", "crontabschedule"])
def test_the_admin_lists_adds_and_shows_schedules(admin_client, model):
    pages = [
        reverse(f"admin:django_celery_beat_{model}_changelist"),
        reverse(f"admin:django_celery_beat_{model}_add"),
    ]
    rows = {"periodictask": PeriodicTask, "intervalschedule": IntervalSchedule, "crontabschedule": CrontabSchedule}
    pages += [reverse(f"admin:django_celery_beat_{model}_change", args=[row.pk]) for row in rows[model].objects.all()]
    assert len(pages) > 2
    for page in pages:
        answer = admin_client.get(page)
        assert answer.status_code == 200, page
    assert admin_client.get(reverse("admin:tasks_schedulerun_changelist")).status_code == 200


def test_the_admin_offers_our_tasks_and_queues(admin_client):
    page = admin_client.get(reverse("admin:django_celery_beat_periodictask_add")).content.decode()
    for offered in ("stockqueue.scheduled_portfolio_update", "background_analysis"):
        assert f'value="{offered}"' in page


def test_a_schedule_without_a_time_is_refused_with_a_message(admin_client):
    data = form(update()) | {"crontab": "", "interval": ""}
    answer = admin_client.post(reverse("admin:django_celery_beat_periodictask_change", args=[update().pk]), data)
    assert answer.status_code == 200
    assert "must be set" in answer.content.decode()


def test_who_may_only_see_schedules_cannot_switch_them(client):
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_periodictask"))
    client.force_login(user)
    address = reverse("admin:django_celery_beat_periodictask_changelist")
    assert client.get(address).status_code == 200
    client.post(address, {"action": "disable_tasks", "_selected_action": [update().pk]})
    assert update().enabled


@real_processes
def test_beat_sends_with_the_queue_priority_and_expiry_of_each_task(new_redis, start):
    make_due()
    with start(*BEAT, ready=f"Sending due task {UPDATE}", CELERY_BROKER_URL=new_redis.url):
        wait_until(lambda: len(messages(new_redis.url, "foreground")) > 0, "a sweep", timeout=30)
        sweep, fetch = (messages(new_redis.url, name)[0] for name in ("foreground", "background_fetch"))
    for message, task, priority, seconds in (
        (sweep, "stockqueue.sweep", 0, 10),
        (fetch, "stockqueue.scheduled_portfolio_update", 4, 12 * 3600),
    ):
        assert message["headers"]["task"] == task
        assert message["properties"]["priority"] == priority
        left = datetime.fromisoformat(message["headers"]["expires"]) - timezone.now()
        assert timedelta(seconds=seconds - 60) < left <= timedelta(seconds=seconds)


@real_processes
def test_two_beats_at_once_run_a_slot_once(user, hold, yahoo, new_redis, start):
    yahoo.serve("AAPL")
    hold(user, "AAPL")
    IntervalSchedule.objects.filter(periodictask__name="Sweep").update(every=1)
    # Beat writes when it last sent after its first message, and then every three minutes: not in between.
    ready = "Sending due task Sweep"
    environment = {"CELERY_BROKER_URL": new_redis.url, **yahoo.server.environment}
    with (
        start(*BEAT, ready=ready, **environment),
        start(*BEAT, ready=ready, **environment),
        start(*WORKER, ready=" ready.", **environment),
    ):
        make_due()
        updates = TaskResult.objects.filter(task_name="stockqueue.scheduled_portfolio_update", status="SUCCESS")
        wait_until(lambda: updates.count() == 2, "both messages", timeout=60)
        wait_until(lambda: not Job.objects.filter(status__in=Job.ACTIVE).exists(), "the job", timeout=60)
    results = [row.result for row in updates]
    assert sum("has already run" in result for result in results) == 1, results
    assert ScheduleRun.objects.filter(schedule=UPDATE).count() == 1
    assert Job.objects.get().status == "completed"
    assert JobRequest.objects.count() == 1


@real_processes
def test_an_edit_takes_effect_at_once_and_survives_a_restart_of_beat(admin_client, new_redis, start):
    second = IntervalSchedule.objects.create(every=1, period="seconds")
    # They have the queues that are looked at.
    PeriodicTask.objects.filter(name__in=["Market data", "Alerts"]).update(enabled=False)
    running = {"ready": "beat: Starting...", "CELERY_BROKER_URL": new_redis.url}
    with start(*BEAT, **running):
        wait_until(lambda: bool(messages(new_redis.url, "foreground")), "beat's first sweep", timeout=30)
        assert messages(new_redis.url, "background_fetch") == []
        save(admin_client, update(), interval=second.pk, crontab="", expire_seconds=77)
        wait_until(lambda: bool(messages(new_redis.url, "background_fetch")), "the edited schedule", timeout=30)
        save(admin_client, PeriodicTask(task="stockqueue.sweep"), name="More", interval=second.pk, crontab="")
        names = {"More"}
        wait_until(
            lambda: names <= {m["headers"]["periodic_task_name"] for m in messages(new_redis.url, "foreground")},
            "the added schedule",
            timeout=30,
        )
        save(admin_client, PeriodicTask.objects.get(name="Sweep"), enabled=None)
        save(admin_client, PeriodicTask.objects.get(name="More"), enabled=None)
    call_command("migrate", verbosity=0)
    with Redis.from_url(new_redis.url) as redis:
        redis.flushall()
    with start(*BEAT, **running):
        wait_until(lambda: bool(messages(new_redis.url, "background_fetch")), "the edited schedule", timeout=30)
        assert messages(new_redis.url, "foreground") == []
    found = PeriodicTask.objects.exclude(task="celery.backend_cleanup")
    assert sorted(found.values_list("name", "enabled", "interval__every", "expire_seconds")) == [
        ("Alerts", False, 30, 30),
        ("Cleanup", True, None, 43200),
        ("Mails about ends", True, 60, 60),
        ("Mails to users", True, 60, 60),
        ("Market data", False, 600, 600),
        ("More", False, 1, None),
        ("Portfolio values", True, 3600, 3600),
        (UPDATE, True, 1, 77),
        ("Settle", True, 600, 600),
        ("Sweep", False, 10, 10),
        ("Warm", True, 60, 60),
    ]
