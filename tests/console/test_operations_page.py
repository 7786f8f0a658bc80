"""Each figure of the admin's page "Stock data" is held against a state made by hand, and leads to its list."""

import html
import re
from datetime import timedelta

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from console.dashboard.page import Page
from console.dashboard.status_lights import Light
from market.models import SourceState, SourceUse
from mqtt_bridge.leadership import Lease
from mqtt_bridge.models import BridgeLease
from operations.monitoring import health
from tasks.models import Job, JobEvent
from tests.support.jobs import new_job
from tests.support.lists import figures_in
from tests.support.stock_data_page import FIGURES, ago, alert, logged_in, sql
from tests.support.workers import new_worker

pytestmark = pytest.mark.django_db


def light(page: Page, name: str) -> Light:
    return next(one for one in page.lights if one.name == name)


def test_each_queue_shows_its_jobs_by_priority_and_state_and_leads_to_them(stock_data, rows_behind):
    states = ("pending", "queued", "running")
    bands = {"foreground": (1, 3), "background_fetch": (4, 5), "background_analysis": (8, 10)}
    for queue, priorities in bands.items():
        for priority in priorities:
            for count, state in enumerate(states, start=1):
                for number in range(count):
                    new_job(f"{queue[-5:]}{priority}{state}{number}".upper(), state, queue=queue, priority=priority)
    new_job("ENDED", "completed")
    cards = stock_data().queues
    assert [card.queue for card in cards] == list(bands)
    assert [[bar.label for bar in card.bars] for card in cards] == [list("123"), list("456"), [*"789", "10"]]
    for card in cards:
        for bar in card.bars:
            for figure, state in zip(bar.figures, states, strict=True):
                expected = sql(
                    "SELECT COUNT(*) FROM tasks_job WHERE queue = %s AND priority = %s AND status = %s",
                    *(card.queue, int(bar.label), state),
                )
                assert figure.text == str(expected)
                found = Job.objects.filter(pk__in=rows_behind(figure))
                assert [(job.queue, job.priority, job.status) for job in found] == [
                    (card.queue, int(bar.label), state)
                ] * expected
        assert card.waiting.text == "6"
        assert len(rows_behind(card.waiting)) == 6


def test_the_longest_bar_is_full_and_the_others_are_in_proportion(stock_data):
    for number in range(3):
        new_job(f"A{number}", priority=1)
    new_job("B", "running", priority=1)
    new_job("C", "queued", priority=2)
    first, second, third = stock_data().queues[0].bars
    assert (list(first.shares), list(second.shares), list(third.shares)) == ([75, 0, 25], [0, 25, 0], [0, 0, 0])


def test_the_oldest_job_that_waits_is_shown_and_led_to(stock_data, rows_behind):
    oldest = new_job("A", created_at=ago(minutes=12, seconds=5))
    new_job("B", "queued", created_at=ago(minutes=5))
    new_job("C", "running", created_at=ago(hours=5))
    foreground, background, _ = stock_data().queues
    assert foreground.oldest.text.startswith("12 min ")
    assert rows_behind(foreground.oldest) == {oldest.pk}
    assert background.oldest is None


def test_a_queue_is_empty_when_what_waits_has_ended_at_the_pace_of_the_last_five_minutes(stock_data, rows_behind):
    ended = {new_job(f"E{number}", "completed", finished_at=ago(minutes=4)).pk for number in range(6)}
    new_job("EARLIER", "completed", finished_at=ago(minutes=6))
    for number in range(12):
        new_job(f"W{number}")
    new_job("OTHER", queue="background_fetch", priority=5)
    foreground, fetch, analysis = stock_data().queues
    assert foreground.empty.text == "in about 10 min"
    assert foreground.ended.text == "6"
    assert rows_behind(foreground.ended) == ended
    assert fetch.empty.text == "unknown"
    assert analysis.empty.text == "now"


