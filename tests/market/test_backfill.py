"""A backfill fetches only the gaps or all anew, tells its cost first, and may end with a mail."""

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.test import Client, override_settings
from django.utils import timezone

from market.jobs.backfill import Mode, preview
from market.jobs.requests import request_analyses, request_fetches
from market.models import Analysis, Stock
from market.prices.gaps import count_missing_days, missing_days
from operations.local.child_processes import free_port
from stockqueue.config import ConfigError
from stockqueue.config.addresses import email_settings
from tasks.groups import group_jobs
from tasks.models import Job, JobGroup
from tasks.running.execute import JobFailed, run_job
from tasks.upkeep.group_mails import tell_ended_groups
from tests.support.prices import keep, serve, stored_days
from tests.support.standins.yahoo import daily_bars
from tests.support.standins.yahoo_chart import Bar

pytestmark = pytest.mark.django_db

TODAY = datetime.now(UTC).date()
FIRST = date(2024, 1, 2)
LATER = datetime(2024, 2, 1, tzinfo=UTC)
JANUARY = 21
"""Sessions of New York in January 2024, which has New Year's Day and Martin Luther King's."""


def new_year(*, without: Sequence[date] = ()) -> list[Bar]:
    """Bars of AAPL for the sessions of January 2024."""
    bars = daily_bars("AAPL", 23, until=date(2024, 1, 31))
    return [bar for bar in bars if bar.date not in (date(2024, 1, 1), date(2024, 1, 15), *without)]


def backfill(stock: Stock, mode: Mode, start: date = FIRST, end: date | None = date(2024, 1, 31)) -> dict[str, Any]:
    (job,) = request_fetches([stock], Job.Trigger.USER_REQUEST, start=start, end=end, mode=mode).created
    result = run_job(job.pk, "worker")
    assert result
    return result


def days_asked_for(yahoo: Any) -> list[tuple[date, date]]:
    """The first and last day of each request with a range."""
    asked = [request.params for request in yahoo.server.chart_requests()[yahoo.seen_before :]]
    return [
        tuple(datetime.fromtimestamp(int(params[key]), UTC).date() for key in ("period1", "period2"))  # type: ignore[misc]
        for params in asked
        if "period1" in params
    ]


# Gaps


def test_sessions_without_a_bar_are_missing_and_days_without_a_session_are_not(aapl):
    gap = [date(2024, 1, 10), date(2024, 1, 11)]
    keep(aapl, new_year(without=gap))
    assert missing_days(aapl, date(2023, 12, 30), date(2024, 1, 31), LATER) == gap


def test_a_session_that_has_not_ended_is_not_missing(aapl):
    noon = datetime(2024, 1, 3, 17, tzinfo=UTC)
    assert missing_days(aapl, FIRST, date(2024, 1, 31), noon) == [FIRST]


def test_an_exchange_that_never_closes_misses_every_day_before_today():
    bitcoin = Stock.objects.create(symbol="BTC-USD", exchange="CCC")
    now = datetime(2024, 1, 8, 12, tzinfo=UTC)
    assert len(missing_days(bitcoin, date(2024, 1, 1), date(2024, 1, 31), now)) == 7


@pytest.mark.parametrize("exchange", ["BSE", "JPX", "SHH"])
def test_days_before_those_that_a_calendar_knows_are_not_missing(exchange):
    stock = Stock.objects.create(symbol="OLD", exchange=exchange)
    assert missing_days(stock, date(1970, 1, 1), date(1975, 1, 1), LATER) == []
    assert missing_days(stock, date(1970, 1, 1), date(1998, 1, 1), LATER)


def test_counts_of_many_stocks_are_those_of_each_one(aapl):
    keep(aapl, new_year(without=[date(2024, 1, 10), date(2024, 1, 17)]))
    others = [
        Stock.objects.create(symbol=symbol, exchange=exchange, history_starts=starts)
        for symbol, exchange, starts in (
            ("MSFT", "NMS", date(2024, 1, 9)),
            ("LATE", "NMS", date(2025, 1, 1)),
            ("BTC-USD", "CCC", None),
            ("OLD", "BSE", None),
        )
    ]
    # Bars on a Saturday and before the history starts, which no session has.
    keep(others[0], [replace(bar, date=day) for bar in new_year()[:1] for day in (FIRST, date(2024, 1, 13))])
    keep(others[2], new_year()[:5])
    stocks = [aapl, *others, Stock(symbol="UNSAVED")]
    span = (date(2023, 12, 1), date(2024, 1, 31), LATER)
    counted = count_missing_days(stocks, *span)
    assert counted == {stock.symbol: len(missing_days(stock, *span)) for stock in stocks}
    assert (counted["LATE"], counted["MSFT"]) == (0, 16)


