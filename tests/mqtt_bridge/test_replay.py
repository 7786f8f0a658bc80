"""Events that are published again: with the command, or in the admin where they are set aside."""

import json
import threading
from datetime import UTC, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from mqtt_bridge import outbox
from mqtt_bridge.leadership import Lease
from mqtt_bridge.models import SetAsideEvent
from mqtt_bridge.replay import replay
from mqtt_bridge.topic_filters import InvalidFilter, check_filter
from operations.local.child_processes import wait_until
from tasks.models import Job, JobEvent
from tasks.wakeup import LONGEST_INTERVAL, wakeup
from tests.conftest import BRIDGE
from tests.contracts.test_commands import NOBODY, call, refused, run
from tests.support.invariants import event_ids
from tests.support.outbox import PATIENCE, arrived, request, unpublished, wait_until_all_is_published, work, worked
from tests.support.servers import MosquittoServer

LIST = "/admin/mqtt_bridge/setasideevent/"
NOTHING = "No events to publish again: none match, or they already wait to be published.\n"


def published(count: int = 3) -> list[Job]:
    """Jobs with four events each, which the broker has."""
    jobs = worked(count)
    outbox.mark_published(event_ids(jobs))
    return jobs


def put_aside(events: "QuerySet[JobEvent]", error: str = "jobs/queue/normal/stock_fetch: Not authorized") -> None:
    """Events that wait are set aside, as the bridge does it."""
    errors = {event.pk: error for event in events}
    JobEvent.objects.filter(pk__in=errors).update(published_at=None)
    outbox.set_aside(errors)


def let_it_be(jobs: list[Job], **ago: float) -> None:
    """As if the events of `jobs` had happened that long ago."""
    JobEvent.objects.filter(job__in=jobs).update(created_at=timezone.now() - timedelta(**ago))


@pytest.mark.django_db
def test_the_events_of_named_jobs_go_back_into_the_outbox_and_no_others():
    first, second, third = published()
    said = call("replay_events", "--job", str(first.pk), str(second.pk), "--job", str(first.pk))
    assert said == "8 events of 2 jobs will be published again.\n"
    assert unpublished([first, second, third]) == event_ids([first, second])


@pytest.mark.django_db
def test_the_events_of_a_time_go_back_into_the_outbox():
    old, middle, new = published()
    let_it_be([old], hours=3)
    let_it_be([middle], hours=1.5)
    assert call("replay_events", "--since", "2h", "--until", "30m").startswith("4 events of 1 job from ")
    assert unpublished([old, middle, new]) == event_ids([middle])
    assert call("replay_events", "--since", "1d").startswith("8 events of 2 jobs from ")  # the others wait already
    assert unpublished([old, middle, new]) == event_ids([old, middle, new])


@pytest.mark.django_db
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_a_time_without_a_zone_is_in_the_configured_one(zone, settings):
    settings.TIME_ZONE = zone
    (job,) = published(1)
    moment = timezone.localtime() - timedelta(hours=2)
    JobEvent.objects.filter(job=job).update(created_at=moment)
    naive = moment.replace(tzinfo=None)
    later = naive + timedelta(microseconds=1)
    for since, until in (
        (naive.isoformat(), later.isoformat()),
        (naive.isoformat(" "), (moment + timedelta(seconds=1)).astimezone(UTC).isoformat()),
        (naive.date().isoformat(), later.isoformat()),
    ):
        said = json.loads(call("replay_events", "--dry-run", "--json", "--since", since, "--until", until))
        assert (said["events"], said["jobs"]) == (4, 1), (since, until)
    before = json.loads(call("replay_events", "--json", "--since", "2024-01-31", "--until", naive.isoformat()))
    assert before["events"] == 0
    assert before["since"] == f"2024-01-31T{'00' if zone == 'UTC' else '05'}:00:00+00:00"