def test_workers_are_shown_with_their_use_and_efficiency_and_gone_ones_as_gone(
    stock_data, rows_behind, stock_data_words
):
    new_worker("busy@here:1", concurrency=4)
    new_worker("idle@here:2", concurrency=2)
    new_worker("lost@here:3", concurrency=8, heartbeat_at=ago(minutes=5))
    new_worker("stopped@here:4", stopped_at=timezone.now())
    running = {new_job(symbol, "running", worker_id="busy@here:1").pk for symbol in "ABC"}
    new_job("D", "running", worker_id="direct@here:5")
    ended = {new_job(symbol, "completed", worker_id="busy@here:1").pk for symbol in "EFG"}
    ended.add(new_job("H", "failed", worker_id="busy@here:1").pk)
    new_job("I", "failed", worker_id="busy@here:1", finished_at=ago(minutes=61))
    page = stock_data()
    found = {row.worker.text: row for row in page.workers}
    assert set(found) == {"busy@here:1", "idle@here:2", "lost@here:3", "direct@here:5"}
    busy = found["busy@here:1"]
    assert (busy.state, busy.running.text, busy.use.text, busy.efficiency.text) == ("alive", "3 of 4", "75%", "75%")
    assert rows_behind(busy.running) == rows_behind(busy.use) == running
    assert rows_behind(busy.efficiency) == rows_behind(busy.jobs_per_minute) == ended
    assert (found["idle@here:2"].use.text, found["idle@here:2"].efficiency) == ("0%", None)
    assert (found["lost@here:3"].state, found["lost@here:3"].use) == ("gone", None)
    assert (found["direct@here:5"].state, found["direct@here:5"].use) == ("", None)
    assert "lost@here:3 gone" in stock_data_words()
    together = dict(page.workforce)
    assert together["processes busy"].text == "3 of 6"
    assert together["utilisation"].text == "50%"
    assert together["efficiency"].text == "75%"
    assert together["alive"].text == "2"
    assert len(rows_behind(together["alive"])) == 2
    assert together["gone"].text == "1"
    assert len(rows_behind(together["gone"])) == 1


def test_a_gone_worker_that_another_of_its_name_came_after_is_shown_as_replaced_and_not_counted(
    stock_data, rows_behind
):
    new_worker("name@here:1", heartbeat_at=ago(minutes=5))
    new_worker("name@here:2")
    page = stock_data()
    assert {row.worker.text: row.state for row in page.workers} == {"name@here:1": "replaced", "name@here:2": "alive"}
    gone = dict(page.workforce)["gone"]
    assert (gone.text, rows_behind(gone)) == ("0", set())


@pytest.mark.parametrize(
    ("said", "state", "text"),
    [
        ("ok", "good", "answers"),
        ("does not answer", "bad", "does not answer"),
        (health.STOOD_IN_FOR, "bad", "does not answer"),
        (health.NOT_NEEDED, "good", "not needed: direct processing"),
    ],
)
def test_the_brokers_light_says_what_the_look_at_it_found(stock_data, server_health, said, state, text):
    server_health(broker=said)
    found = light(stock_data(), "Broker")
    assert (found.state, found.text) == (state, text)


def test_the_lights_of_beat_and_bridge_tell_those_that_were_never_here_from_silent_ones(stock_data):
    def states() -> list[str]:
        page = stock_data()
        return [light(page, name).state for name in ("Beat", "MQTT bridge")]

    assert states() == ["unknown", "unknown"]
    assert Lease().acquire()
    PeriodicTask.objects.filter(task="stockqueue.sweep").update(last_run_at=timezone.now())
    assert states() == ["good", "good"]
    BridgeLease.objects.update(renewed_at=ago(minutes=2))
    PeriodicTask.objects.filter(task="stockqueue.sweep").update(last_run_at=ago(minutes=12))
    assert states() == ["bad", "bad"]
    assert light(stock_data(), "MQTT bridge").text.startswith("last seen 2 min ")


def test_the_light_of_beat_says_that_its_clock_is_ahead(stock_data):
    PeriodicTask.objects.filter(task="stockqueue.sweep").update(last_run_at=ago(minutes=-62))
    found = light(stock_data(), "Beat")
    assert found.state == "bad"
    assert re.fullmatch(r"last seen 1 h \d+ min in the future: its clock is or was ahead", found.text)


def test_the_bridges_light_tells_what_waits_and_what_is_set_aside(stock_data, rows_behind):
    for symbol in "ABC":
        new_job(symbol)
    first, second, *others = JobEvent.objects.order_by("id")
    JobEvent.objects.filter(pk=first.pk).update(published_at=timezone.now())
    JobEvent.objects.filter(pk=second.pk).update(error="too large")
    _, waiting, aside = light(stock_data(), "MQTT bridge").figures
    assert (len(others), waiting.text.startswith("1 unpublished event, the oldest for ")) == (1, True)
    assert rows_behind(waiting) == {event.pk for event in others}
    assert aside.text == "1 dead letter"
    assert rows_behind(aside) == {second.pk}


