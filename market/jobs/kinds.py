"""Kinds of analysis: which type of job finds each out, and which comes first."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings

from market.models import Analysis
from tasks.job_types import Place
from tasks.models import Job

_RESEARCHED = (Analysis.Kind.FUNDAMENTAL, Analysis.Kind.NEWS)


def job_type_of(kind: Analysis.Kind) -> Job.Type:
    """Fundamentals and news are researched, and the rest is analysed."""
    return Job.Type.STOCK_RESEARCH if kind in _RESEARCHED else Job.Type.STOCK_ANALYSIS


def place_of(parameters: Mapping[str, Any]) -> Place | None:
    """The kind that a job's parameters ask for, and its place in `analysis_priority`."""
    kinds = parameters.get("analysis_types")
    return Place(str(kinds[0]), _number_of(kinds[0])) if kinds else None


def in_order(kinds: Iterable[Analysis.Kind]) -> list[Analysis.Kind]:
    """Kinds of analysis, each once, in the order of `analysis_priority`."""
    return sorted(set(kinds), key=lambda kind: (_number_of(kind), kind))


def _number_of(kind: str) -> int:
    """1 for the kind of analysis that runs first; those that are not named come after all others."""
    order = [str(one) for one in settings.JOB_PROCESSOR.stock_jobs.analysis.analysis_priority]
    return order.index(kind) + 1 if kind in order else len(order) + 1