@pytest.mark.django_db
def test_set_aside_events_can_be_chosen():
    jobs = published()
    put_aside(jobs[0].events.filter(event="queued") | jobs[1].events.filter(event="completed"))
    chosen = set(SetAsideEvent.objects.values_list("pk", flat=True))
    assert call("replay_events", "--set-aside") == "2 events of 2 jobs will be published again.\n"
    assert unpublished(jobs) == chosen
    assert not JobEvent.objects.exclude(error="")


@pytest.mark.django_db
def test_a_dry_run_tells_the_same_numbers_and_changes_nothing():
    jobs = published(2)
    put_aside(jobs[0].events.filter(seq=1))
    before = list(JobEvent.objects.values())
    words = ("replay_events", "--job", str(jobs[0].pk), str(jobs[1].pk), "--dry-run")
    assert call(*words) == "8 events of 2 jobs would be published again; nothing is changed.\n"
    numbers = {"events": 8, "jobs": 2, "dry_run": True, "topic": None, "since": None, "until": None}
    assert json.loads(call(*words, "--json")) == numbers
    assert list(JobEvent.objects.values()) == before


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("stock/fetch/S1", [("S1", seq) for seq in (1, 2, 3, 4)]),
        ("jobs/failed/+", [("S2", 4)]),
        ("jobs/queue/normal/#", [("S0", 2), ("S1", 2), ("S2", 2)]),
        ("jobs/completed/#", [("S0", 4), ("S1", 4)]),
        ("stock/fetch/S", []),
        ("+/+", []),
        ("#", [(f"S{number}", seq) for number in range(3) for seq in (1, 2, 3, 4)]),
    ],
)
def test_a_topic_filter_chooses_events_with_a_topic_that_matches(topic, expected):
    published()
    call("replay_events", "--since", "1h", "--topic", topic)
    assert sorted(JobEvent.objects.filter(published_at=None).values_list("job__symbol", "seq")) == expected


@pytest.mark.django_db
def test_a_topic_filter_finds_what_a_users_logins_caused():
    ann, ben = (User.objects.create_user(name) for name in ("ann", "ben"))
    (hers,) = request("AAPL", trigger=Job.Trigger.USER_LOGIN, user=ann)
    request("MSFT", trigger=Job.Trigger.USER_LOGIN, user=ben)
    outbox.mark_published(list(JobEvent.objects.values_list("pk", flat=True)))
    call("replay_events", "--since", "1h", "--topic", f"stock/portfolio/priority/{ann.pk}")
    assert set(JobEvent.objects.filter(published_at=None)) == set(hers.events.all())


@pytest.mark.django_db
def test_events_that_no_topic_can_carry_match_no_filter():
    jobs = published()
    Job.objects.filter(pk=jobs[0].pk).update(symbol="A#B")
    JobEvent.objects.filter(job=jobs[1], event="queued").update(payload={})
    JobEvent.objects.filter(job=jobs[1], event="started").update(payload={})
    call("replay_events", "--since", "1h", "--topic", "#")
    assert not unpublished(jobs[:1])
    assert unpublished(jobs[2:]) == event_ids(jobs[2:])


@pytest.mark.django_db
@pytest.mark.parametrize(
    "words", [["--set-aside"], ["--since", "1m", "--until", "0m"], ["--since", "1h", "--topic", "jobs/retry/+"]]
)
def test_when_there_is_nothing_it_says_so(words):
    published(1)
    let_it_be(list(Job.objects.all()), minutes=5)
    assert call("replay_events", *words) == NOTHING
    assert json.loads(call("replay_events", *words, "--json"))["events"] == 0


