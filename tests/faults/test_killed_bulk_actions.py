"""Actions on many jobs whose process is killed or whose message is lost: they go on, and do nothing twice."""

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from redis import Redis

from operations.local.child_processes import spawn, wait_until
from tasks.bulk import runner
from tasks.delivery import broker as celery_broker
from tasks.models import BulkAction, Job, JobEvent
from tests.conftest import ROOT, WORKER, database_url
from tests.support.invariants import check_seq_has_no_gaps
from tests.support.jobs import many_jobs

pytestmark = pytest.mark.django_db(transaction=True)

Kind = BulkAction.Kind
WORKER_OF_ALL = (*WORKER, "-Q", "foreground,background_fetch,background_analysis")
JOBS = 450
"""Two batches, and a part of one."""


@pytest.fixture
def operator(django_user_model) -> User:
    return django_user_model.objects.create_superuser("operator")


def begin(kind: Kind, operator: User, filters: str) -> BulkAction:
    return runner.begin(kind, filters, operator, JOBS)[0]


def work_in_another_process(action: BulkAction, crash_at: str) -> "subprocess.Popen[bytes]":
    own = {"DATABASE_URL": database_url(), "STOCKQUEUE_CRASH_AT": crash_at}
    code = f"from tasks.bulk import runner; runner.work({action.pk})"
    return spawn([sys.executable, "manage.py", "shell", "-v0", "-c", code], cwd=ROOT, env=os.environ | own)


def has_ended(action: BulkAction) -> bool:
    action.refresh_from_db()
    return action.finished_at is not None


def let_pass(action: BulkAction) -> None:
    """As if nothing had been heard of it for as long as the sweeper is patient."""
    BulkAction.objects.filter(pk=action.pk).update(next_at=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize(("crash_at", "done"), [("changed", 0), ("batch", runner.JOBS_PER_BATCH)])
def test_what_a_killed_process_left_is_gone_on_with_and_done_once(operator, new_redis, start, crash_at, done):
    jobs = many_jobs(JOBS, "running")
    action = begin(Kind.CANCEL, operator, "status__exact=running")
    assert work_in_another_process(action, crash_at).wait(60) == -signal.SIGKILL
    action.refresh_from_db()
    assert (action.done, action.finished_at) == (done, None)
    assert Job.objects.filter(status="cancelled").count() == done
    let_pass(action)
    with start(*WORKER_OF_ALL, ready=" ready.", CELERY_BROKER_URL=new_redis.url):  # it sweeps when it starts
        wait_until(lambda: has_ended(action), "the end of the action")
    assert (action.state, action.done, action.skipped) == ("completed", JOBS, 0)
    assert set(Job.objects.values_list("status", "error")) == {("cancelled", "cancelled by operator")}
    told = Counter(JobEvent.objects.filter(event="cancelled").values_list("job", flat=True))
    assert set(told.values()) == {1}
    check_seq_has_no_gaps(jobs)


def test_what_a_killed_process_ran_again_runs_again_once(operator, new_redis, start):
    many_jobs(JOBS, "failed")
    action = begin(Kind.RUN_AGAIN, operator, "status__exact=failed")
    assert work_in_another_process(action, "batch").wait(60) == -signal.SIGKILL
    assert Job.objects.filter(retry_of__isnull=False).count() == runner.JOBS_PER_BATCH
    let_pass(action)
    with start(*WORKER_OF_ALL, ready=" ready.", CELERY_BROKER_URL=new_redis.url):
        wait_until(lambda: has_ended(action), "the end of the action")
    assert (action.done, action.skipped) == (JOBS, 0)
    again = Counter(Job.objects.filter(retry_of__isnull=False).values_list("retry_of", flat=True))
    assert (len(again), set(again.values())) == (JOBS, {1})


def test_a_message_that_the_broker_lost_is_sent_again(operator, new_redis, point_to, start):
    point_to(new_redis.url)
    many_jobs(3, "running")
    before = celery_broker.depth("background_analysis")
    action = begin(Kind.CANCEL, operator, "status__exact=running")
    assert celery_broker.depth("background_analysis") == before + 1
    Redis.from_url(new_redis.url).flushall()
    let_pass(action)
    with start(*WORKER_OF_ALL, ready=" ready.", CELERY_BROKER_URL=new_redis.url):
        wait_until(lambda: has_ended(action), "the end of the action")
    assert action.done == 3


def test_it_waits_behind_everything_else(operator, new_redis, point_to):
    point_to(new_redis.url)
    many_jobs(3)
    begin(Kind.CANCEL, operator, "status__exact=pending")
    redis = Redis.from_url(new_redis.url)
    waiting = {str(key)[-2]: redis.llen(key) for key in redis.keys("background_*")}
    assert waiting == {"7": 3, "9": 1}  # analyses have priority 8, and Redis serves 0 first