def test_counting_takes_one_query_for_each_calendar(aapl, django_assert_num_queries):
    stocks = [aapl, *(Stock(symbol=f"S{number}", exchange="NYQ") for number in range(30)), Stock(symbol="X-USD")]
    stocks[-1].exchange = "CCC"
    with django_assert_num_queries(2):
        count_missing_days(stocks, FIRST, date(2024, 1, 31), LATER)


def test_only_the_gaps_takes_one_request_from_the_first_missing_session_to_the_last(aapl, yahoo):
    serve(yahoo, new_year(), exchange="NMS")
    keep(aapl, new_year(without=[date(2024, 1, 10), date(2024, 1, 17)]))
    result = backfill(aapl, Mode.GAPS)
    assert days_asked_for(yahoo) == [(date(2024, 1, 9), date(2024, 1, 18))]  # with a spare day on both sides
    assert result["records_stored"] == 2
    assert len(stored_days(aapl)) == JANUARY


def test_where_no_session_is_missing_nothing_is_asked_for(aapl, yahoo):
    keep(aapl, new_year())
    result = backfill(aapl, Mode.GAPS)
    assert result["reason"] == "no session from 2024-01-02 to 2024-01-31 is missing"
    assert yahoo.asked_for() == []


def test_days_before_a_stock_was_listed_are_asked_for_once(aapl, yahoo):
    serve(yahoo, new_year(), exchange="NMS")
    backfill(aapl, Mode.GAPS, start=date(2020, 1, 1))
    assert stored_days(aapl)[0] == FIRST
    result = backfill(aapl, Mode.GAPS, start=date(2020, 1, 1))
    assert result["reason"] == "no session from 2020-01-01 to 2024-01-31 is missing"


def test_a_backfill_of_the_past_does_not_count_as_a_check(aapl, yahoo):
    serve(yahoo, new_year(), exchange="NMS")
    backfill(aapl, Mode.UPDATE)
    aapl.refresh_from_db()
    assert aapl.checked_at is None
    backfill(aapl, Mode.UPDATE, end=None)
    aapl.refresh_from_db()
    assert aapl.checked_at is not None


def test_a_range_without_bars_does_not_count_as_a_miss_of_the_stock(aapl, yahoo):
    serve(yahoo, new_year(), exchange="NMS")
    (job,) = request_fetches([aapl], Job.Trigger.USER_REQUEST, start=date(2010, 1, 1), end=date(2010, 2, 1)).created
    with pytest.raises(JobFailed, match="no prices of AAPL in the requested days"):
        run_job(job.pk, "worker")
    aapl.refresh_from_db()
    assert (aapl.misses, aapl.checked_at) == (0, None)


# Replace


def test_replace_removes_bars_between_that_the_source_does_not_have(aapl, yahoo):
    keep(aapl, new_year())
    serve(yahoo, new_year(without=[date(2024, 1, 10)]), exchange="NMS")
    result = backfill(aapl, Mode.REPLACE)
    assert result["records_stored"] == 1
    assert date(2024, 1, 10) not in stored_days(aapl)


def test_replace_removes_bars_from_before_the_sources_first_and_leaves_later_ones(aapl, yahoo):
    keep(aapl, new_year())
    serve(yahoo, new_year()[5:10], exchange="NMS")
    assert backfill(aapl, Mode.REPLACE)["records_stored"] == 5
    assert stored_days(aapl) == [bar.date for bar in new_year()[5:]]


def test_update_removes_nothing(aapl, yahoo):
    keep(aapl, new_year())
    serve(yahoo, new_year(without=[date(2024, 1, 10)]), exchange="NMS")
    backfill(aapl, Mode.UPDATE)
    assert len(stored_days(aapl)) == JANUARY


def test_backfills_of_the_same_days_in_different_modes_are_different_jobs(aapl):
    for mode in Mode:
        request_fetches([aapl], Job.Trigger.USER_REQUEST, start=FIRST, mode=mode)
    again = request_fetches([aapl], Job.Trigger.USER_REQUEST, start=FIRST, mode=Mode.GAPS)
    assert Job.objects.count() == len(Mode)
    assert again.created == []


# What it will cost


def test_a_preview_counts_sessions_requests_and_minutes(aapl, settings):
    keep(aapl, new_year(without=[date(2024, 1, 10)]))
    full = Stock.objects.create(symbol="MSFT", exchange="NMS")
    keep(full, new_year())
    last = date(2024, 1, 31)
    cost = preview([aapl, full, Stock(symbol="NEW")], FIRST, last, Mode.GAPS, now=LATER)
    # The exchange of a new stock is not known, nor are its holidays.
    assert cost.missing == {"AAPL": 1, "MSFT": 0, "NEW": JANUARY + 1}
    assert cost.requests == 2
    assert preview([aapl, full], FIRST, last, Mode.REPLACE, now=LATER).requests == 2


