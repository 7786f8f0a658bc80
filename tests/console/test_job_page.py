"""A job's page in the admin: what an operator may ask about one job, and that it follows the job to its end."""

import html
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_results.models import TaskResult

from console.jobs import timeline
from market.jobs.requests import request_batches
from market.models import Stock
from tasks import control
from tasks.models import Job, JobEvent
from tasks.running.execute import run_job
from tasks.state import lifecycle
from tests.support.jobs import new_job

pytestmark = pytest.mark.django_db

NOW = timezone.now().replace(microsecond=0)


def page_of(job: Job) -> str:
    return reverse("admin:tasks_job_change", args=[job.pk])


def part_of(job: Job) -> str:
    return reverse("admin:tasks_job_part", args=[job.pk])


def words_of(client, address: str) -> str:
    """The text of a page, without tags."""
    answer = client.get(address)
    assert answer.status_code == 200
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())).split())


def tell(job: Job, *steps: tuple[str, float, dict[str, object]]) -> None:
    """Its events: each with the seconds after NOW, and its payload."""
    job.events.all().delete()
    for seq, (event, seconds, payload) in enumerate(steps, start=1):
        at = NOW + timedelta(seconds=seconds)
        JobEvent.objects.create(job=job, seq=seq, event=event, payload=payload, created_at=at)


@pytest.fixture
def retried() -> Job:
    """A fetch that waited, failed, and succeeded in its second attempt."""
    job = new_job("AAPL", "completed", outcome="updated", finished_at=NOW + timedelta(seconds=100))
    tell(
        job,
        ("created", 0, {"state": "pending", "priority": 3, "queue": "foreground"}),
        ("queued", 10, {"state": "queued", "priority": 3}),
        ("promoted", 15, {"state": "queued", "priority": 1, "queue": "foreground"}),
        ("started", 20, {"state": "running", "attempt": 1, "worker_id": "first@here:1"}),
        ("retried", 25, {"state": "pending", "error": "Yahoo answered 503", "run_at": "2026-11-25T12:00:00+00:00"}),
        ("queued", 55, {"state": "queued", "priority": 1}),
        ("started", 55.25, {"state": "running", "attempt": 2, "worker_id": "second@here:2"}),
        ("completed", 100, {"state": "completed", "result": {"reason": "nothing new"}}),
    )
    return job


def test_the_timeline_tells_each_step_and_the_time_between_them(retried, admin_client):
    shown = words_of(admin_client, page_of(retried))
    told = [f"1 created {NOW:%Y-%m-%d %H:%M:%S}.000", "priority 3 in foreground", "after 10 s", "after 250 ms"]
    told += ["8 completed", "after 45 s", "nothing new"]
    positions = [shown.index(text) for text in told]
    assert positions == sorted(positions)
    assert "Yahoo answered 503; next attempt at 2026-11-25 12:00:00 UTC" in shown


def test_the_time_is_drawn_by_what_the_job_did(retried):
    phases = timeline.phases(retried, timeline.events_of(retried), timezone.now())
    assert [(phase.state, phase.words, phase.took, phase.share) for phase in phases] == [
        ("pending", "waits for its turn", "10 s", 10.0),
        ("queued", "waits for a worker", "10 s", 10.0),
        ("running", "runs", "5.00 s", 5.0),
        ("pending", "waits for its next attempt", "30 s", 30.0),
        ("queued", "waits for a worker", "250 ms", 0.2),
        ("running", "runs", "45 s", 44.8),
    ]


def test_what_a_job_that_has_not_ended_does_lasts_until_now():
    job = new_job("AAPL")
    tell(job, ("created", 0, {"state": "pending"}))
    (phase,) = timeline.phases(job, timeline.events_of(job), NOW + timedelta(seconds=30))
    assert (phase.words, phase.took, phase.share) == ("waits for its turn", "30 s", 100.0)


def test_that_the_broker_does_not_take_a_job_is_told(admin_client):
    job = new_job("AAPL", refused_at=NOW)
    shown = words_of(admin_client, page_of(job))
    assert f"Refused by the broker since {NOW:%Y-%m-%d %H:%M:%S} UTC" in shown


def test_each_attempt_has_its_worker_its_end_and_its_error(retried, admin_client):
    first, second = timeline.attempts(timeline.events_of(retried), timezone.now())
    assert (first.number, first.worker_id, first.took) == (1, "first@here:1", "5.00 s")
    assert (first.end, first.error) == ("retried", "Yahoo answered 503")
    assert (second.number, second.took, second.end, second.error) == (2, "45 s", "completed", "")
    shown = admin_client.get(page_of(retried)).content.decode()
    assert f"{reverse('admin:tasks_worker_changelist')}?worker_id__exact=first%40here%3A1" in shown