def test_a_sources_light_tells_its_budget_and_its_cool_down(stock_data, configured):
    configured(**{"stock_jobs.data_fetch.rate_limit": 60, "stock_jobs.data_fetch.sources": ["yahoo_finance"]})
    SourceUse.objects.create(source="yahoo_finance", granted_at=ago(seconds=5), requests=7)
    found = light(stock_data(), "Yahoo Finance")
    assert (found.state, found.text) == ("good", "available")
    assert found.figures[0].text == "7 of 60 requests in the last minute"
    SourceUse.objects.create(source="yahoo_finance", granted_at=ago(seconds=5), requests=53)
    assert light(stock_data(), "Yahoo Finance").text == "rate limit reached"
    SourceState.objects.create(source="yahoo_finance", cooldown_until=timezone.now() + timedelta(seconds=200))
    found = light(stock_data(), "Yahoo Finance")
    assert found.state == "bad"
    assert re.fullmatch(r"paused until \d\d:\d\d:\d\d, for 3 min \d+ s more", found.text)


def test_a_banner_tells_why_direct_processing_is_on(stock_data, server_health, configured, rows_behind):
    assert stock_data().banner == ""
    job = new_job("A", "running", worker_id="direct@here:1")
    page = stock_data()
    assert page.banner == "Direct processing is on: a process that could not reach the broker runs jobs itself."
    assert page.banner_jobs.text == "1 job running"
    assert rows_behind(page.banner_jobs) == {job.pk}
    server_health(broker=health.STOOD_IN_FOR)
    assert "the broker does not answer" in stock_data().banner
    server_health(broker=health.NOT_NEEDED)
    assert "queue.backend is direct" in stock_data().banner
    server_health()
    configured(**{"integration.rollout_percent": 30})
    assert "integration.rollout_percent is 30" in stock_data().banner


def test_failures_are_counted_by_reason_and_lead_to_these_jobs(stock_data, rows_behind):
    silent = {
        new_job(symbol, "failed", error=f"Yahoo Finance answered 503 for {symbol}").pk for symbol in ("AAPL", "MSFT")
    }
    unknown = {new_job("ZZ", "failed", error="Yahoo Finance does not know it & never did").pk}
    expired = {new_job("TT", "expired", error="Waited too long").pk}
    new_job("OLD", "failed", error="Yahoo Finance answered 503 for OLD", finished_at=ago(hours=25))
    new_job("FINE", "completed")
    failures = stock_data().failures
    assert [(one.jobs.text, one.status, one.reason) for one in failures] == [
        ("2", "failed", "Yahoo Finance answered 503"),
        ("1", "expired", "Waited too long"),
        ("1", "failed", "Yahoo Finance does not know it & never did"),
    ]
    assert [rows_behind(one.jobs) for one in failures] == [silent, expired, unknown]


def test_open_alerts_are_shown_with_who_looks_after_them(stock_data, rows_behind, stock_data_words, admin_user):
    ours = alert("job-age", "raised", acknowledged_by=admin_user, acknowledged_at=timezone.now())
    nobodys = alert("queue-depth", "raised")
    alert("outbox-age", "suspected")
    alert("beat-silent", "cleared", cleared_at=timezone.now())
    page = stock_data()
    assert page.alert_count.text == "2"
    assert rows_behind(page.alert_count) == {ours.pk, nobodys.pk}
    assert {(one.text.text, one.looked_after_by) for one in page.alerts} == {
        (ours.text, admin_user.username),
        (nobodys.text, ""),
    }
    assert rows_behind(page.alerts[0].text) == {nobodys.pk}
    assert "not acknowledged" in stock_data_words()
    assert "job-age" in page.summary


def test_every_link_of_a_full_page_leads_to_a_list(admin_client, stock_data, user, hold, server_health):
    server_health(broker=health.STOOD_IN_FOR)
    hold(user, "AAPL", "^GSPC", "EURUSD=X")
    new_worker("celery@größe & co:1")
    new_job("A", "running", worker_id="celery@größe & co:1")
    new_job("B", worker_id="direct@here:1")
    new_job("C", "failed", error="100 % of it\nand more <b>")
    logged_in(user, new_job("D", "completed", worker_id="celery@größe & co:1"), 3)
    alert("job-age", "raised")
    shown = admin_client.get(FIGURES)
    addresses = {html.unescape(address) for address in re.findall(r'<a href="([^"]*)"', shown.content.decode())}
    assert len(addresses) > 60
    assert addresses == {figure.link for figure in figures_in(shown.context["page"])}
    for address in {address.partition("?")[0]: address for address in addresses}.values():  # one of each list
        answer = admin_client.get(address)
        assert answer.status_code == 200, address
        assert "cl" in answer.context, address


def test_an_empty_system_is_told_in_words(stock_data_words):
    shown = stock_data_words()
    for sentence in (
        "No open alerts.",
        "Beat not seen yet",
        "MQTT bridge not seen yet",
        "No workers, and no jobs in the last hour.",
        "No login in the last hour requested prices.",
        "No held stock is stale.",
        "No portfolio holds anything yet.",
        "No job failed in the last 24 hours.",
        "No user with holdings has logged in yet.",
    ):
        assert sentence in shown
