"""Every figure of "Stock data", and the list that it leads to, against SQL of its own, with a crowd of everything."""

import math
from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from console.dashboard.page import Page
from operations.monitoring import alerts, health, metrics
from operations.monitoring.health import Readiness
from stockqueue.wording import describe_age, describe_duration
from tests.support.crowd import Crowd
from tests.support.lists import figures_in
from tests.support.page_sql import Check, one, rows, seconds_between, since

pytestmark = pytest.mark.django_db

SILENT = timedelta(seconds=45)
LIMIT = timedelta(minutes=30)
"""The shipped file's: after that a stock is stale."""
MINUTE = timedelta(seconds=62)
"""Of a source's budget: with the time by which one request may be longer on its way than another."""
BANDS = {"foreground": range(1, 4), "background_fetch": range(4, 7), "background_analysis": range(7, 11)}
AGES = {
    "under 5 minutes": timedelta(minutes=5),
    "5 to 30 minutes": timedelta(minutes=30),
    "30 to 60 minutes": timedelta(hours=1),
    "1 to 6 hours": timedelta(hours=6),
    "6 to 24 hours": timedelta(days=1),
    "1 to 7 days": timedelta(days=7),
    "over 7 days": timedelta(days=9_999),
}
HELD = "EXISTS (SELECT 1 FROM portfolio_holding WHERE stock_id = market_stock.id)"


# A worker that was killed is replaced once one of its name is there that started later.
WORKERS = """
    WITH worker AS (
        SELECT worker_id, REPLACE(worker_id, ':' || pid, '') AS name, concurrency, started_at, heartbeat_at,
            CASE WHEN stopped_at IS NOT NULL THEN 'stopped'
                WHEN heartbeat_at < %s OR heartbeat_at > %s THEN 'gone' ELSE 'alive' END AS state
        FROM tasks_worker
    )
    SELECT worker_id, concurrency, CASE WHEN state = 'gone' AND EXISTS (
        SELECT 1 FROM worker AS other WHERE other.name = worker.name AND other.started_at > worker.heartbeat_at
    ) THEN 'replaced' ELSE state END FROM worker
"""

# Of the last hour. A request of the same user more than 5 s after the one before begins another login.
LOGINS = """
    WITH request AS (
        SELECT wish.id, wish.user_id, wish.created_at, job.finished_at,
            CASE WHEN job.status = 'completed' AND job.result ->> 'source' <> 'cached' THEN 1 ELSE 0 END AS is_good,
            LAG(wish.created_at) OVER (PARTITION BY wish.user_id ORDER BY wish.created_at) AS earlier
        FROM tasks_jobrequest AS wish JOIN tasks_job AS job ON job.id = job_id
        WHERE wish.trigger = 'user_login' AND wish.user_id IS NOT NULL AND wish.created_at >= %s
    ), numbered AS (
        SELECT *, SUM(CASE WHEN {since_earlier} <= 5 THEN 0 ELSE 1 END)
            OVER (PARTITION BY user_id ORDER BY created_at) AS number
        FROM request
    ), login AS (
        SELECT user_id, number, {took} AS took,
            CASE WHEN COUNT(finished_at) < COUNT(*) THEN 'waiting'
                WHEN SUM(is_good) < COUNT(*) THEN 'incomplete' ELSE 'fresh' END AS result
        FROM numbered GROUP BY user_id, number
    )
"""


@pytest.fixture(params=[1, 2])
def now(request, monkeypatch, configured) -> datetime:
    """A crowd, and a clock that stands still: what is on the page is in the lists as well."""
    configured(**{"market.watchlist": ["S148", "S149"]})
    now = timezone.now().replace(microsecond=0)
    Crowd(request.param, now)
    monkeypatch.setattr(timezone, "now", lambda: now)
    return now


@pytest.fixture
def page(now, admin_client: Client, monkeypatch) -> Page:
    monkeypatch.setattr(health, "readiness", lambda: Readiness("", {"database": health.OK, "broker": health.OK}))
    answer = admin_client.get("/admin/operations/stockdata/figures/")
    found: Page = answer.context["page"]
    assert found.at == now
    return found


