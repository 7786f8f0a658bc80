"""Many logins at once: there is one active job for each stock, and each is fetched once."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from market.jobs.requests import request_fetches
from market.models import Stock
from tasks.models import Job, JobRequest
from tasks.running.execute import run_job
from tests.faults.steps import fetched, log_in, wait_for_end
from tests.support.invariants import check_jobs

pytestmark = pytest.mark.django_db(transaction=True)

SYMBOLS = [f"S{number}" for number in range(5)]


def log_in_at_once(users: list[User], at_once: int) -> None:
    together = threading.Barrier(at_once)

    def log_in_with_the_others(number: int) -> None:
        try:
            if number < at_once:
                together.wait(30)
            log_in(users[number])
        finally:
            connection.close()

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(log_in_with_the_others, range(len(users))))


def test_one_user_who_logs_in_50_times_at_once_has_each_stock_fetched_once(user, hold, yahoo, broker, worker):
    yahoo.serve(*SYMBOLS)
    hold(user, *SYMBOLS)
    yahoo.server.hold_back()
    log_in_at_once([user] * 50, 50)
    yahoo.server.release()
    jobs = list(Job.objects.all())
    wait_for_end(jobs)
    check_jobs(jobs, served=yahoo.server.closes)
    assert len(jobs) == len(SYMBOLS)
    assert fetched(yahoo) == Counter(SYMBOLS)
    assert set(Job.objects.values_list("status", "attempt")) == {("completed", 1)}


@pytest.mark.parametrize("ended", [False, True], ids=["while they are fetched", "while the jobs end"])
def test_what_100_users_hold_is_fetched_once(django_user_model, hold, yahoo, broker, worker, ended):
    yahoo.serve(*SYMBOLS)
    users = [django_user_model.objects.create_user(f"holder{number}", password="secret") for number in range(100)]
    for holder in users:
        hold(holder, *SYMBOLS)
    if not ended:
        yahoo.server.hold_back()
    log_in_at_once(users, 20)
    yahoo.server.release()
    jobs = list(Job.objects.all())
    wait_for_end(jobs)
    check_jobs(jobs, served=yahoo.server.closes)
    assert fetched(yahoo) == Counter(SYMBOLS)
    if not ended:
        assert (len(jobs), JobRequest.objects.count()) == (len(SYMBOLS), 100 * len(SYMBOLS))


@pytest.mark.parametrize(("also_asked", "times"), [(None, 0), (Job.Trigger.USER_REQUEST, 1)])
def test_what_was_fetched_after_a_login_looked_is_fetched_again_only_for_who_says_so(
    user, hold, yahoo, also_asked, times
):
    yahoo.serve("AAPL")
    (stock,) = hold(user, "AAPL")
    (job,) = request_fetches([stock], Job.Trigger.USER_LOGIN, user).created
    if also_asked:
        request_fetches([stock], also_asked, user)
    Stock.objects.update(checked_at=timezone.now())
    run_job(job.pk, "worker")
    check_jobs([job])
    job.refresh_from_db()
    assert (job.status, job.outcome) == ("completed", "updated" if times else "unchanged")
    assert fetched(yahoo)["AAPL"] == times