def test_an_attempt_that_runs_has_no_end_yet(admin_client):
    job = new_job("AAPL")
    claimed = lifecycle.claim(job.pk, "worker@here:1")
    assert claimed is not None
    shown = words_of(admin_client, page_of(job))
    assert "Attempt 1 by worker@here:1" in shown
    assert "has been running for" in shown
    assert "Last heartbeat" in shown


@pytest.mark.django_db(transaction=True)
def test_a_fetch_tells_its_source_and_the_newest_bar_before_and_after(admin_client, yahoo):
    yahoo.serve("AAPL")
    job = new_job("AAPL")
    run_job(job.pk, "worker")
    job.refresh_from_db()
    assert job.result is not None
    shown = words_of(admin_client, page_of(job))
    for text in (
        "Source yahoo_finance",
        f"Bars received {job.result['days_fetched']}",
        f"Bars stored {job.result['records_stored']}",
        f"Newest bar before none Newest bar after {job.result['latest_after']}",
    ):
        assert text in shown


def test_why_nothing_changed_is_told(admin_client):
    result = {"days_fetched": 0, "records_stored": 0, "source": "", "reason": "market closed since Friday"}
    job = new_job("AAPL", "completed", outcome="unchanged", result=result)
    shown = words_of(admin_client, page_of(job))
    assert "completed unchanged" in shown
    assert "Source none" in shown
    assert "Reason market closed since Friday" in shown


def test_of_a_batch_the_newest_steps_are_shown_and_the_others_counted(admin_client):
    job = new_job("AAPL", "running", job_type="stock_batch_fetch")
    steps = [
        ("progress", number, {"state": "running", "done": number, "total": 40, "symbol": f"S{number}"})
        for number in range(1, 31)
    ]
    tell(job, ("created", 0, {"state": "pending"}), *steps)
    shown = words_of(admin_client, page_of(job))
    assert "20 more steps" in shown
    assert "20 of 40: S20," not in shown
    assert "21 of 40: S21, 0 bars stored" in shown
    link = f"{reverse('admin:tasks_jobevent_changelist')}?job__id__exact={job.pk}"
    assert link in admin_client.get(page_of(job)).content.decode()
    assert admin_client.get(link).context["cl"].queryset.count() == 31


def test_what_mqtt_has_of_each_event_is_told_with_its_topics(admin_client, user, django_user_model):
    job = new_job("AAPL", "failed", user)
    tell(job, *((event, 0, {"state": "x", "priority": 3}) for event in ("created", "queued", "failed")))
    job.requests.create(user=user, trigger="user_login", created_at=NOW)
    late = django_user_model.objects.create_user("late")
    job.requests.create(user=late, trigger="user_login", created_at=NOW + timedelta(seconds=9))
    job.events.filter(seq=1).update(published_at=NOW + timedelta(milliseconds=20))
    job.events.filter(seq=2).update(error="the broker refused it")
    shown = words_of(admin_client, page_of(job))
    priority, late_priority = (f"stock/portfolio/priority/{one.pk}" for one in (user, late))
    first, second, third = shown.split(" MQTT: ")[1:]
    assert first.startswith(
        f"published {NOW:%Y-%m-%d %H:%M:%S}.020, 20 ms later stock/fetch/AAPL jobs/status/{job.pk}"
    )
    assert priority in first
    assert late_priority not in first
    assert second.startswith("dead letter: the broker refused it")
    assert "jobs/queue/high/stock_fetch" in second
    assert third.startswith("not published yet")
    assert f"jobs/failed/{job.pk}" in third
    assert late_priority in third


def test_who_asked_for_it_is_told_and_of_very_many_the_first(admin_client, django_user_model):
    job = new_job("AAPL", user=django_user_model.objects.create_user("first"))
    for number in range(30):
        job.requests.create(user=django_user_model.objects.create_user(f"user-{number}"), trigger="user_login")
    shown = words_of(admin_client, page_of(job))
    assert "first, user_request, 20" in shown
    assert "user-18, user_login, 20" in shown
    assert "user-25" not in shown
    link = f"{reverse('admin:tasks_jobrequest_changelist')}?job__id__exact={job.pk}"
    assert link in admin_client.get(page_of(job)).content.decode()
    assert admin_client.get(link).context["cl"].queryset.count() == 31


def test_celerys_result_is_shown_with_its_traceback_to_who_may_see_results(admin_client, client, django_user_model):
    job = new_job("AAPL", "failed")
    assert "Celery has no result." in words_of(admin_client, page_of(job))
    kept = TaskResult.objects.create(task_id=str(job.pk), status="FAILURE", traceback="Traceback: in <module>")
    shown = admin_client.get(page_of(job)).content.decode()
    assert reverse("admin:django_celery_results_taskresult_change", args=[kept.pk]) in shown
    assert "FAILURE" in shown
    assert "Traceback: in &lt;module&gt;" in shown
    member = django_user_model.objects.create_user("staff", is_staff=True)
    member.user_permissions.add(Permission.objects.get(codename="view_job"))
    client.force_login(member)
    assert "FAILURE" not in client.get(page_of(job)).content.decode()