def test_every_figure_is_what_the_tables_say_and_leads_to_a_list_with_so_many_rows(page, now, admin_user):
    check = Check(admin_user)
    check_lights(page, now, check)
    check_alerts(page, check)
    check_queues(page, now, check)
    check_workers(page, now, check)
    check_logins(page, now, check)
    check_warmth(page, now, check)
    check_stocks(page, now, check)
    check_coverage(page, now, check)
    check_priorities(page, now, check)
    check_failures(page, now, check)
    forgotten = [figure for figure in figures_in(page) if id(figure) not in check.checked]
    assert forgotten == []


def check_lights(page: Page, now: datetime, check: Check) -> None:
    found = {light.name: light for light in page.lights}
    queued, refused = found["Broker"].figures
    check(queued, "queued jobs", one("SELECT COUNT(*) FROM tasks_job WHERE status = 'queued'"))
    count = one("SELECT COUNT(*) FROM tasks_job WHERE status = 'pending' AND refused_at IS NOT NULL")
    assert (found["Broker"].state, count > 0) == ("bad", True)
    check(refused, f"{count} refused jobs", count)
    enabled, last = rows("SELECT COUNT(*), MAX(last_run_at) FROM django_celery_beat_periodictask WHERE enabled")[0]
    check(found["Beat"].figures[0], "schedules", enabled)
    assert found["Beat"].text == f"last seen {describe_age(since(last, now))} ago"
    publisher, waiting, aside = found["MQTT bridge"].figures
    check(publisher, "publisher", 1)
    unpublished = "FROM tasks_jobevent WHERE published_at IS NULL AND error"
    count, oldest = rows(f"SELECT COUNT(*), MIN(created_at) {unpublished} = ''")[0]
    events = f"{count} unpublished event{'' if count == 1 else 's'}"
    check(waiting, f"{events}, the oldest for {describe_duration(since(oldest, now))}", count)
    count = one(f"SELECT COUNT(*) {unpublished} <> ''")
    check(aside, f"{count} dead letter{'' if count == 1 else 's'}", count)
    used = one("SELECT SUM(requests) FROM market_sourceuse WHERE granted_at > %s", now - MINUTE)
    check(found["Yahoo Finance"].figures[0], f"{used} of 1000000 requests in the last minute", 1)
    direct = "SELECT COUNT(*) FROM tasks_job WHERE status = 'running' AND worker_id LIKE 'direct@%%'"
    check(page.banner_jobs, f"{one(direct)} job{'' if one(direct) == 1 else 's'} running", one(direct))


def check_alerts(page: Page, check: Check) -> None:
    expected = rows(
        "SELECT text, COALESCE(username, '') FROM operations_alert LEFT JOIN auth_user"
        " ON auth_user.id = acknowledged_by_id WHERE state = 'raised' ORDER BY since DESC"
    )
    check(page.alert_count, len(expected), len(expected))
    assert [(row.text.text, row.looked_after_by) for row in page.alerts] == expected
    for row, (text, _) in zip(page.alerts, expected, strict=True):
        check(row.text, text, 1)


def check_queues(page: Page, now: datetime, check: Check) -> None:
    depths = {
        (queue, priority, status): count
        for queue, priority, status, count in rows(
            "SELECT queue, priority, status, COUNT(*) FROM tasks_job"
            " WHERE status IN ('pending', 'queued', 'running') GROUP BY queue, priority, status"
        )
    }
    longest = max(
        sum(depths.get((queue, priority, status), 0) for status in ("pending", "queued", "running"))
        for queue, band in BANDS.items()
        for priority in band
    )
    assert [card.queue for card in page.queues] == list(BANDS)
    for card in page.queues:
        assert [bar.label for bar in card.bars] == [str(priority) for priority in BANDS[card.queue]]
        for bar in card.bars:
            for figure, part, status in zip(bar.figures, bar.shares, ("pending", "queued", "running"), strict=True):
                count = depths.get((card.queue, int(bar.label), status), 0)
                check(figure, count, count)
                assert part == round(100 * count / longest, 1)
        waiting, oldest = rows(
            "SELECT COUNT(*), MIN(created_at) FROM tasks_job WHERE queue = %s AND status IN ('pending', 'queued')",
            card.queue,
        )[0]
        ended = one(
            "SELECT COUNT(*) FROM tasks_job WHERE queue = %s AND finished_at >= %s",
            *(card.queue, now - timedelta(minutes=5)),
        )
        assert min(waiting, ended) > 0
        check(card.waiting, waiting, waiting)
        check(card.oldest, describe_duration(since(oldest, now)), 1)
        check(card.ended, ended, ended)
        check(card.empty, f"in about {describe_duration(timedelta(minutes=5) * waiting / ended)}", waiting)


