"""The work of analysis jobs, each of one kind."""

from collections.abc import Callable
from datetime import datetime

from django.utils import timezone
from pydantic import BaseModel, Field

from market.models import Analysis
from tasks.models import Job
from tasks.sentiment_analysis import analyse_sentiment
from tasks.technical_analysis import analyse_technically
from tasks.work import Done, Store, WorkFailed, does, read_parameters

KINDS: dict[Analysis.Kind, Callable[[Job, datetime], Store | Done]] = {
    Analysis.Kind.TECHNICAL: analyse_technically,
    Analysis.Kind.SENTIMENT: analyse_sentiment,
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
    return KINDS[kind](job, timezone.now())
