"""The charts of the page "Stock data": what they draw of the readings, and what they say to who cannot see them."""

import html
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from console.dashboard.charts import Chart, Charts, Line
from market.models import SourceUse, Stock
from operations.models import Reading
from operations.monitoring import alerts, health, readings
from operations.monitoring.health import Readiness
from portfolio.models import Login
from tasks.models import Job, JobRequest
from tests.conftest import ROOT
from tests.support.jobs import new_job

pytestmark = pytest.mark.django_db

PAGE = "/admin/operations/stockdata/"
CHARTS = "/admin/operations/stockdata/charts/"
Show = Callable[..., Charts]


@pytest.fixture(autouse=True)
def servers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """servers(database="does not answer"): what a look at the servers finds."""

    def servers(database: str = health.OK) -> None:
        found = Readiness("", {"database": database, "broker": health.OK})
        monkeypatch.setattr(health, "readiness", lambda: found)

    servers()
    return servers


@pytest.fixture
def show(admin_client: Client) -> Show:
    """show("day"): the charts as they are drawn now."""

    def show(period: str = "hour") -> Charts:
        answer = admin_client.get(CHARTS, {"charts": period})
        assert answer.status_code == 200
        found: Charts = answer.context["charts"]
        return found

    return show


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reading]:
    """measure(5, failed=3): a reading of five minutes ago. Time stands still: no minute ends in such a test."""
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)

    def measure(minutes: float = 0, **figures: Any) -> Reading:
        moment = timezone.now() - timedelta(minutes=minutes)
        return Reading.objects.create(minute=int(moment.timestamp()) // 60, at=moment, **figures)

    return measure


def chart(charts: Charts, key: str) -> Chart:
    return next(one for one in charts.charts if one.key == key)


def line(charts: Charts, key: str, label: str) -> Line:
    return next(one for one in chart(charts, key).lines if one.label == label)


def words(answer: Any) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())).split())


def test_there_is_a_chart_of_each_of_what_an_operator_asks_about(show, configured):
    configured(**{"stock_jobs.data_fetch.sources": ["yahoo_finance", "sample", "cached"]})
    types = ["stock_fetch", "stock_batch_fetch", "stock_analysis", "stock_research"]
    assert {one.key: [line.label for line in one.lines] for one in show().charts} == {
        "waiting": ["foreground", "background_fetch", "background_analysis", "oldest"],
        "ended": ["completed", "failed", "expired", "cancelled"],
        "wait": types,
        "run": types,
        "login": ["median", "95th percentile"],
        "instant": ["instant"],
        "coverage": ["fresh"],
        "requests": ["yahoo_finance", "sample"],
    }


def test_the_age_of_the_oldest_job_is_drawn_over_the_queues_along_an_axis_of_its_own(show, measure):
    measure(waiting_foreground=40, oldest_waiting=700)
    found = chart(show(), "waiting")
    jobs, age = found.axes
    assert [label for _, label in jobs.ticks] == ["0", "10", "20", "30", "40"]
    assert [label for _, label in age.ticks] == ["0", "5 min", "10 min", "15 min"]
    assert age.unit.title == "oldest"
    assert found.lines[-1].style == "over"


def test_minutes_in_which_nobody_measured_are_a_gap_and_neither_zero_nor_bridged(show, measure):
    for minutes in (20, 19, 18, 10, 9, 8):
        measure(minutes, failed=3)
    found = chart(show(), "ended")
    failed = next(one for one in found.lines if one.label == "failed")
    assert failed.path.count("M") == 2
    assert failed.path.count("L") == 4
    rows = [cells for _, cells in found.rows]
    assert rows.count(["", "3", "", ""]) == 6
    assert rows.count(["", "", "", ""]) == 54
    assert [round(width / ((found.frame.right - found.frame.left) / 60)) for _, width in found.gaps] == [39, 7, 7]
    assert "No data at 53 of 60 points." in found.description


def test_the_minute_that_is_not_over_is_no_gap_yet(show, measure):
    for minutes in range(1, 61):
        measure(minutes)
    assert chart(show(), "ended").gaps == []


def test_a_figure_that_is_missing_in_what_was_measured_breaks_its_line_and_is_no_gap(show, measure):
    for minutes in range(60):
        measure(minutes, login_p50=None if minutes == 30 else 4)
    found = chart(show(), "login")
    assert found.lines[0].path.count("M") == 2
    assert found.gaps == []


@pytest.mark.parametrize(
    ("period", "ticks"),
    [("hour", r"\d\d:(00|15|30|45)"), ("day", r"(00|06|12|18):00"), ("week", "Mon|Tue|Wed|Thu|Fri|Sat|Sun")],
)
def test_the_axis_of_time_has_its_ticks_at_round_times(show, period, ticks):
    times = chart(show(period), "ended").times
    assert len(times) == {"hour": 4, "day": 4, "week": 7}[period]
    assert all(re.fullmatch(ticks, label) for _, label in times)
    xs = [x for x, _ in times]
    assert xs == sorted(xs)


