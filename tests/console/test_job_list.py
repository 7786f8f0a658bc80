"""The admin's list of jobs: pages by key, what is searched, what is filtered, and how far a page looks."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from market.models import Stock
from tasks.models import Job, JobRequest
from tests.support.jobs import ended_jobs, new_job
from tests.support.keyset_pages import Look, Shown, follow, last_with_rows, limit_pages, look_with

pytestmark = pytest.mark.django_db

LIST = "/admin/tasks/job/"


@pytest.fixture
def look(admin_client: Client) -> Look:
    """look(status__exact="failed"): the list with these filters; look(address): what a link leads to."""
    return look_with(admin_client, LIST)


@pytest.fixture
def pages_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """pages_of(3, look_back=10): so many jobs on a page, which looks through so many at most."""
    return partial(limit_pages, monkeypatch)


def symbols(page: Shown) -> list[str]:
    return [job.symbol for job in page.rows]


def all_symbols(pages: list[Shown]) -> list[str]:
    return [symbol for page in pages for symbol in symbols(page)]


def test_pages_lead_from_the_newest_job_to_the_oldest_and_back(look, pages_of):
    newest_first = [job.symbol for job in ended_jobs(8)][::-1]
    pages_of(3)
    there = follow(look, "Older →", look())
    assert [symbols(page) for page in there] == [newest_first[:3], newest_first[3:6], newest_first[6:]]
    back = follow(look, "← Newer", there[-1])
    assert [symbols(page) for page in back] == [symbols(page) for page in there[::-1]]
    assert "← Newer" not in there[0].links
    assert "Older →" not in there[-1].links
    assert symbols(look(there[-1].links["Newest"])) == newest_first[:3]


def test_jobs_of_the_same_moment_are_all_shown_once(look, pages_of):
    moment = timezone.now()
    expected = {job.symbol for job in ended_jobs(10, created_at=moment)}
    pages_of(3, look_back=4)
    there = follow(look, "Older →", look())
    assert sorted(all_symbols(there)) == sorted(expected)
    assert there[-1].rows or "No older jobs This is the end." in there[-1].words
    back = follow(look, "← Newer", last_with_rows(there))
    assert set(all_symbols(back)) == expected


def test_a_job_that_comes_while_one_pages_moves_nothing(look, pages_of):
    newest_first = [job.symbol for job in ended_jobs(7)][::-1]
    pages_of(3)
    first = look()
    (new,) = ended_jobs(1, symbol="NEW", created_at=timezone.now())
    second = look(first.links["Older →"])
    assert symbols(second) == newest_first[3:6]
    assert symbols(look(second.links["← Newer"])) == newest_first[:3]
    assert symbols(look())[0] == new.symbol


def test_near_the_top_newer_is_the_whole_first_page(look, pages_of):
    newest_first = [job.symbol for job in ended_jobs(5)][::-1]
    pages_of(3)
    key = look().rows[1]
    shown = look(newer=f"{key.created_at.isoformat()},{key.pk}")
    assert symbols(shown) == newest_first[:3]
    assert "← Newer" not in shown.links


def test_a_link_to_a_page_of_jobs_that_are_gone_still_leads_to_what_is_older(look, pages_of):
    jobs = ended_jobs(6)
    pages_of(2)
    older = look().links["Older →"]
    Job.objects.filter(pk__in=[job.pk for job in jobs[3:5]]).delete()
    assert symbols(look(older)) == [jobs[2].symbol, jobs[1].symbol]


@pytest.mark.parametrize("parameter", ["older", "newer"])
@pytest.mark.parametrize(
    "place",
    [
        "",
        "x",
        "2026-13-45T00:00:00+00:00",
        "2026-11-25T00:00:00",  # without a time zone
        "0001-01-01T00:00:00+14:00",  # before the first year there is
        "2026-11-25T00:00:00+00:00,",
        "2026-11-25T00:00:00+00:00,x",
        "2026-11-25T00:00:00+00:00,00000000-0000-4000-8000-000000000000,1",
        "2026-11-25T00:00:00+00:00,00000000-0000-4000-8000-000000000000' OR 1=1 --",
    ],
)
def test_an_address_with_a_broken_place_is_told_and_shows_the_newest(look, parameter, place):
    (job,) = ended_jobs(1)
    shown = look(**{parameter: place})
    assert f"The parameter “{parameter}” is not valid. This page shows the newest rows." in shown.words
    assert shown.rows == [job]


def test_filters_and_the_search_stay_in_the_links_and_a_filter_begins_anew(look, pages_of):
    ended_jobs(4, symbol="AAPL", status="failed")
    ended_jobs(4, symbol="AAPL")
    pages_of(2)
    shown = look(status__exact="failed", q="AAPL")
    older = look(shown.links["Older →"])
    assert {job.status for job in older.rows} == {"failed"}
    assert set(symbols(older)) == {"AAPL"}
    filters = [address for address in re.findall(r'href="(\?[^"]*)"', older.html) if "outcome__exact" in address]
    assert filters
    assert not any("older=" in address for address in filters)
    search = re.search(r'<form id="changelist-search".*?</form>', older.html, re.S)
    assert search is not None
    assert 'name="older"' not in search[0]
    assert 'name="status__exact"' in search[0]


def test_no_column_can_be_sorted_by(look):
    newest_first = [job.symbol for job in ended_jobs(3)][::-1]
    shown = look(o="-1.2")
    assert symbols(shown) == newest_first
    assert "?o=" not in shown.html
    assert "&amp;o=" not in shown.html


def test_a_page_that_is_not_full_says_how_far_it_looked_and_a_link_looks_further(look, pages_of):
    ended_jobs(2, symbol="RARE", trigger="maintenance")
    middle = ended_jobs(10)
    pages_of(3, look_back=4)
    shown = look(trigger__exact="maintenance")
    assert shown.rows == []
    assert f"None found so far Looked back to {middle[5].created_at:%Y-%m-%d %H:%M:%S} UTC." in shown.words
    pages = follow(look, "Look further", shown)
    assert len(pages) == 3
    assert all_symbols(pages) == ["RARE", "RARE"]
    assert "Looked back" not in pages[-1].words


def test_looking_further_shows_each_job_once_in_both_directions(look, pages_of):
    jobs = ended_jobs(40)
    expected = [job.symbol for job in jobs[::-1] if int(job.symbol[1:]) % 3 == 0]
    Job.objects.filter(symbol__in=expected).update(trigger="maintenance")
    pages_of(2, look_back=5)
    there = follow(look, "Older →", look(trigger__exact="maintenance"))
    assert all_symbols(there) == expected
    back = follow(look, "← Newer", last_with_rows(there))
    assert sorted(set(all_symbols(back))) == sorted(expected)


OLD = "an old reason"


@pytest.mark.parametrize(
    ("fields", "lookups"),
    [
        ({"status": "failed"}, {"status__exact": "failed"}),
        ({"status": "expired"}, {"status__in": "failed,expired"}),
        (
            {"status": "cancelled", "trigger": "maintenance"},
            {"status__exact": "cancelled", "trigger__exact": "maintenance"},
        ),
        ({"status": "failed", "error": OLD}, {"status__exact": "failed", "reason": OLD}),
        ({"status": "running", "finished_at": None}, {"status__exact": "running"}),
        ({"status": "pending", "finished_at": None}, {"finished_at__isnull": True, "status__in": "pending,queued"}),
        ({"symbol": "OLD"}, {"symbol__exact": "OLD"}),
        ({"symbol": "OLD"}, {"q": "old"}),
        ({"id": UUID("0123abcd-0000-4000-8000-000000000000")}, {"q": "0123ABCD"}),
        ({"id": UUID("0123abcd-0000-4000-8000-000000000000")}, {"id__exact": "0123abcd-0000-4000-8000-000000000000"}),
    ],
)
def test_what_is_rare_is_found_however_many_jobs_are_newer(look, pages_of, fields, lookups):
    (old,) = ended_jobs(1, **fields)
    ended_jobs(5)
    pages_of(3, look_back=1, scattered=1)
    shown = look(**lookups)
    assert shown.rows == [old]
    assert "Looked back" not in shown.words


def test_what_ended_lately_is_found_however_early_it_was_asked_for(look, pages_of):
    now = timezone.now()
    (old,) = ended_jobs(1, finished_at=now, worker_id="w@here:1")
    (failed,) = ended_jobs(1, finished_at=now, status="failed", error=OLD, worker_id="w@here:2")
    ended_jobs(5)
    pages_of(3, look_back=2)
    since = (now - timedelta(minutes=5)).isoformat()
    assert look(finished_at__gte=since).rows == [failed, old]
    assert look(finished_at__gte=since, finished_at__lte=timezone.now().isoformat()).rows == [failed, old]
    assert look(finished_at__gte=since, worker_id__exact="w@here:1").rows == [old]
    assert look(finished_at__gte=since, status__exact="failed", reason=OLD).rows == [failed]


def test_what_ended_in_an_hour_of_the_past_is_found_behind_what_ended_later(look, pages_of):
    jobs = ended_jobs(9)
    ends = {"finished_at__gte": jobs[2].created_at.isoformat(), "finished_at__lt": jobs[4].created_at.isoformat()}
    pages_of(3, look_back=2)
    shown = look(**ends)
    assert shown.rows == [jobs[3], jobs[2]]
    assert "Looked back" not in shown.words


def test_a_time_in_the_address_is_where_the_look_begins(look, pages_of):
    old = ended_jobs(2, trigger="maintenance")
    ended_jobs(9)
    pages_of(3, look_back=2)
    shown = look(trigger__exact="maintenance", created_at__lte=old[0].created_at.isoformat())
    assert shown.rows == [old[0]]
    assert "Looked back" not in shown.words


def test_where_many_match_the_newest_are_looked_through_for_the_rest(look, pages_of, user):
    jobs = ended_jobs(6, symbol="AAPL")
    JobRequest.objects.bulk_create(JobRequest(job=job, user=user, trigger="user_request") for job in jobs)
    Job.objects.filter(pk=jobs[0].pk).update(trigger="maintenance")
    pages_of(2, look_back=3, scattered=2)
    for lookups in ({"q": user.username}, {"finished_at__gte": jobs[0].created_at.isoformat()}):
        assert all_symbols(follow(look, "Older →", look(**lookups))) == ["AAPL"] * 6
        shown = look(trigger__exact="maintenance", **lookups)
        assert shown.rows == []
        assert [page.rows for page in follow(look, "Look further", shown)][-1] == [jobs[0]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("AAPL", {"AAPL"}),
        (" aapl ", {"AAPL"}),
        ("brk.b", {"BRK-B"}),
        ("BRK", {"BRK-A", "BRK-B"}),
        ("a", {"AAPL", "AA.L", "ABNB"}),
        ("AA", {"AAPL", "AA.L"}),
        ("^gs", {"^GSPC"}),
        ("%", set()),
        ("_APL", set()),
        ("A%", set()),
        ("APL", set()),
        ("ZZZ", set()),
        ("what is this?", set()),
        ("'; DROP TABLE tasks_job", set()),
    ],
)
def test_a_search_finds_a_symbol_or_its_beginning_in_any_case(look, text, found):
    for symbol in ("AAPL", "AA.L", "ABNB", "BRK-A", "BRK-B", "^GSPC"):
        new_job(symbol, "completed")
    assert set(symbols(look(q=text))) == found


def test_a_text_that_no_database_takes_is_refused_in_words(look):
    assert "Null characters are not allowed." in look(q="A\x00").words


def test_a_symbol_that_has_jobs_is_not_the_beginning_of_others(look):
    for symbol in ("A", "AAPL"):
        new_job(symbol, "completed")
    assert symbols(look(q="A")) == ["A"]


def test_a_search_finds_jobs_of_a_stock_that_is_gone(look):
    new_job("GONE", "completed")
    Stock.objects.all().delete()
    assert symbols(look(q="gone")) == ["GONE"]


def test_a_search_finds_what_a_user_asked_for_and_what_the_user_joined_each_once(look, user, django_user_model):
    other = django_user_model.objects.create_user("other")
    new_job("MSFT", "completed", other)
    new_job("AAPL", "completed", user)
    joined = new_job("NVDA", "completed", other)
    for _ in range(2):
        joined.requests.create(user=user, trigger="user_login")
    assert symbols(look(q=user.username)) == ["NVDA", "AAPL"]
    assert symbols(look(q="other")) == ["NVDA", "MSFT"]
    assert symbols(look(q="othe")) == []


def test_a_text_that_is_a_symbol_and_a_users_name_finds_both(look, django_user_model):
    new_job("AAPL", "completed", django_user_model.objects.create_user("CAT"))
    new_job("CAT", "completed")
    new_job("MSFT", "completed")
    assert symbols(look(q="CAT")) == ["CAT", "AAPL"]


def test_a_search_finds_a_job_by_its_id_or_the_beginning_of_it(look):
    job, _ = new_job("AAPL", "completed"), new_job("MSFT", "completed")
    whole = str(job.pk)
    for text in (whole, whole.upper(), job.pk.hex, whole[:8], whole[:12], f" {whole} "):
        assert look(q=text).rows == [job], text
    assert look(q=whole[:7]).rows == []
    assert look(q=f"{whole}0").rows == []


def test_a_search_and_filters_have_to_agree(look, user):
    new_job("AAPL", "completed", user)
    failed = new_job("AAPL", "failed", user)
    for text in ("AAPL", "AA", user.username):
        assert look(q=text, status__exact="failed").rows == [failed]


def test_the_page_says_what_can_be_searched_when_nothing_is_found(look):
    ended_jobs(1)
    shown = look(q="<b>nothing</b>")
    assert "No jobs found No results for “<b>nothing</b>”." in shown.words
    assert "Search by: symbol or its beginning, user name, job id or its first 8 characters." in shown.words
    assert "<b>nothing" not in shown.html
    assert 'placeholder="symbol or its beginning, user name, job id or its first 8 characters"' in shown.html


def test_an_empty_list_says_where_jobs_come_from(look):
    assert "No jobs yet Jobs are created by logins of users with stale stocks" in look().words


def test_an_empty_list_with_filters_says_so_and_leads_to_all(look):
    (job,) = ended_jobs(1)
    shown = look(status__exact="failed")
    assert "No jobs found None matches all the filters." in shown.words
    assert look(shown.links["All jobs"]).rows == [job]


def test_filters_that_a_link_brought_are_told_in_words(look):
    shown = look(finished_at__gte="2026-11-25T20:41:16+00:00", worker_id__exact="<w>@here:1", status__exact="failed")
    told = "Only jobs with finished at from 2026-11-25T20:41:16+00:00; worker id is <w>@here:1."
    assert told in shown.words
    assert "Only jobs with" not in look(status__exact="failed").words


@pytest.mark.parametrize(
    "lookups",
    [
        {"finished_at__gte": "yesterday"},
        {"created_at__lte": "x"},
        {"id__exact": "x"},
        {"priority__exact": "high"},
        {"nonsense": "1"},
    ],
)
def test_a_filter_that_means_nothing_leads_to_the_whole_list(admin_client, lookups):
    answer = admin_client.get(LIST, lookups)
    assert (answer.status_code, answer.url) == (302, f"{LIST}?e=1")


def test_the_priority_is_shown_as_a_word_and_a_number_and_is_filtered_by(look):
    for priority in (1, 4, 7, 10):
        ended_jobs(1, priority=priority, symbol=f"P{priority}")
    shown = look()
    for words in ("high 1", "normal 4", "low 7", "low 10"):
        assert words in shown.words
    assert symbols(look(priority__exact=7)) == ["P7"]
    assert symbols(look(priority__exact=2)) == []


def test_the_outcome_says_what_changed(look):
    result = {"records_stored": 2, "days_fetched": 21, "source": "yahoo_finance"}
    ended_jobs(1, outcome="updated", result=result)
    assert "updated: 2 of 21 bars stored, from yahoo_finance" in look().words


def test_everything_that_matches_is_chosen_across_pages(look, pages_of):
    ended_jobs(7, status="failed")
    ended_jobs(2)
    pages_of(3, look_back=1)
    shown = look(status__exact="failed")
    assert "Select all matching jobs" in shown.words
    assert shown.list.queryset.count() == 7
    older = look(shown.links["Older →"])
    assert older.list.queryset.count() == 7


def test_a_page_that_is_everything_says_how_much_it_is(look):
    ended_jobs(3)
    shown = look()
    assert "3 jobs" in shown.words
    assert "Select all matching jobs" not in shown.words