def check_workers(page: Page, now: datetime, check: Check) -> None:
    known = {worker: (state, processes) for worker, processes, state in rows(WORKERS, now - SILENT, now + SILENT)}
    hour = now - timedelta(hours=1)
    busy = {
        worker: tuple(map(int, counts))
        for worker, *counts in rows(
            "SELECT worker_id, SUM(CASE WHEN status = 'running' THEN 1 ELSE 0 END),"
            " SUM(CASE WHEN finished_at >= %s THEN 1 ELSE 0 END),"
            " SUM(CASE WHEN finished_at >= %s AND status = 'completed' THEN 1 ELSE 0 END),"
            " SUM(CASE WHEN finished_at >= %s AND status IN ('completed', 'failed') THEN 1 ELSE 0 END)"
            " FROM tasks_job WHERE worker_id <> '' GROUP BY worker_id",
            *(hour, hour, hour),
        )
    }
    there = {worker for worker, (state, _) in known.items() if state != "stopped"}
    shown = there | {worker for worker, (running, ended, *_) in busy.items() if running or ended}
    assert {state for state, _ in known.values()} == {"alive", "gone", "replaced", "stopped"}
    assert {row.worker.text for row in page.workers} == shown
    for row in page.workers:
        state, processes = known.get(row.worker.text, ("", None))
        running, ended, completed, ran = busy.get(row.worker.text, (0, 0, 0, 0))
        assert row.state == state
        check(row.worker, row.worker.text, 1 if state else running)
        check(row.running, f"{running} of {processes}" if processes else running, running)
        check(row.jobs_per_minute, f"{round(ended / 60, 2):g}", ended)
        if state == "alive":
            check(row.use, f"{running / processes:.0%}", running)
        if ran:
            check(row.efficiency, f"{completed / ran:.0%}", ended)
        assert (row.use is None, row.efficiency is None) == (state != "alive", not ran)
    assert [busy.get(row.worker.text, (0,))[0] for row in page.workers] == sorted(
        (busy.get(worker, (0,))[0] for worker in shown), reverse=True
    )
    alive = {worker: processes for worker, (state, processes) in known.items() if state == "alive"}
    gone = sum(state == "gone" for state, _ in known.values())
    at_work = sum(busy.get(worker, (0,))[0] for worker in alive)
    completed, failed, ended, retries = rows(
        "SELECT SUM(CASE WHEN status = 'completed' THEN 1 ELSE 0 END),"
        " SUM(CASE WHEN status = 'failed' THEN 1 ELSE 0 END), COUNT(*), SUM(retries)"
        " FROM tasks_job WHERE finished_at >= %s",
        hour,
    )[0]
    failed += retries + one("SELECT SUM(retries) FROM tasks_job WHERE finished_at IS NULL")
    together = dict(page.workforce)
    check(together["alive"], len(alive), len(alive))
    check(together["gone"], gone, gone)
    check(together["processes busy"], f"{at_work} of {sum(alive.values())}", len(alive))
    check(together["utilisation"], f"{at_work / sum(alive.values()):.0%}", len(alive))
    check(together["efficiency"], f"{completed / (completed + failed):.0%}", ended)