def test_ticks_and_rows_are_in_the_time_zone_of_the_page(show, settings, measure):
    utc = chart(show("week"), "ended").rows[0][0]
    settings.TIME_ZONE = "Asia/Kolkata"
    found = chart(show("week"), "ended")
    then, now = (datetime.strptime(text, "%a %d %H:%M") for text in (utc, found.rows[0][0]))  # noqa: DTZ007
    assert (now - then).seconds == 5.5 * 3600
    assert len(found.times) == 7


def test_the_latest_values_are_links_to_what_they_count(show, admin_client, user, hold, configured):
    configured(**{"stock_jobs.data_fetch.sources": ["yahoo_finance", "cached"]})
    hold(user, "HELD", "NOT")
    Stock.objects.filter(symbol="HELD").update(checked_at=timezone.now())
    SourceUse.objects.create(source="yahoo_finance", granted_at=timezone.now(), requests=7)
    oldest = new_job("OLD", created_at=timezone.now() - timedelta(minutes=12))
    waits = {oldest.pk, new_job("NEW", "queued").pk}
    new_job("RUNS", "running")
    seconds: dict[str, Any] = {"queued_at": timezone.now() - timedelta(seconds=30), "started_at": timezone.now()}
    done = [new_job(f"D{number}", "completed", **seconds).pk for number in range(3)]
    failed = new_job("F", "failed", **seconds).pk
    new_job("LONG-AGO", "failed", finished_at=timezone.now() - timedelta(minutes=61))
    request = JobRequest.objects.create(job_id=done[0], user=user, trigger="user_login")
    alerts.check()
    new_job("LATER", "failed")
    charts = show()

    def rows(key: str, label: str) -> tuple[str, set[Any]]:
        latest = line(charts, key, label).latest
        assert latest is not None
        answer = admin_client.get(latest.link)
        assert answer.status_code == 200
        return latest.text, set(answer.context["cl"].queryset.values_list("pk", flat=True))

    assert rows("waiting", "foreground") == ("2", waits)
    assert rows("waiting", "oldest") == ("12 min", {oldest.pk})
    assert rows("ended", "completed") == ("3", set(done))
    assert rows("ended", "failed") == ("1", {failed})
    assert rows("wait", "stock_fetch")[1] == rows("run", "stock_fetch")[1] == {*done, failed}
    assert rows("login", "median")[1] == rows("login", "95th percentile")[1] == {request.pk}
    assert rows("coverage", "fresh") == ("50%", {Stock.objects.get(symbol="HELD").pk})
    assert rows("requests", "yahoo_finance")[0] == "7"


def test_the_share_of_instant_logins_is_shown_without_a_link_because_it_has_no_list(show, admin_client):
    Login.objects.bulk_create(Login(at=timezone.now(), stocks=2, stale=stale) for stale in (0, 0, 0, 2))
    alerts.check()
    latest = line(show(), "instant", "instant").latest
    assert latest is not None
    assert (latest.text, latest.link) == ("75%", "")
    shown = admin_client.get(CHARTS).content.decode()
    assert "<strong>75%</strong>" in shown
    assert 'href=""' not in shown


def test_what_was_measured_some_minutes_ago_is_not_the_latest(show, measure, admin_client):
    reading = measure(4, failed=3)
    charts = show()
    assert line(charts, "ended", "failed").latest is None
    assert f"since {reading.at:%Y-%m-%d %H:%M}" in charts.trouble
    assert "Beat and a worker collect the data" in words(admin_client.get(CHARTS))
    measure(2, failed=3)
    assert show().trouble == ""


def test_an_empty_system_is_told_in_words(admin_client, configured):
    shown = words(admin_client.get(CHARTS))
    assert "No data yet." in shown
    assert shown.count("no values") == 8
    configured(**{"monitoring.enabled": False})
    assert "No data is collected, because monitoring.enabled is false." in words(admin_client.get(CHARTS))


def test_a_picture_has_a_title_a_description_and_a_table_of_the_same_values(admin_client, measure, show):
    measure(2, waiting_foreground=1_204, oldest_waiting=65)
    measure(1, waiting_foreground=7, oldest_waiting=5)
    shown = admin_client.get(CHARTS).content.decode()
    pictures = re.findall(r'<svg [^>]*role="img" aria-labelledby="([^"]+)">(.*?)</svg>', shown, re.DOTALL)
    assert len(pictures) == 8
    for names, picture in pictures:
        title, description = names.split()
        assert f'<title id="{title}">' in picture
        assert f'<desc id="{description}">' in picture
    found = chart(show(), "waiting")
    assert "foreground: 7 to 1,204" in found.description
    assert "oldest: 5.00 s to 1 min 5 s" in found.description
    assert ["1,204", "", "", "1 min 5 s"] in [cells for _, cells in found.rows]
    tables = re.findall(r"<details.*?<summary>.*?<table>.*?<caption>.*?</table>.*?</details>", shown, re.DOTALL)
    assert len(tables) == 8
    assert "1,204" in tables[0]
    ids = re.findall(r'\bid="([^"]+)"', shown)
    assert len(ids) == len(set(ids))


