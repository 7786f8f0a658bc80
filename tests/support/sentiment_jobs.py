"""Sentiment jobs, and how they end that an LLM should have done."""

from market.jobs.requests import request_analyses
from market.models import Analysis, Stock
from tasks.models import Job
from tests.support.jobs import result_of
from tests.support.standins.openai_standin import COMPLETION_TOKENS, PROMPT_TOKENS

BAD_TITLES = ("Fraud probe: Apple faces terrible losses", "Horrible crash kills hopes")
"""VADER speaks for selling, the stand-in for an LLM for buying."""
TOKENS = PROMPT_TOKENS + COMPLETION_TOKENS
"""Of each answer of the stand-in."""


def request_sentiment(stock: Stock, trigger: Job.Trigger = Job.Trigger.USER_REQUEST) -> Job:
    return request_analyses([stock], trigger, analysis_types=[Analysis.Kind.SENTIMENT]).jobs[0]


def fell_back(job: Job, reason: str) -> Analysis:
    """The analysis by the rule that the job ended with, for this reason."""
    found = Analysis.objects.get()
    assert (job.status, job.outcome) == ("completed", "partial"), job.error
    assert (found.recommendation, found.version) == ("SELL", "vader/1")
    assert found.values["fallback"] == result_of(job)["reason"] == f"the LLM was not used: {reason}"
    return found