def check_logins(page: Page, now: datetime, check: Check) -> None:
    logins = LOGINS.format(
        since_earlier=seconds_between("earlier", "created_at"),
        took=seconds_between("MIN(created_at)", "MAX(finished_at)"),
    )
    hour = now - timedelta(hours=1)
    counts = dict(rows(f"{logins} SELECT result, COUNT(*) FROM login GROUP BY result", hour))
    assert min(counts.values()) > 3
    assert {word for word, _ in page.logins.results} == counts.keys()
    for word, figure in page.logins.results:
        check(figure, counts[word], counts[word])
    times = sorted(float(took) for (took,) in rows(f"{logins} SELECT took FROM login WHERE result = 'fresh'", hour))
    for (_, figure), part in zip(page.logins.seconds, (0.5, 0.95), strict=True):
        nearest = max(times[math.ceil(part * len(times)) - 1], 0)
        check(figure, describe_duration(timedelta(seconds=nearest)), counts["fresh"])


def check_warmth(page: Page, now: datetime, check: Check) -> None:
    kept = f"FROM market_stock WHERE status = 'active' AND ({HELD} OR symbol IN ('S149', 'S148'))"
    count, fresh = rows(f"SELECT COUNT(*), SUM(CASE WHEN checked_at > %s THEN 1 ELSE 0 END) {kept}", now - LIMIT)[0]
    assert count > fresh > 3
    check(page.warmth.fresh, f"{fresh} of {count}", count)
    spent, batches = rows(
        "SELECT SUM(CAST(result ->> 'requests' AS INTEGER)), COUNT(*) FROM tasks_job"
        " WHERE job_type = 'stock_batch_fetch' AND parameters ->> 'ahead' IS NOT NULL AND finished_at >= %s",
        now - timedelta(hours=1),
    )[0]
    assert batches > 3
    check(page.warmth.requests, spent, batches)
    logins, share = instant_logins(now)
    check.without_list(page.warmth.instant_logins, f"{share} of {logins}")


def instant_logins(now: datetime) -> tuple[int, str]:
    logins, instant = rows(
        "SELECT COUNT(*), SUM(CASE WHEN stale = 0 THEN 1 ELSE 0 END) FROM portfolio_login WHERE at >= %s",
        now - timedelta(days=1),
    )[0]
    assert logins > instant > 3
    return logins, f"{instant / logins:.0%}"


def check_stocks(page: Page, now: datetime, check: Check) -> None:
    expected = {
        "fresh": "status = 'active' AND checked_at > %s",
        "stale": "status = 'active' AND checked_at <= %s",
        "never checked": "status = 'active' AND checked_at IS NULL AND %s IS NOT NULL",
        "parked": "status <> 'active' AND %s IS NOT NULL",
    }
    assert [words for words, _ in page.stock_states] == list(expected)
    for words, figure in page.stock_states:
        count = one(f"SELECT COUNT(*) FROM market_stock WHERE {HELD} AND {expected[words]}", now - LIMIT)
        assert count > 0
        check(figure, count, count)
    active = f"FROM market_stock WHERE {HELD} AND status = 'active' AND checked_at"
    counts = {"never": one(f"SELECT COUNT(*) {active} IS NULL")}
    younger = now + timedelta(days=1)
    for label, age in AGES.items():
        older = now - age
        counts[label] = one(f"SELECT COUNT(*) {active} <= %s AND checked_at > %s", younger, older)
        younger = older
    assert [bar.label for bar in page.ages] == list(counts)
    for bar in page.ages:
        check(bar.figures[0], counts[bar.label], counts[bar.label])
        assert list(bar.shares) == [round(100 * counts[bar.label] / max(counts.values()), 1)]
    worst = rows(
        f"SELECT symbol, checked_at FROM market_stock WHERE {HELD} AND status = 'active'"
        " AND (checked_at IS NULL OR checked_at <= %s) ORDER BY checked_at IS NOT NULL, checked_at, symbol LIMIT 10",
        now - LIMIT,
    )
    assert [row.symbol.text for row in page.worst_stocks] == [symbol for symbol, _ in worst]
    for row, (symbol, checked) in zip(page.worst_stocks, worst, strict=True):
        check(row.symbol, symbol, 1)
        check(row.age, "never checked" if checked is None else f"{describe_duration(since(checked, now))} ago", 1)