def test_lines_are_told_apart_by_their_marks_and_strokes_and_not_by_colour_alone(show, measure):
    for minutes in range(60):
        measure(minutes, completed=1, failed=2, expired=3, cancelled=4)
    lines = chart(show(), "ended").lines
    assert len({one.sample for one in lines}) == len({one.style for one in lines}) == 4
    style = (ROOT / "console" / "static" / "operations" / "stock_data.css").read_text()
    strokes = re.findall(r"\.sd-line-[234] \{[^}]*stroke-dasharray: ([^;]+);", style)
    assert len(set(strokes)) == 3


@pytest.mark.parametrize("period", ["hour", "day", "week"])
def test_the_address_says_how_far_back_and_refreshes_keep_that(admin_client, period):
    shown = admin_client.get(PAGE, {"charts": period}).content.decode()
    assert f'data-address="{CHARTS}?charts={period}" data-every="60"' in shown
    assert f'<a href="?charts={period}#sd-charts" aria-current="page">' in shown
    assert shown.count('aria-current="page">') == 1
    assert f"The last {period}" in shown
    assert f"The last {period}" in words(admin_client.get(CHARTS, {"charts": period}))


@pytest.mark.parametrize("text", ["", "year", "HOUR", "day ", "<script>", "\x00", "day&charts=week"])
def test_an_address_that_names_no_period_shows_the_hour(admin_client, text):
    for path in (PAGE, CHARTS):
        answer = admin_client.get(path, {"charts": text})
        assert answer.status_code == 200
        assert answer.context["charts"].period.title == "hour"
        assert "<script>" not in answer.content.decode().replace("<script src", "")


def test_the_number_of_queries_does_not_depend_on_what_was_measured(admin_client, measure):
    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            assert admin_client.get(CHARTS, {"charts": "week"}).status_code == 200
        return len(found)

    few = queries()
    now = timezone.now()
    last = int(now.timestamp()) // 60
    Reading.objects.bulk_create(
        Reading(minute=last - number, at=now - timedelta(minutes=number), failed=number, requests={"sample": 1})
        for number in range(10_080)
    )
    assert queries() == few <= 5


def test_a_week_that_was_measured_is_shown_to_its_last_minute(show, measure):
    measure(0, failed=9)
    measure(7 * 24 * 60 - 61, failed=4)
    rows = [cells[1] for _, cells in chart(show("week"), "ended").rows]
    assert rows[0] == "9"
    assert "4" in rows[-2:]


def test_the_charts_are_only_read(admin_client):
    assert admin_client.post(CHARTS).status_code == 405


@pytest.mark.parametrize("is_staff", [False, True])
def test_nobody_gets_charts_without_the_permission_and_an_open_page_is_led_to_the_login(
    client, django_user_model, is_staff
):
    someone = django_user_model.objects.create_user("someone", is_staff=is_staff)
    client.force_login(someone)
    answer = client.get(CHARTS)
    assert (answer.content, answer["HX-Refresh"]) == (b"", "true")
    if is_staff:
        someone.user_permissions.add(Permission.objects.get(codename="view_stockdata"))
        assert client.get(CHARTS).content


def test_while_the_database_is_away_the_charts_say_so(admin_client, servers, monkeypatch):
    def fail() -> None:
        raise OperationalError("the address of the server")

    with monkeypatch.context() as patch:
        patch.setattr(readings, "latest", fail)
        answer = admin_client.get(CHARTS)
        assert (answer.status_code, "The database does not answer" in answer.content.decode()) == (503, True)
    servers(database="does not answer")
    assert admin_client.get(CHARTS).status_code == 503


def test_charts_need_no_script_and_no_style_of_their_own(admin_client, measure):
    measure(1, failed=3, oldest_waiting=3)
    shown = admin_client.get(CHARTS).content.decode()
    assert not re.search(r"<script|<style|\bstyle=|\bon\w+=|\bhx-", shown)


def test_a_job_that_ends_later_is_not_in_the_list_of_what_was_counted(show, admin_client):
    new_job("A", "completed")
    alerts.check()
    new_job("B", "completed")
    latest = line(show(), "ended", "completed").latest
    assert latest is not None
    found = admin_client.get(latest.link).context["cl"].queryset
    assert [job.symbol for job in found] == ["A"]
    assert Job.objects.count() == 2
