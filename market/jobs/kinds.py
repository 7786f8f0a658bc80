"""Kinds of analysis: the job type and the order of each."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings

from market.models import Analysis
from tasks.job_types import Place
from tasks.models import Job

_RESEARCHED = (Analysis.Kind.FUNDAMENTAL, Analysis.Kind.NEWS)


def job_type_of(kind: Analysis.Kind) -> Job.Type:
    """The job type of a kind: research for fundamentals and news, analysis for the rest."""
    return Job.Type.STOCK_RESEARCH if kind in _RESEARCHED else Job.Type.STOCK_ANALYSIS


def place_of(parameters: Mapping[str, Any]) -> Place | None:
    """The kind in a job's parameters, and its place in `analysis_priority`."""
    kinds = parameters.get("analysis_types")
    return Place(str(kinds[0]), _number_of(kinds[0])) if kinds else None


def in_order(kinds: Iterable[Analysis.Kind]) -> list[Analysis.Kind]:
    """Kinds of analysis, each once, in the order of `analysis_priority`."""
    return sorted(set(kinds), key=lambda kind: (_number_of(kind), kind))


def _number_of(kind: str) -> int:
    """The place of a kind in `analysis_priority`, from 1; kinds missing there come last."""
    order = [str(one) for one in settings.JOB_PROCESSOR.stock_jobs.analysis.analysis_priority]
    return order.index(kind) + 1 if kind in order else len(order) + 1
