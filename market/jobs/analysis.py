"""The work of jobs that analyse and research, each of one kind."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from django.utils import timezone
from pydantic import BaseModel, Field

from market.jobs import fundamental, sentiment, technical
from market.jobs.kinds import job_type_of
from market.models import Analysis, Stock
from tasks.models import Job
from tasks.running.handlers import JobError, JobResult, Store, read_parameters


class KindOfAnalysis(NamedTuple):
    """How one kind is done, and whether the newest one of a stock, where it is young enough, still holds."""

    analyse: Callable[[Job, datetime], Store | JobResult]
    holds: Callable[[Analysis, Stock], bool]


KINDS = {
    Analysis.Kind.TECHNICAL: KindOfAnalysis(technical.analyse_technically, technical.holds),
    Analysis.Kind.SENTIMENT: KindOfAnalysis(sentiment.analyse_sentiment, sentiment.holds),
    Analysis.Kind.FUNDAMENTAL: KindOfAnalysis(fundamental.research_fundamentals, fundamental.fundamentals_hold),
    Analysis.Kind.NEWS: KindOfAnalysis(fundamental.research_news, fundamental.news_hold),
}


class AnalysisParameters(BaseModel):
    """What to find out about a stock."""

    analysis_types: list[Analysis.Kind] = Field(min_length=1, max_length=1)


def analyse_stock(job: Job) -> Store | JobResult:
    """Find out what a job wants to know about a stock, unless that was done lately and would say the same."""
    (kind,) = read_parameters(AnalysisParameters, job).analysis_types
    if job_type_of(kind) != job.job_type:
        raise JobError(f"parameters.analysis_types: {kind} is not found out by {job.job_type} jobs")
    return KINDS[kind].analyse(job, timezone.now())
