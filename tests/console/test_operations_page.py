"""The admin's page "Stock data": each figure against a state made by hand, and the list that it leads to."""

import html
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from console.dashboard import links
from console.dashboard.links import Figure
from console.dashboard.page import Page
from console.dashboard.status_lights import Light
from market.models import Analysis, SourceState, SourceUse, Stock
from mqtt_bridge.leadership import Lease
from mqtt_bridge.models import BridgeLease
from operations.models import Alert
from operations.monitoring import health
from operations.monitoring.health import Readiness
from portfolio.models import PortfolioPriority
from tasks.models import Job, JobEvent, JobRequest
from tests.support.jobs import new_job
from tests.support.lists import figures_in, rows_of
from tests.support.workers import new_worker

pytestmark = pytest.mark.django_db

PAGE = "/admin/operations/stockdata/"
FIGURES = "/admin/operations/stockdata/figures/"
Look = Callable[[], Page]


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """servers(broker="does not answer"): what a look at the servers finds; test_health.py looks at real ones."""

    def servers(database: str = health.OK, broker: str = health.OK) -> None:
        found = Readiness("", {"database": database, "broker": broker})
        monkeypatch.setattr(health, "readiness", lambda: found)

    servers()
    return servers


@pytest.fixture
def look(admin_client: Client, servers: Callable[..., None]) -> Look:
    """look(): what the page shows now."""

    def look() -> Page:
        answer = admin_client.get(FIGURES)
        assert answer.status_code == 200
        page: Page = answer.context["page"]
        return page

    return look


@pytest.fixture
def words(admin_client: Client, servers: Callable[..., None]) -> Callable[[], str]:
    """words(): the text of the page now, without tags."""

    def words() -> str:
        shown = re.sub(r"<[^>]+>", " ", admin_client.get(FIGURES).content.decode())
        return " ".join(html.unescape(shown).split())

    return words


@pytest.fixture
def rows(admin_user: User) -> Callable[[Figure], set[Any]]:
    """rows(figure): the keys of what the list that it leads to has."""
    return lambda figure: set(rows_of(figure.link, admin_user))