def check_coverage(page: Page, now: datetime, check: Check) -> None:
    is_fresh = "CASE WHEN market_stock.status = 'active' AND checked_at > %s THEN 1 ELSE 0 END"
    held, fresh = rows(f"SELECT COUNT(*), SUM({is_fresh}) FROM market_stock WHERE {HELD}", now - LIMIT)[0]
    check(page.share_covered, f"{fresh / held:.0%}", fresh)
    holdings = "FROM portfolio_holding JOIN market_stock ON market_stock.id = stock_id"
    total, fresh = rows(f"SELECT COUNT(*), SUM({is_fresh}) {holdings}", now - LIMIT)[0]
    check(page.covered, f"{fresh} of {total}", total)
    worst = rows(
        f"SELECT username, portfolio.name, COUNT(*), SUM({is_fresh}) AS fresh {holdings}"
        " JOIN portfolio_portfolio AS portfolio ON portfolio.id = portfolio_id"
        " JOIN auth_user ON auth_user.id = portfolio.user_id GROUP BY portfolio.id, portfolio.name, username"
        f" ORDER BY SUM({is_fresh}) * 1.0 / COUNT(*), COUNT(*) DESC, portfolio.id LIMIT 10",
        *(now - LIMIT, now - LIMIT),
    )
    assert [(row.user, row.portfolio.text) for row in page.coverage] == [(user, name) for user, name, *_ in worst]
    for row, (_, name, count, fresh) in zip(page.coverage, worst, strict=True):
        check(row.portfolio, name, count)
        check(row.fresh, f"{fresh} of {count}", count)
        assert row.share == pytest.approx(100 * fresh / count, abs=0.06)


def check_priorities(page: Page, now: datetime, check: Check) -> None:
    active = one("SELECT COUNT(*) FROM user_portfolio_priority WHERE is_active")
    check(page.all_tracked, "All scores", active)
    highest = rows(
        "SELECT username, symbol, priority_score, CASE WHEN status <> 'active' THEN 'parked'"
        " WHEN checked_at IS NULL THEN 'never fetched' WHEN checked_at > %s THEN 'fresh' ELSE 'stale' END, checked_at,"
        " (SELECT MAX(created_at) FROM market_analysis WHERE stock_id = market_stock.id)"
        " FROM user_portfolio_priority AS score JOIN market_stock ON market_stock.id = stock_id"
        " JOIN auth_user ON auth_user.id = score.user_id WHERE score.is_active"
        " ORDER BY priority_score DESC, score.id DESC LIMIT 10",
        now - LIMIT,
    )
    for row, (user, symbol, score, data, checked, analysed) in zip(page.tracked, highest, strict=True):
        check(row.stock, symbol, 1)
        check(row.score, score, 1)
        ages = [
            "never" if moment is None else f"{describe_duration(since(moment, now))} ago"
            for moment in (checked, analysed)
        ]
        assert [row.user, row.data, row.fetched, row.analysed] == [user, data, *ages]


def check_failures(page: Page, now: datetime, check: Check) -> None:
    nameless = "CASE WHEN symbol = '' THEN error ELSE REPLACE(error, ' for ' || symbol, '') END"
    expected = rows(
        f"SELECT COUNT(*), status, {nameless} FROM tasks_job WHERE status IN ('failed', 'expired')"
        " AND finished_at >= %s GROUP BY 2, 3 ORDER BY 1 DESC, 3, 2 LIMIT 10",
        now - timedelta(days=1),
    )
    assert len(expected) == 10
    assert [(row.status, row.reason) for row in page.failures] == [(status, reason) for _, status, reason in expected]
    for row, (count, *_) in zip(page.failures, expected, strict=True):
        check(row.jobs, count, count)