def test_a_preview_takes_the_share_of_the_budget_that_background_work_has(aapl, configured):
    configured(**{"stock_jobs.data_fetch.rate_limit": 60, "stock_jobs.data_fetch.background_share": 0.5})
    stocks = [Stock(symbol=f"S{number}") for number in range(60)]
    assert preview(stocks, FIRST, None, Mode.UPDATE, now=LATER).minutes == 2.0


def test_the_shell_shows_a_preview_and_queues_nothing(aapl, capsys):
    arguments = ["AAPL", "NEW", "--start", "2024-01-01", "--end", "2024-01-31", "--mode", "gaps", "--preview"]
    call_command("fetch_stock", *arguments)
    shown = capsys.readouterr().out
    assert f"AAPL: {JANUARY} sessions without a bar" in shown
    assert "2 requests, about " in shown
    call_command("fetch_stock", *arguments, "--json")
    assert json.loads(capsys.readouterr().out)["missing"] == {"AAPL": JANUARY, "NEW": JANUARY + 2}
    assert not Job.objects.exists()
    assert not Stock.objects.filter(symbol="NEW").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--mode", "gaps"], "--mode needs --start"),
        (["--preview"], "--preview needs --start"),
        (["--start", "2024-01-01", "--mode", "holes"], "--mode holes is not one of update, gaps, replace"),
    ],
)
def test_a_wrong_mode_is_refused(arguments, complaint):
    with pytest.raises(CommandError, match=complaint) as refused:
        call_command("fetch_stock", "AAPL", *arguments)
    assert refused.value.returncode == 2
    assert not Job.objects.exists()


def test_the_shell_asks_for_the_gaps(aapl):
    call_command("fetch_stock", "AAPL", "--start", str(TODAY - timedelta(days=9)), "--mode", "gaps")
    assert Job.objects.get().parameters["mode"] == "gaps"


# In the admin


@pytest.fixture
def ask(admin_client: Client, aapl: Stock) -> Callable[..., HttpResponse]:
    """ask(start=…): what the admin answers to the action "Backfill" of AAPL with these fields."""

    def ask(**fields: str) -> HttpResponse:
        chosen = {"action": "backfill", "_selected_action": [str(aapl.pk)]}
        return admin_client.post("/admin/market/stock/", chosen | fields)  # type: ignore[return-value]

    return ask


def test_the_admin_asks_for_the_days_and_shows_what_they_cost_before_it_queues_them(ask, aapl):
    assert "First day" in ask().content.decode()
    days = {"start": "2024-01-01", "end": "2024-01-31", "mode": "gaps"}
    shown = ask(**days)
    assert f"AAPL: {JANUARY} sessions without a bar" in shown.content.decode()
    assert "1 request:" in shown.content.decode()
    assert not Job.objects.exists()
    assert ask(**days, confirmed=shown.context["fingerprint"]).status_code == 302
    job = Job.objects.get()
    assert (job.parameters["mode"], job.parameters["start"], job.queue) == ("gaps", "2024-01-01", "background_fetch")
    entries = LogEntry.objects.values_list("content_type__model", "change_message")
    what = "Backfill of AAPL, 2024-01-01 to 2024-01-31, gaps."
    assert set(entries) == {("jobgroup", what), ("stock", what)}


def test_other_days_than_those_that_were_shown_are_shown_first(ask):
    days = {"start": "2024-01-01", "end": "2024-01-31", "mode": "gaps"}
    fingerprint = ask(**days).context["fingerprint"]
    for other in ({"start": "2023-01-01"}, {"end": ""}, {"mode": "replace"}):
        shown = ask(**(days | other), confirmed=fingerprint)
        assert "The form has changed since the preview, and nothing was queued." in shown.content.decode()
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("start", "end", "complaint"),
    [
        ("2024-02-01", "2024-01-31", "2024-02-01 is after 2024-01-31; choose an earlier first day."),
        ("2024-01-01", "9999-12-31", "9999-12-31 is in the future; the latest day is"),
        ("1900-01-01", "", "1900-01-01 is more than 60 years before"),
        ("yesterday", "", "Enter a valid date."),
    ],
)
def test_the_admin_refuses_days_that_make_no_sense(start, end, complaint, ask):
    answer = ask(start=start, end=end, mode="gaps", confirmed="yes")
    assert complaint in html.unescape(answer.content.decode())
    assert not Job.objects.exists()


# Mails