TOMORROW = timezone.now() + timedelta(days=1)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "expected exactly one of --job, --since and --set-aside"),
        (["--since", "2h", "--set-aside"], "expected exactly one of --job, --since and --set-aside"),
        (["--job", "AAPL"], "'AAPL' is not a job's id, such as "),
        (["--job", NOBODY], f"no job has the id {NOBODY}"),
        (["--since", "yesterday"], "--since yesterday is not a time; write it as 2024-01-31, "),
        (["--since", ""], "--since  is not a time; write it as "),
        (["--since", "2024-02-30"], "--since 2024-02-30 is not a time"),
        (["--since", "99999999999d"], "--since 99999999999d is not a time"),
        (["--since", "9" * 5_000 + "d"], "d is not a time"),
        (["--since", "0001-01-01T00:00+14:00"], "--since 0001-01-01T00:00+14:00 is not a time"),
        (["--since", f"{TOMORROW:%Y-%m-%d}"], f"--since {TOMORROW:%Y-%m-%d} is in the future; now it is "),
        (["--since", "1h", "--until", "9999-12-31"], "--until 9999-12-31 is in the future"),
        (["--since", "1h", "--until", "2h"], "--since 1h is not before --until 2h"),
        (["--since", "2024-01-31", "--until", "2024-01-31"], "--since 2024-01-31 is not before --until 2024-01-31"),
        (["--until", "1h"], "--until 1h needs --since"),
        (["--set-aside", "--until", "1h"], "--until 1h needs --since"),
        (
            ["--since", "1h", "--topic", "stock/#/AAPL"],
            "--topic 'stock/#/AAPL' is not a topic filter: # is only allowed as the ",
        ),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_done(words, error):
    jobs = published(1)
    refusal = refused("replay_events", *words)
    assert refusal.returncode == 2
    assert error in str(refusal)
    assert not unpublished(jobs)


@pytest.mark.django_db(transaction=True)
def test_bad_arguments_in_the_shell_end_with_2_and_one_line():
    for words in (["--job", NOBODY], ["--since"], []):
        ended = run("replay_events", *words)
        assert ended.returncode == 2
        assert len(ended.stderr.splitlines()) == 1, ended.stderr


@pytest.mark.parametrize("text", ["#", "+", "a/#", "+/+/#", "/", "stock/fetch/^GSPC", "é"])
def test_what_a_broker_accepts_is_a_topic_filter(text):
    check_filter(text)


@pytest.mark.parametrize("text", ["", "a#", "a/#/b", "#/", "a+/b", "a/+b", "a\0b", "x" * 65_536, "a/##"])
def test_what_no_broker_accepts_is_no_topic_filter(text):
    with pytest.raises(InvalidFilter):
        check_filter(text)


@pytest.mark.django_db
@pytest.mark.parametrize("topic", [None, "stock/fetch/+"])
def test_many_events_are_put_back_in_small_transactions_the_oldest_first(topic, monkeypatch):
    monkeypatch.setattr("mqtt_bridge.replay.EVENTS_PER_UPDATE", 5)
    jobs = published(4)
    batches: list[list[int]] = []
    send_again = outbox.send_again

    def spy(events: "QuerySet[JobEvent]") -> int:
        batches.append(list(events.order_by("pk").values_list("pk", flat=True)))
        return send_again(events)

    monkeypatch.setattr(outbox, "send_again", spy)
    assert str(replay(JobEvent.objects.all(), topic)) == "16 events of 4 jobs"
    assert [len(batch) for batch in batches] == [5, 5, 5, 1]
    assert [event_id for batch in batches for event_id in batch] == sorted(event_ids(jobs))


@pytest.mark.django_db(transaction=True)
def test_the_bridge_is_woken():
    (job,) = published(1)
    news = wakeup()
    news.arm()
    assert not news.came()

    def send_again() -> None:
        outbox.send_again(job.events.all())
        connection.close()

    thread = threading.Thread(target=send_again)
    thread.start()
    thread.join()
    wait_until(news.came, "the bridge to be woken", timeout=LONGEST_INTERVAL / 2)


@pytest.fixture
def staff(client, django_user_model):
    """staff("send_again"): log a member of the staff in, who may see set-aside events and has this permission."""

    def staff(*codenames: str) -> User:
        member = django_user_model.objects.create_user("staff", is_staff=True)
        member.user_permissions.add(
            *Permission.objects.filter(codename__in=["view_setasideevent", "view_job", *codenames])
        )
        client.force_login(member)
        return member

    return staff


