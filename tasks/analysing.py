"""The work of analysis jobs, each of one kind."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from django.utils import timezone
from pydantic import BaseModel, Field

from market.models import Analysis, Stock
from tasks import sentiment_analysis, technical_analysis
from tasks.models import Job
from tasks.work import Done, Store, WorkFailed, does, read_parameters


class KindOfAnalysis(NamedTuple):
    """How one kind is done, and whether the newest one of a stock, where it is young enough, still holds."""

    analyse: Callable[[Job, datetime], Store | Done]
    holds: Callable[[Analysis, Stock], bool]


KINDS = {
    Analysis.Kind.TECHNICAL: KindOfAnalysis(technical_analysis.analyse_technically, technical_analysis.holds),
    Analysis.Kind.SENTIMENT: KindOfAnalysis(sentiment_analysis.analyse_sentiment, sentiment_analysis.holds),
}
"""What this version does."""


class AnalysisParameters(BaseModel):
    """What to find out about a stock."""

    analysis_types: list[Analysis.Kind] = Field(min_length=1, max_length=1)


@does(Job.Type.STOCK_ANALYSIS)
def analyse_stock(job: Job) -> Store | Done:
    """Analyse a stock, unless that was done lately and would say the same."""
    (kind,) = read_parameters(AnalysisParameters, job).analysis_types
    if kind not in KINDS:
        raise WorkFailed(f"parameters.analysis_types: {kind} is not done by this version; {' and '.join(KINDS)} are")
    return KINDS[kind].analyse(job, timezone.now())
