"""The handlers of analysis and research jobs, one for each kind."""

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
    """The handler of a kind, and a check whether a stock's recent analysis is still valid."""

    analyse: Callable[[Job, datetime], Store | JobResult]
    holds: Callable[[Analysis, Stock], bool]


KINDS = {
    Analysis.Kind.TECHNICAL: KindOfAnalysis(technical.analyse_technically, technical.holds),
    Analysis.Kind.SENTIMENT: KindOfAnalysis(sentiment.analyse_sentiment, sentiment.holds),
    Analysis.Kind.FUNDAMENTAL: KindOfAnalysis(fundamental.research_fundamentals, fundamental.fundamentals_hold),
    Analysis.Kind.NEWS: KindOfAnalysis(fundamental.research_news, fundamental.news_hold),
}


class AnalysisParameters(BaseModel):
    """The kind of analysis to do."""

    analysis_types: list[Analysis.Kind] = Field(min_length=1, max_length=1)


def analyse_stock(job: Job) -> Store | JobResult:
    """Analyse a stock as the job asks, unless a recent analysis is still valid."""
    (kind,) = read_parameters(AnalysisParameters, job).analysis_types
    if job_type_of(kind) != job.job_type:
        raise JobError(f"parameters.analysis_types: {job.job_type} jobs do not support {kind}")
    return KINDS[kind].analyse(job, timezone.now())
