"""Work that misbehaves, for workers that are started with `-I tests.support.works`: in place of real analyses.

No test imports this module: the work would replace the real analyses in the process of all tests.
"""

import os
import signal
from functools import partial
from pathlib import Path

from django.db.models import F, Value
from django.db.models.functions import Concat

from market.models import Stock
from tasks.job_types import handles
from tasks.models import Job
from tasks.running.handlers import JobResult, Store
from tests.support.gate import Gate


@handles(Job.Type.STOCK_ANALYSIS)
def wait(job: Job) -> Store:
    Gate(Path(job.parameters["gate"])).pass_through(job)
    return partial(_note, job)


def _note(job: Job) -> JobResult:
    Stock.objects.filter(symbol=job.symbol).update(name=Concat(F("name"), Value(str(job.attempt))))
    return JobResult(Job.Outcome.UPDATED, {"symbol": job.symbol, "written_by": f"attempt-{job.attempt}"})


@handles(Job.Type.STOCK_RESEARCH)
def die(job: Job) -> Store:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