def press_send_again(client, *events: JobEvent) -> str:
    data = {"action": "send_again", "_selected_action": [event.pk for event in events]}
    return client.post(LIST, data, follow=True).content.decode()


@pytest.mark.django_db
def test_the_list_shows_what_is_set_aside_and_why(admin_client):
    jobs = published()
    put_aside(jobs[0].events.filter(event="completed") | jobs[0].events.filter(event="started"), "<b>no</b> right")
    shown = admin_client.get(LIST).content.decode()
    assert reverse("admin:tasks_job_change", args=[jobs[0].pk]) in shown
    assert str(jobs[1].pk) not in shown
    assert shown.count("&lt;b&gt;no&lt;/b&gt; right") == 2
    event = SetAsideEvent.objects.latest("pk")
    assert "&lt;b&gt;no&lt;/b&gt; right" in admin_client.get(f"{LIST}{event.pk}/change/").content.decode()
    assert (
        "dead letter: &lt;b&gt;no"
        in admin_client.get(reverse("admin:tasks_job_change", args=[jobs[0].pk])).content.decode()
    )


@pytest.mark.django_db
def test_the_list_is_searched_by_symbol_and_job_and_filtered_by_event(admin_client):
    jobs = published()
    put_aside(JobEvent.objects.all())
    for query, count in (("q=S1", 4), (f"q={jobs[2].pk}", 4), ("event__exact=failed", 1), ("q=nothing", 0)):
        assert admin_client.get(f"{LIST}?{query}").context["cl"].result_count == count


@pytest.mark.django_db
def test_the_list_takes_the_same_number_of_queries_for_1_and_50_jobs(admin_client, django_assert_num_queries):
    put_aside(published(1)[0].events.all())
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(LIST)
    request(*(f"T{number}" for number in range(49)))
    put_aside(JobEvent.objects.all())
    with django_assert_num_queries(len(queries)):
        admin_client.get(LIST)


@pytest.mark.django_db
def test_send_again_puts_the_chosen_ones_back_says_how_many_and_is_in_the_jobs_history(admin_client, admin_user):
    first, second, third = jobs = published()
    put_aside(first.events.filter(seq__gt=2) | second.events.all())
    events = [*first.events.filter(seq__gt=2), second.events.get(seq=1)]
    assert "Sent again: 3 events of 2 jobs." in press_send_again(admin_client, *events)
    assert set(outbox.waiting(10)) == set(events)
    assert SetAsideEvent.objects.count() == 3
    logged = LogEntry.objects.values_list("object_id", "change_message", "user")
    assert set(logged) == {(str(job.pk), "Dead letters sent again.", admin_user.pk) for job in (first, second)}
    history = admin_client.get(reverse("admin:tasks_job_history", args=[first.pk])).content.decode()
    assert "Dead letters sent again." in history
    assert not unpublished([third]), jobs


@pytest.mark.django_db
def test_what_was_sent_again_meanwhile_is_left_alone(admin_client):
    (job,) = published(1)
    put_aside(job.events.all())
    replay(SetAsideEvent.objects.all())
    outbox.mark_published(event_ids([job]))
    press_send_again(admin_client, *job.events.all())
    assert not unpublished([job])
    assert not LogEntry.objects.exists()


@pytest.mark.django_db
def test_events_that_were_sent_again_in_the_meantime_are_told(admin_client):
    (job,) = published(1)
    assert "None of these events is a dead letter any more." in press_send_again(admin_client, *job.events.all())


@pytest.mark.django_db
def test_more_events_than_one_action_takes_are_refused_with_the_command_that_takes_them(admin_client, monkeypatch):
    monkeypatch.setattr("console.kit.selection.MOST_SELECTED", 3)
    (job,) = published(1)
    put_aside(job.events.all())
    shown = press_send_again(admin_client, *job.events.all())
    assert "More than 3 dead letters are selected; select fewer, or send all again with manage.py" in shown
    assert SetAsideEvent.objects.count() == 4