@pytest.fixture
def asked(user: User, aapl: Stock) -> JobGroup:
    """A backfill of two stocks that the user asked for ten minutes ago; both jobs have just ended."""
    user.email = "user@example.org"
    user.save()
    msft = Stock.objects.create(symbol="MSFT")
    requested = request_fetches([aapl, msft], Job.Trigger.USER_REQUEST, user, start=FIRST, end=date(2024, 1, 31))
    group_jobs("Backfill of AAPL, MSFT,\n2024-01-02 to 2024-01-31, gaps", requested, user)
    now = timezone.now()
    Job.objects.filter(symbol="AAPL").update(
        status="completed", outcome="updated", result={"records_stored": 21}, finished_at=now
    )
    Job.objects.filter(symbol="MSFT").update(status="failed", error="no answer", finished_at=now)
    JobGroup.objects.update(created_at=now - timedelta(minutes=10))
    return JobGroup.objects.get()


def test_who_asked_for_a_long_backfill_gets_one_mail_when_all_of_it_has_ended(asked, mailoutbox):
    Job.objects.filter(symbol="MSFT").update(status="running", finished_at=None)
    assert tell_ended_groups() == 0
    Job.objects.filter(symbol="MSFT").update(status="failed", finished_at=timezone.now())
    assert tell_ended_groups() == 1
    assert tell_ended_groups() == 0
    (mail,) = mailoutbox
    assert mail.to == ["user@example.org"]
    assert mail.subject == "Backfill of AAPL, MSFT, 2024-01-02 to 2024-01-31, gaps: done, 1 failed"
    assert "1 failed, 1 updated. Bars written: 21." in mail.body
    assert "MSFT failed: no answer" in mail.body


def test_a_short_backfill_and_one_of_somebody_without_an_address_cause_no_mail(asked, user, mailoutbox):
    JobGroup.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    assert tell_ended_groups() == 1
    JobGroup.objects.update(created_at=timezone.now() - timedelta(hours=1), told_at=None)
    User.objects.update(email="")
    assert tell_ended_groups() == 1
    assert mailoutbox == []


def test_a_mail_about_analyses_tells_kinds_and_no_bars(aapl, user, mailoutbox):
    user.email = "user@example.org"
    user.save()
    kinds = [Analysis.Kind.NEWS, Analysis.Kind.SENTIMENT]
    requested = request_analyses([aapl], Job.Trigger.USER_REQUEST, user, analysis_types=kinds)
    group_jobs("Analysis of AAPL", requested, user)
    Job.objects.update(status="failed", error="no answer", finished_at=timezone.now())
    JobGroup.objects.update(created_at=timezone.now() - timedelta(minutes=10))
    assert tell_ended_groups() == 1
    (mail,) = mailoutbox
    assert "Jobs: 2 failed.\n" in mail.body
    assert all(f"AAPL, {kind} failed: no answer" in mail.body for kind in kinds)


def test_a_mail_that_cannot_be_sent_is_tried_again(asked, mailoutbox, caplog):
    nowhere = email_settings({"EMAIL_URL": f"smtp://127.0.0.1:{free_port()}"}, debug=False)
    with override_settings(**nowhere):
        assert tell_ended_groups() == 0
    assert "could not mail user" in caplog.text
    assert tell_ended_groups() == 1
    assert len(mailoutbox) == 1


def test_the_shell_asks_in_the_name_of_a_user(aapl, user):
    call_command("fetch_stock", "AAPL", "--start", "2024-01-01", "--user", user.username)
    call_command("fetch_stock", "AAPL", "--user", user.username)
    assert list(JobGroup.objects.order_by("pk").values_list("what", "user__username")) == [
        (f"Backfill of AAPL, 2024-01-01 to {TODAY}, update", user.username),
        ("Fetch of AAPL", user.username),
    ]
    with pytest.raises(CommandError, match="--user nobody: there is no such user"):
        call_command("fetch_stock", "AAPL", "--start", "2024-01-01", "--user", "nobody")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.org", ("mail.example.org", 25, False, False)),
        ("smtp+tls://u:p%40ss@mail.example.org", ("mail.example.org", 587, True, False)),
        ("smtps://mail.example.org:4650", ("mail.example.org", 4650, False, True)),
    ],
)
def test_the_environment_says_where_mail_goes(url, expected):
    found = email_settings({"EMAIL_URL": url}, debug=False)
    assert tuple(found[f"EMAIL_{name}"] for name in ("HOST", "PORT", "USE_TLS", "USE_SSL")) == expected
    if "@" in url:
        assert (found["EMAIL_HOST_USER"], found["EMAIL_HOST_PASSWORD"]) == ("u", "p@ss")


@pytest.mark.parametrize("url", ["mail.example.org", "http://mail.example.org", "smtp://u:secret@", "smtp://h:port"])
def test_an_address_for_mail_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(ConfigError, match="EMAIL_URL: ") as refused:
        email_settings({"EMAIL_URL": url}, debug=False)
    assert "secret" not in str(refused.value)