def sql(query: str, *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchone()[0]


def ago(**time: float) -> Any:
    return timezone.now() - timedelta(**time)


def light(page: Page, name: str) -> Light:
    return next(one for one in page.lights if one.name == name)


def test_each_queue_shows_its_jobs_by_priority_and_state_and_leads_to_them(look, rows):
    states = ("pending", "queued", "running")
    bands = {"foreground": (1, 3), "background_fetch": (4, 5), "background_analysis": (8, 10)}
    for queue, priorities in bands.items():
        for priority in priorities:
            for count, state in enumerate(states, start=1):
                for number in range(count):
                    new_job(f"{queue[-5:]}{priority}{state}{number}".upper(), state, queue=queue, priority=priority)
    new_job("ENDED", "completed")
    cards = look().queues
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
                found = Job.objects.filter(pk__in=rows(figure))
                assert [(job.queue, job.priority, job.status) for job in found] == [
                    (card.queue, int(bar.label), state)
                ] * expected
        assert card.waiting.text == "6"
        assert len(rows(card.waiting)) == 6


def test_the_longest_bar_is_full_and_the_others_are_in_proportion(look):
    for number in range(3):
        new_job(f"A{number}", priority=1)
    new_job("B", "running", priority=1)
    new_job("C", "queued", priority=2)
    first, second, third = look().queues[0].bars
    assert (list(first.shares), list(second.shares), list(third.shares)) == ([75, 0, 25], [0, 25, 0], [0, 0, 0])


def test_the_oldest_job_that_waits_is_shown_and_led_to(look, rows):
    oldest = new_job("A", created_at=ago(minutes=12, seconds=5))
    new_job("B", "queued", created_at=ago(minutes=5))
    new_job("C", "running", created_at=ago(hours=5))
    foreground, background, _ = look().queues
    assert foreground.oldest.text.startswith("12 min ")
    assert rows(foreground.oldest) == {oldest.pk}
    assert background.oldest is None


def test_a_queue_is_empty_when_what_waits_has_ended_at_the_pace_of_the_last_five_minutes(look, rows):
    ended = {new_job(f"E{number}", "completed", finished_at=ago(minutes=4)).pk for number in range(6)}
    new_job("EARLIER", "completed", finished_at=ago(minutes=6))
    for number in range(12):
        new_job(f"W{number}")
    new_job("OTHER", queue="background_fetch", priority=5)
    foreground, fetch, analysis = look().queues
    assert foreground.empty.text == "in about 10 min"
    assert foreground.ended.text == "6"
    assert rows(foreground.ended) == ended
    assert fetch.empty.text == "unknown"
    assert analysis.empty.text == "now"


def test_workers_are_shown_with_their_use_and_efficiency_and_gone_ones_as_gone(look, rows, words):
    new_worker("busy@here:1", concurrency=4)
    new_worker("idle@here:2", concurrency=2)
    new_worker("lost@here:3", concurrency=8, heartbeat_at=ago(minutes=5))
    new_worker("stopped@here:4", stopped_at=timezone.now())
    running = {new_job(symbol, "running", worker_id="busy@here:1").pk for symbol in "ABC"}
    new_job("D", "running", worker_id="direct@here:5")
    ended = {new_job(symbol, "completed", worker_id="busy@here:1").pk for symbol in "EFG"}
    ended.add(new_job("H", "failed", worker_id="busy@here:1").pk)
    new_job("I", "failed", worker_id="busy@here:1", finished_at=ago(minutes=61))
    page = look()
    found = {row.worker.text: row for row in page.workers}
    assert set(found) == {"busy@here:1", "idle@here:2", "lost@here:3", "direct@here:5"}
    busy = found["busy@here:1"]
    assert (busy.state, busy.running.text, busy.use.text, busy.efficiency.text) == ("alive", "3 of 4", "75%", "75%")
    assert rows(busy.running) == rows(busy.use) == running
    assert rows(busy.efficiency) == rows(busy.jobs_per_minute) == ended
    assert (found["idle@here:2"].use.text, found["idle@here:2"].efficiency) == ("0%", None)
    assert (found["lost@here:3"].state, found["lost@here:3"].use) == ("gone", None)
    assert (found["direct@here:5"].state, found["direct@here:5"].use) == ("", None)
    assert "lost@here:3 gone" in words()
    together = dict(page.workforce)
    assert together["processes busy"].text == "3 of 6"
    assert together["utilisation"].text == "50%"
    assert together["efficiency"].text == "75%"
    assert together["alive"].text == "2"
    assert len(rows(together["alive"])) == 2
    assert together["gone"].text == "1"
    assert len(rows(together["gone"])) == 1


def test_a_gone_worker_that_another_of_its_name_came_after_is_shown_as_replaced_and_not_counted(look, rows):
    new_worker("name@here:1", heartbeat_at=ago(minutes=5))
    new_worker("name@here:2")
    page = look()
    assert {row.worker.text: row.state for row in page.workers} == {"name@here:1": "replaced", "name@here:2": "alive"}
    gone = dict(page.workforce)["gone"]
    assert (gone.text, rows(gone)) == ("0", set())


@pytest.mark.parametrize(
    ("said", "state", "text"),
    [
        ("ok", "good", "answers"),
        ("does not answer", "bad", "does not answer"),
        (health.STOOD_IN_FOR, "bad", "does not answer"),
        (health.NOT_NEEDED, "good", "not needed: direct processing"),
    ],
)
def test_the_brokers_light_says_what_the_look_at_it_found(look, servers, said, state, text):
    servers(broker=said)
    found = light(look(), "Broker")
    assert (found.state, found.text) == (state, text)


def test_the_lights_of_beat_and_bridge_tell_those_that_were_never_here_from_silent_ones(look):
    def states() -> list[str]:
        page = look()
        return [light(page, name).state for name in ("Beat", "MQTT bridge")]

    assert states() == ["unknown", "unknown"]
    assert Lease().acquire()
    PeriodicTask.objects.filter(task="stockqueue.sweep").update(last_run_at=timezone.now())
    assert states() == ["good", "good"]
    BridgeLease.objects.update(renewed_at=ago(minutes=2))
    PeriodicTask.objects.filter(task="stockqueue.sweep").update(last_run_at=ago(minutes=12))
    assert states() == ["bad", "bad"]
    assert light(look(), "MQTT bridge").text.startswith("last seen 2 min ")


def test_the_light_of_beat_says_that_its_clock_is_ahead(look):
    PeriodicTask.objects.filter(task="stockqueue.sweep").update(last_run_at=ago(minutes=-62))
    found = light(look(), "Beat")
    assert found.state == "bad"
    assert re.fullmatch(r"last seen 1 h \d+ min in the future: its clock is or was ahead", found.text)


def test_the_bridges_light_tells_what_waits_and_what_is_set_aside(look, rows):
    for symbol in "ABC":
        new_job(symbol)
    first, second, *others = JobEvent.objects.order_by("id")
    JobEvent.objects.filter(pk=first.pk).update(published_at=timezone.now())
    JobEvent.objects.filter(pk=second.pk).update(error="too large")
    _, waiting, aside = light(look(), "MQTT bridge").figures
    assert (len(others), waiting.text.startswith("1 unpublished event, the oldest for ")) == (1, True)
    assert rows(waiting) == {event.pk for event in others}
    assert aside.text == "1 dead letter"
    assert rows(aside) == {second.pk}


def test_a_sources_light_tells_its_budget_and_its_cool_down(look, configured):
    configured(**{"stock_jobs.data_fetch.rate_limit": 60, "stock_jobs.data_fetch.sources": ["yahoo_finance"]})
    SourceUse.objects.create(source="yahoo_finance", granted_at=ago(seconds=5), requests=7)
    found = light(look(), "Yahoo Finance")
    assert (found.state, found.text) == ("good", "available")
    assert found.figures[0].text == "7 of 60 requests in the last minute"
    SourceUse.objects.create(source="yahoo_finance", granted_at=ago(seconds=5), requests=53)
    assert light(look(), "Yahoo Finance").text == "rate limit reached"
    SourceState.objects.create(source="yahoo_finance", cooldown_until=timezone.now() + timedelta(seconds=200))
    found = light(look(), "Yahoo Finance")
    assert found.state == "bad"
    assert re.fullmatch(r"paused until \d\d:\d\d:\d\d, for 3 min \d+ s more", found.text)


def test_a_banner_tells_why_direct_processing_is_on(look, servers, configured, rows):
    assert look().banner == ""
    job = new_job("A", "running", worker_id="direct@here:1")
    page = look()
    assert page.banner == "Direct processing is on: a process that could not reach the broker runs jobs itself."
    assert page.banner_jobs.text == "1 job running"
    assert rows(page.banner_jobs) == {job.pk}
    servers(broker=health.STOOD_IN_FOR)
    assert "the broker does not answer" in look().banner
    servers(broker=health.NOT_NEEDED)
    assert "queue.backend is direct" in look().banner
    servers()
    configured(**{"integration.rollout_percent": 30})
    assert "integration.rollout_percent is 30" in look().banner


def logged_in(user: Any, job: Job, before: float) -> JobRequest:
    """The user's login, so many seconds before the job's end."""
    moment = (job.finished_at or timezone.now()) - timedelta(seconds=before)
    return JobRequest.objects.create(job=job, user=user, trigger="user_login", created_at=moment)


def test_the_time_from_login_to_the_last_holding_fresh_is_shown(look, rows, django_user_model):
    fresh = set()
    for seconds in range(11, 31):
        other = django_user_model.objects.create_user(f"someone{seconds}")
        fresh.add(logged_in(other, new_job(f"S{seconds}", "completed"), seconds).pk)
    waiting = logged_in(django_user_model.objects.create_user("waits"), new_job("W", "running"), 30).pk
    lost = logged_in(django_user_model.objects.create_user("lost"), new_job("L", "failed"), 9).pk
    logged_in(django_user_model.objects.create_user("early"), new_job("E", "completed", finished_at=ago(hours=2)), 99)
    found = look().logins
    times, results = dict(found.seconds), dict(found.results)
    assert (times["median"].text, times["95th percentile"].text) == ("20 s", "29 s")
    assert {word: figure.text for word, figure in results.items()} == {
        "fresh": "20",
        "incomplete": "1",
        "waiting": "1",
    }
    assert rows(times["median"]) == rows(times["95th percentile"]) == rows(results["fresh"]) == fresh
    assert rows(results["incomplete"]) == {lost}
    assert rows(results["waiting"]) == {waiting}


def test_a_login_is_listed_as_the_request_that_decided_what_became_of_it(look, rows, django_user_model):
    ended = timezone.now()
    jobs = {
        "early": new_job("EARLY", "completed", finished_at=ended - timedelta(seconds=2)),
        "last": new_job("LAST", "completed", finished_at=ended),
        "cached": new_job("CACHED", "completed", finished_at=ended, result={"source": "cached"}),
        "failed": new_job("FAILED", "failed", finished_at=ended),
        "queued": new_job("QUEUED", "queued"),
    }
    deciding = {
        "fresh": ("last", ["early", "last"]),
        "incomplete": ("cached", ["last", "cached", "failed"]),
        "waiting": ("queued", ["failed", "last", "queued"]),
    }
    expected = {}
    for result, (decides, names) in deciding.items():
        user = django_user_model.objects.create_user(result)
        for number, name in enumerate(names):
            moment = ended - timedelta(seconds=30 - number)
            wish = JobRequest.objects.create(job=jobs[name], user=user, trigger="user_login", created_at=moment)
            if name == decides:
                expected[result] = {wish.pk}
    assert {result: rows(figure) for result, figure in look().logins.results} == expected


def test_a_result_that_no_login_can_have_lists_none(rows):
    assert rows(Figure("", links.job_requests(login="lost"))) == set()


def test_held_stocks_are_shown_by_state_and_by_age(look, rows, user, hold):
    hold(user, "NEW", "OLD", "OLDER", "NEVER", "PARKED")
    checked = {"NEW": 3, "OLD": 50, "OLDER": 2000, "PARKED": 20_000}
    for symbol, minutes in checked.items():
        Stock.objects.filter(symbol=symbol).update(checked_at=ago(minutes=minutes))
    Stock.objects.filter(symbol="PARKED").update(status="unknown")
    Stock.objects.create(symbol="NOBODYS", checked_at=ago(minutes=3))
    page = look()
    assert [(words, figure.text) for words, figure in page.stock_states] == [
        ("fresh", "1"),
        ("stale", "2"),
        ("never checked", "1"),
        ("parked", "1"),
    ]
    symbols = [
        set(Stock.objects.filter(pk__in=rows(figure)).values_list("symbol", flat=True))
        for _, figure in page.stock_states
    ]
    assert symbols == [{"NEW"}, {"OLD", "OLDER"}, {"NEVER"}, {"PARKED"}]
    ages = {bar.label: bar.figures[0] for bar in page.ages if bar.figures[0].text != "0"}
    expected = {"never": "NEVER", "under 5 minutes": "NEW", "30 to 60 minutes": "OLD", "1 to 7 days": "OLDER"}
    assert {label: figure.text for label, figure in ages.items()} == dict.fromkeys(expected, "1")
    for label, symbol in expected.items():
        assert rows(ages[label]) == {Stock.objects.get(symbol=symbol).pk}
    assert sum(int(bar.figures[0].text) for bar in page.ages) == sql(
        "SELECT COUNT(DISTINCT stock_id) FROM portfolio_holding JOIN market_stock ON market_stock.id = stock_id"
        " WHERE market_stock.status = 'active'"
    )


def test_the_ten_stalest_stocks_are_named_those_never_checked_first(look, rows, user, hold):
    hold(user, "^NEVER", *(f"S{hours}" for hours in range(1, 15)))
    for hours in range(1, 15):
        Stock.objects.filter(symbol=f"S{hours}").update(checked_at=ago(hours=hours))
    worst = look().worst_stocks
    assert [one.symbol.text for one in worst] == ["^NEVER", *(f"S{hours}" for hours in range(14, 5, -1))]
    assert [worst[0].age.text, worst[1].age.text] == ["never checked", "14 h ago"]
    assert rows(worst[0].symbol) == {Stock.objects.get(symbol="^NEVER").pk}


def test_coverage_is_shown_by_portfolio_the_least_fresh_first(look, rows, user, hold, django_user_model):
    other = django_user_model.objects.create_user("other")
    hold(user, "A", "B", "C", "D")
    hold(other, "A")
    Stock.objects.filter(symbol="A").update(checked_at=timezone.now())
    page = look()
    assert [(one.user, one.fresh.text, one.share) for one in page.coverage] == [
        (user.username, "1 of 4", 25),
        ("other", "1 of 1", 100),
    ]
    assert len(rows(page.coverage[0].portfolio)) == 4
    assert page.covered.text == "2 of 5"
    assert len(rows(page.covered)) == 5
    assert page.share_covered.text == "25%"
    assert rows(page.share_covered) == {Stock.objects.get(symbol="A").pk}


def test_the_ten_highest_scores_are_named_with_what_is_known_of_their_stocks(look, rows, words, user):
    assert "No user with holdings has logged in yet." in words()
    stocks = Stock.objects.bulk_create(Stock(symbol=f"S{number:02}") for number in range(14))
    tracked = [
        PortfolioPriority.objects.create(user=user, stock=stock, priority_score=100 + 10 * number)
        for number, stock in enumerate(stocks)
    ]
    PortfolioPriority.objects.filter(pk=tracked[13].pk).update(is_active=False)
    Stock.objects.filter(symbol="S12").update(checked_at=ago(minutes=3))
    Stock.objects.filter(symbol="S11").update(checked_at=ago(hours=3))
    Analysis.objects.create(stock=stocks[12], kind="technical", version="1", created_at=ago(hours=5))
    Analysis.objects.create(stock=stocks[12], kind="sentiment", version="1", created_at=ago(hours=2))
    page = look()
    assert [one.stock.text for one in page.tracked] == [f"S{number:02}" for number in range(12, 2, -1)]
    first, second, third = page.tracked[:3]
    assert (first.user, first.score.text, first.state) == (user.username, "220", "fresh")
    assert (first.fetched, first.analysed) == ("3 min ago", "2 h ago")
    assert (second.state, second.fetched, second.analysed) == ("stale", "3 h ago", "never")
    assert (third.state, third.data, third.fetched) == ("never", "never fetched", "never")
    assert rows(first.stock) == {stocks[12].pk}
    assert rows(first.score) == {tracked[12].pk}
    assert rows(page.all_tracked) == {one.pk for one in tracked[:13]}


def test_failures_are_counted_by_reason_and_lead_to_these_jobs(look, rows):
    silent = {
        new_job(symbol, "failed", error=f"Yahoo Finance answered 503 for {symbol}").pk for symbol in ("AAPL", "MSFT")
    }
    unknown = {new_job("ZZ", "failed", error="Yahoo Finance does not know it & never did").pk}
    expired = {new_job("TT", "expired", error="Waited too long").pk}
    new_job("OLD", "failed", error="Yahoo Finance answered 503 for OLD", finished_at=ago(hours=25))
    new_job("FINE", "completed")
    failures = look().failures
    assert [(one.jobs.text, one.status, one.reason) for one in failures] == [
        ("2", "failed", "Yahoo Finance answered 503"),
        ("1", "expired", "Waited too long"),
        ("1", "failed", "Yahoo Finance does not know it & never did"),
    ]
    assert [rows(one.jobs) for one in failures] == [silent, expired, unknown]


def alert(name: str, state: str, **fields: Any) -> Alert:
    known = {"value": 9, "worst": 9, "threshold": 5, "text": f"{name} is out of bounds."}
    return Alert.objects.create(name=name, state=state, **(known | fields))


def test_open_alerts_are_shown_with_who_looks_after_them(look, rows, words, admin_user):
    ours = alert("job-age", "raised", acknowledged_by=admin_user, acknowledged_at=timezone.now())
    nobodys = alert("queue-depth", "raised")
    alert("outbox-age", "suspected")
    alert("beat-silent", "cleared", cleared_at=timezone.now())
    page = look()
    assert page.alert_count.text == "2"
    assert rows(page.alert_count) == {ours.pk, nobodys.pk}
    assert {(one.text.text, one.looked_after_by) for one in page.alerts} == {
        (ours.text, admin_user.username),
        (nobodys.text, ""),
    }
    assert rows(page.alerts[0].text) == {nobodys.pk}
    assert "not acknowledged" in words()
    assert "job-age" in page.summary


def test_every_link_of_a_full_page_leads_to_a_list(admin_client, look, user, hold, servers):
    servers(broker=health.STOOD_IN_FOR)
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


def test_an_empty_system_is_told_in_words(words):
    shown = words()
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


def test_the_number_of_queries_does_not_grow(admin_client, servers, user, hold):
    def ask_with(*symbols: str) -> int:
        hold(user, *symbols)
        for symbol in symbols:
            new_job(symbol, "running", worker_id=f"{symbol}@here:1")
            new_worker(f"{symbol}@here:1")
            logged_in(user, new_job(f"{symbol}X", "failed", error=f"no {symbol}"), 5)
            alert(f"alert-{symbol}", "raised", acknowledged_by=user)
            stock = Stock.objects.get(symbol=symbol)
            PortfolioPriority.objects.create(user=user, stock=stock)
            Analysis.objects.create(stock=stock, kind="technical", version="1")
        with CaptureQueriesContext(connection) as queries:
            assert admin_client.get(FIGURES).status_code == 200
        return len(queries)

    few = ask_with("ONE")
    assert ask_with(*(f"S{number}" for number in range(40))) == few < 40


def test_the_navigation_leads_to_the_page(admin_client, servers):
    assert f'href="{PAGE}"' in admin_client.get("/admin/").content.decode()
    shown = admin_client.get(PAGE).content.decode()
    assert reverse("admin:operations_stockdata_changelist") == PAGE
    assert "Stock data" in shown
    assert f'data-address="{FIGURES}"' in shown


def test_scripts_and_styles_come_from_this_site_and_htmx_from_its_package(admin_client, servers):
    shown = admin_client.get(PAGE).content.decode()
    sources = re.findall(r'<(?:script|link)[^>]*\b(?:src|href)="([^"]*)"', shown)
    assert all(source.startswith("/static/") for source in sources)
    assert "/static/django_htmx/htmx-2.min.js" in sources


def test_each_section_has_a_heading_and_each_table_a_caption(admin_client, servers, user, hold):
    PortfolioPriority.objects.create(user=user, stock=hold(user, "AAPL")[0])
    new_worker()
    new_job("B", "failed", error="no")
    shown = admin_client.get(FIGURES).content.decode()
    labels = re.findall(r'<section [^>]*aria-labelledby="([^"]+)"', shown)
    assert len(labels) == shown.count("<section ")
    assert all(f'<h2 id="{label}">' in shown for label in labels)
    assert shown.count("<table>") == shown.count("<caption>") == 9


@pytest.mark.parametrize("path", [PAGE, FIGURES])
def test_the_page_is_only_read(admin_client, servers, path):
    assert admin_client.post(path).status_code == 405


@pytest.mark.parametrize("is_staff", [False, True])
def test_nobody_sees_it_without_the_permission(client, servers, django_user_model, is_staff):
    someone = django_user_model.objects.create_user("someone", is_staff=is_staff)
    client.force_login(someone)
    answer = client.get(PAGE)
    assert answer.status_code == (403 if is_staff else 302)
    assert client.get(FIGURES).content == b""
    if is_staff:
        assert "Stock data" not in client.get("/admin/").content.decode()


def test_staff_with_the_permission_see_it_and_it_is_in_their_navigation(client, servers, django_user_model):
    staff = django_user_model.objects.create_user("staff", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_stockdata"))
    client.force_login(staff)
    assert client.get(PAGE).status_code == 200
    assert client.get(FIGURES).status_code == 200
    assert f'href="{PAGE}"' in client.get("/admin/").content.decode()


def test_a_visitor_is_led_to_the_login_and_an_open_page_too_once_its_session_is_over(client, servers):
    assert client.get(PAGE).url == f"/admin/login/?next={PAGE}"
    answer = client.get(FIGURES)
    assert answer.status_code == 200
    assert answer["HX-Refresh"] == "true"  # the browser asks for the whole page


def test_while_the_database_is_away_both_the_page_and_its_figures_say_so(client, servers):
    servers(database="does not answer")
    for path in (PAGE, FIGURES):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "The database does not answer" in answer.content.decode()
    assert '<meta http-equiv="refresh" content="5">' in client.get(PAGE).content.decode()


def test_a_database_that_is_lost_half_way_is_told_the_same_way_and_found_again(admin_client, servers, monkeypatch):
    def fail(_rule: object) -> None:
        raise OperationalError("the address of the server\nand more")

    with monkeypatch.context() as patch:
        patch.setattr("operations.monitoring.holdings_freshness.held_stocks", fail)
        for path in (PAGE, FIGURES):
            answer = admin_client.get(path)
            assert answer.status_code == 503
            assert "The database does not answer" in answer.content.decode()
            assert "address of the server" not in answer.content.decode()
    assert admin_client.get(FIGURES).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_database_that_cannot_be_opened_is_noticed_and_so_is_its_return(admin_client, monkeypatch):
    for name, look in (("_database", health._look_at_database), ("_broker", health._look_at_broker)):
        monkeypatch.setattr(health, name, health._Check(look))
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "NAME", "/nonexistent/secret.sqlite3")
        answer = admin_client.get(FIGURES)
        assert (answer.status_code, "secret" in answer.content.decode()) == (503, False)
    assert admin_client.get(FIGURES).status_code == 200