@pytest.mark.django_db
def test_send_again_needs_its_own_permission(client, staff):
    member = staff("change_jobevent", "retry_job")
    (job,) = published(1)
    put_aside(job.events.all())
    assert 'value="send_again"' not in client.get(LIST).content.decode()
    press_send_again(client, *job.events.all())
    assert SetAsideEvent.objects.count() == 4
    member.user_permissions.add(Permission.objects.get(codename="send_again"))
    assert "Sent again: 4 events of 1 job." in press_send_again(client, *job.events.all())


@pytest.mark.django_db
def test_nobody_adds_changes_or_deletes_set_aside_events_and_leases(admin_client):
    (job,) = published(1)
    put_aside(job.events.all())
    Lease().acquire()
    for page, pk in ((LIST, job.events.get(seq=1).pk), ("/admin/mqtt_bridge/bridgelease/", 1)):
        assert admin_client.get(f"{page}add/").status_code == 403
        assert admin_client.post(f"{page}{pk}/change/", {"holder": "me"}).status_code == 403
        assert admin_client.post(f"{page}{pk}/delete/", {"post": "yes"}).status_code == 403
        assert "delete_selected" not in admin_client.get(page).content.decode()


@pytest.mark.django_db
def test_the_admin_tells_which_bridge_publishes_and_since_when_it_is_silent(admin_client):
    lease = Lease()
    lease.acquire()
    shown = admin_client.get("/admin/mqtt_bridge/bridgelease/").content.decode()
    assert lease.holder in shown
    assert " UTC, " in shown
    assert "MQTT bridge" in admin_client.get("/admin/").content.decode()
    lease.release()
    assert "nobody" in admin_client.get("/admin/mqtt_bridge/bridgelease/").content.decode()


DENIES_JOBS = "topic readwrite stock/#\ntopic readwrite stockqueue/#\ntopic read jobs/#\n"


@pytest.mark.django_db(transaction=True)
def test_what_the_broker_refused_arrives_once_the_cause_is_mended_and_it_is_sent_again(admin_client, start, subscribe):
    with MosquittoServer(acl=DENIES_JOBS) as server, start(*BRIDGE, ready="connected to", MQTT_URL=server.url):
        jobs = request("AAPL", "MSFT")
        work(jobs)
        wait_until(lambda: SetAsideEvent.objects.count() == 8, "all to be refused", timeout=PATIENCE)
        assert "jobs/status/" in admin_client.get(LIST).content.decode()
        server.acl = f"{DENIES_JOBS}topic write jobs/#\n"
        server.stop()
        server.start()
        with subscribe(server, "jobs/status/+") as seen:
            assert "Sent again: 8 events of 2 jobs." in press_send_again(admin_client, *SetAsideEvent.objects.all())
            assert seen.wait_for(arrived(jobs), PATIENCE)
            wait_until_all_is_published(jobs)
    assert not SetAsideEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_what_is_replayed_arrives_on_all_its_topics_in_order_within_its_job(mosquitto_server, start, subscribe):
    jobs = published()
    with (
        start(*BRIDGE, ready="connected to", MQTT_URL=mosquitto_server.url),
        subscribe(mosquitto_server) as stock,
        subscribe(mosquitto_server, "jobs/status/+") as status,
    ):
        call("replay_events", "--since", "1h", "--topic", "stock/fetch/S1")
        for seen in (stock, status):
            assert seen.wait_for(arrived(jobs[1:2]), PATIENCE)
        wait_until_all_is_published(jobs)
    assert [json.loads(message.payload)["seq"] for message in stock.messages] == [1, 2, 3, 4]
    assert {message.topic for message in stock.messages} == {"stock/fetch/S1"}