def test_a_job_that_runs_another_one_again_and_that_one_lead_to_each_other(admin_client, admin_user):
    old = new_job("AAPL", "failed")
    (again,) = control.rerun([old], admin_user).created
    assert f'href="{page_of(again)}"' in admin_client.get(page_of(old)).content.decode()
    assert f'href="{page_of(old)}"' in admin_client.get(page_of(again)).content.decode()
    old.delete()
    assert "an earlier job" not in admin_client.get(page_of(again)).content.decode()


def test_the_page_of_a_job_is_kept_up_to_date_until_just_after_its_end(admin_client):
    job = new_job("AAPL", "running")
    shown = admin_client.get(page_of(job)).content.decode()
    assert f'data-address="{part_of(job)}"' in shown
    assert "tasks/live.js" in shown
    part = admin_client.get(part_of(job))
    assert "HX-Refresh" not in part.headers
    assert 'data-summary="running"' in part.content.decode()
    assert "no-store" in part.headers["Cache-Control"]
    Job.objects.filter(pk=job.pk).update(status="completed", outcome="updated", finished_at=timezone.now())
    assert 'data-summary="completed, updated"' in admin_client.get(part_of(job)).content.decode()
    Job.objects.filter(pk=job.pk).update(finished_at=timezone.now() - timedelta(seconds=4))
    assert admin_client.get(part_of(job)).headers["HX-Refresh"] == "true"
    assert "data-live" not in admin_client.get(page_of(job)).content.decode()


def test_who_may_not_see_it_any_more_is_led_to_the_login_by_the_whole_page(client, django_user_model):
    job = new_job("AAPL")
    member = django_user_model.objects.create_user("staff", is_staff=True)
    client.force_login(member)
    assert client.get(page_of(job)).status_code == 403
    assert client.get(part_of(job)).headers["HX-Refresh"] == "true"
    member.user_permissions.add(Permission.objects.get(codename="view_job"))
    assert "HX-Refresh" not in client.get(part_of(job)).headers
    assert client.post(part_of(job)).status_code == 405
    client.logout()
    answer = client.get(part_of(job))
    assert (answer.content, answer.headers["HX-Refresh"]) == (b"", "true")


@pytest.mark.parametrize("job_id", ["00000000-0000-4000-8000-000000000000", "x", "x/../y"])
def test_there_is_no_page_of_a_job_that_does_not_exist(admin_client, job_id):
    page = admin_client.get(reverse("admin:tasks_job_change", args=[job_id]))
    assert (page.status_code, page.url) == (302, "/admin/")
    part = admin_client.get(reverse("admin:tasks_job_part", args=[job_id]))
    assert part.headers["HX-Refresh"] == "true"


def test_the_page_takes_the_same_number_of_queries_whatever_happened_to_the_job(
    admin_client, admin_user, user, django_assert_num_queries
):
    job = new_job("AAPL", "failed", user)
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(page_of(job))
    for _ in range(3):
        (again,) = control.rerun([job], admin_user).created
        lifecycle.cancel([again.pk], "x")
    for number in range(30):
        job.requests.create(user=user, trigger="user_login")
        JobEvent.objects.create(job=job, seq=number + 2, event="progress", payload={"state": "running"})
    with django_assert_num_queries(len(queries)):
        admin_client.get(page_of(job))


@pytest.mark.django_db(transaction=True)
def test_a_batchs_result_is_told_in_a_sentence(admin_client, yahoo):
    yahoo.serve("AAPL")
    stocks = [Stock.objects.create(symbol=symbol) for symbol in ("AAPL", "ZZTOP")]
    (job,) = request_batches(stocks, Job.Trigger.SCHEDULED_UPDATE).created
    run_job(job.pk, "worker")
    shown = words_of(admin_client, page_of(job))
    assert "Symbol a batch of 2" in shown
    assert re.search(r"Result 1 of 2 stocks, \d+ bars stored", shown)


def test_nothing_that_a_job_says_is_html(admin_client):
    bad = "<script>alert(1)</script>"
    job = new_job(
        "AAPL", "failed", error=bad, subtype=bad, parameters={"x": bad}, result={"reason": bad}, worker_id=bad
    )
    tell(job, ("created", 0, {"state": bad}), ("failed", 1, {"state": bad, "error": bad, "worker_id": bad}))
    TaskResult.objects.create(task_id=str(job.pk), status="FAILURE", traceback=bad)
    assert "<script>alert" not in admin_client.get(page_of(job)).content.decode()
