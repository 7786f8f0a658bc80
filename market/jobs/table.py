"""The job types about stocks, an entry for each."""

import logging

from django.conf import settings

from market.jobs import results
from market.jobs.analysis import analyse_stock
from market.jobs.fetches.alone import fetch_stock
from market.jobs.fetches.batch import fetch_batch
from market.jobs.fetches.cohort import fetch_stocks
from market.jobs.fetches.parameters import may_be_quoted, quote_size
from market.jobs.kinds import place_of
from market.jobs.limits import limit_of_analysis
from tasks.job_types import Cohorts, JobType, RetryRule
from tasks.models import Job

_fetches = logging.getLogger("tasks.jobs.fetch")
_analyses = logging.getLogger("tasks.jobs.analysis")


def _fetch_retries() -> RetryRule:
    rule = settings.JOB_PROCESSOR.stock_jobs.data_fetch
    return RetryRule(rule.max_retries, rule.retry_backoff)


JOB_TYPES: dict[str, JobType] = {
    Job.Type.STOCK_FETCH: JobType(
        handler=fetch_stock,
        queues=(Job.Queue.FOREGROUND, Job.Queue.BACKGROUND_FETCH),
        time_limit=lambda: settings.JOB_PROCESSOR.jobs.timeouts.stock_fetch,
        logger=_fetches,
        describe_result=results.describe_fetch,
        retries=_fetch_retries,
        limited_by=lambda _: "prices",
        cohorts=Cohorts(size=quote_size, includes=may_be_quoted, handler=fetch_stocks),
    ),
    Job.Type.STOCK_BATCH_FETCH: JobType(
        handler=fetch_batch,
        queues=(Job.Queue.BACKGROUND_FETCH,),
        time_limit=lambda: settings.JOB_PROCESSOR.jobs.timeouts.portfolio_fetch,
        logger=_fetches,
        describe_result=results.describe_batch,
        describe_progress=results.describe_member,
        retries=_fetch_retries,
        limited_by=lambda _: "prices",
    ),
    Job.Type.STOCK_ANALYSIS: JobType(
        handler=analyse_stock,
        queues=(Job.Queue.BACKGROUND_ANALYSIS,),
        time_limit=lambda: settings.JOB_PROCESSOR.jobs.timeouts.stock_analysis,
        logger=_analyses,
        describe_result=results.describe_analysis,
        place=place_of,
        limited_by=limit_of_analysis,
    ),
    Job.Type.STOCK_RESEARCH: JobType(
        handler=analyse_stock,
        queues=(Job.Queue.BACKGROUND_ANALYSIS,),
        time_limit=lambda: settings.JOB_PROCESSOR.jobs.timeouts.batch_analysis,
        logger=_analyses,
        describe_result=results.describe_analysis,
        place=place_of,
        limited_by=limit_of_analysis,
    ),
}

LEGACY_NAMES = {"portfolio_priority": (Job.Queue.FOREGROUND,)}
"""The predecessor's name for the fetches of a login, here of the type `stock_fetch`."""