def test_the_latest_figures_of_the_charts_are_what_the_tables_say_too(page, now, admin_client, admin_user):
    check = Check(admin_user)
    alerts.check()  # which measures
    hour = now - timedelta(hours=1)
    charts = {
        chart.key: chart for chart in admin_client.get("/admin/operations/stockdata/charts/").context["charts"].charts
    }
    latest = {(key, line.label): line.latest for key, chart in charts.items() for line in chart.lines}
    for card in page.queues:
        check(latest.pop(("waiting", card.queue)), card.waiting.text, int(card.waiting.text))
    oldest = one("SELECT MIN(created_at) FROM tasks_job WHERE status IN ('pending', 'queued')")
    check(latest.pop(("waiting", "oldest")), describe_duration(since(oldest, now)), 1)
    for status in ("completed", "failed", "expired", "cancelled"):
        count = one("SELECT COUNT(*) FROM tasks_job WHERE status = %s AND finished_at >= %s", status, hour)
        check(latest.pop(("ended", status)), count, count)
    for job_type in ("stock_fetch", "stock_batch_fetch", "stock_analysis", "stock_research"):
        for key, begin, end in (("wait", "queued_at", "started_at"), ("run", "started_at", "finished_at")):
            seconds = sorted(
                float(took)
                for (took,) in rows(
                    f"SELECT {seconds_between(begin, end)} FROM tasks_job"
                    " WHERE job_type = %s AND status IN ('completed', 'failed') AND finished_at >= %s",
                    *(job_type, hour),
                )
            )
            nearest = timedelta(seconds=seconds[math.ceil(0.95 * len(seconds)) - 1])
            check(latest.pop((key, job_type)), describe_duration(nearest), len(seconds))
    fresh = dict(page.logins.results)["fresh"].text
    for word, figure in page.logins.seconds:
        check(latest.pop(("login", word)), figure.text, int(fresh))
    check(latest.pop(("coverage", "fresh")), page.share_covered.text, int(dict(page.stock_states)["fresh"].text))
    check.without_list(latest.pop(("instant", "instant")), instant_logins(now)[1])
    used = one("SELECT SUM(requests) FROM market_sourceuse WHERE granted_at > %s", now - MINUTE)
    check(latest.pop(("requests", "yahoo_finance")), used, 1)
    assert {key for key, figure in latest.items() if figure is not None} == set()


def test_the_metrics_say_the_same(page, now):
    samples = metrics.samples(now)

    def metric(name: str, **labels: str) -> float:
        (value,) = (value for found, value in samples[f"stockqueue_{name}"] if labels.items() <= found.items())
        return value

    together, states = dict(page.workforce), dict(page.stock_states)
    assert int(together["alive"].text) == metric("workers", state="alive")
    assert int(together["gone"].text) == metric("workers", state="gone")
    busy, processes = metric("worker_processes_busy"), metric("worker_processes")
    assert together["processes busy"].text == f"{busy:.0f} of {processes:.0f}"
    assert together["utilisation"].text == f"{metric('worker_utilisation_ratio'):.0%}"
    assert together["efficiency"].text == f"{metric('worker_efficiency_ratio'):.0%}"
    assert page.share_covered.text == f"{metric('coverage_ratio'):.0%}"
    assert page.warmth.instant_logins
    share_of_logins = f"{metric('instant_logins_ratio'):.0%} of {metric('logins_last_day'):.0f}"
    assert page.warmth.instant_logins.text == share_of_logins
    for words, state in (("fresh", "fresh"), ("stale", "stale"), ("never checked", "never"), ("parked", "parked")):
        assert int(states[words].text) == metric("held_stocks", state=state)
    for result, figure in page.logins.results:
        assert int(figure.text) == metric("logins", result=result)
    for (_, figure), percentile in zip(page.logins.seconds, ("50", "95"), strict=True):
        seconds = metric("login_to_fresh_seconds", percentile=percentile)
        assert figure.text == describe_duration(timedelta(seconds=seconds))
    for card in page.queues:
        for bar in card.bars:
            labels = {"queue": card.queue, "priority": bar.label}
            counts = [int(figure.text) for figure in bar.figures]
            assert counts == [metric("jobs", state=state, **labels) for state in ("pending", "queued", "running")]
        seconds = metric("oldest_waiting_job_age_seconds", queue=card.queue)
        assert card.oldest is not None
        assert card.oldest.text == describe_duration(timedelta(seconds=seconds))
    waiting, aside = (metric("outbox_events", state=state) for state in ("waiting", "set_aside"))
    assert metric("refused_jobs") == int(next(iter(page.lights)).figures[1].text.split()[0])
    _, events, others = next(light for light in page.lights if light.name == "MQTT bridge").figures
    assert (events.text.split()[0], others.text.split()[0]) == (f"{waiting:.0f}", f"{aside:.0f}")
