"""The work of jobs that analyse and research, each of one kind."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from django.utils import timezone
from pydantic import BaseModel, Field

from market.models import Analysis, Stock
from tasks import research, sentiment_analysis, technical_analysis
from tasks.enqueue import job_type_of
from tasks.models import Job
from tasks.running.handlers import Done, Store, WorkFailed, does, read_parameters


class KindOfAnalysis(NamedTuple):
    """How one kind is done, and whether the newest one of a stock, where it is young enough, still holds."""

    analyse: Callable[[Job, datetime], Store | Done]
    holds: Callable[[Analysis, Stock], bool]


KINDS = {
    Analysis.Kind.TECHNICAL: KindOfAnalysis(technical_analysis.analyse_technically, technical_analysis.holds),
    Analysis.Kind.SENTIMENT: KindOfAnalysis(sentiment_analysis.analyse_sentiment, sentiment_analysis.holds),
    Analysis.Kind.FUNDAMENTAL: KindOfAnalysis(research.research_fundamentals, research.fundamentals_hold),
    Analysis.Kind.NEWS: KindOfAnalysis(research.research_news, research.news_hold),
}


class AnalysisParameters(BaseModel):
    """What to find out about a stock."""

    analysis_types: list[Analysis.Kind] = Field(min_length=1, max_length=1)


@does(Job.Type.STOCK_ANALYSIS)
@does(Job.Type.STOCK_RESEARCH)
def analyse_stock(job: Job) -> Store | Done:
    """Find out what a job wants to know about a stock, unless that was done lately and would say the same."""
    (kind,) = read_parameters(AnalysisParameters, job).analysis_types
    if job_type_of(kind) != job.job_type:
        raise WorkFailed(f"parameters.analysis_types: {kind} is not found out by {job.job_type} jobs")
    return KINDS[kind].analyse(job, timezone.now())
