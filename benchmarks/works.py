"""Work that costs nothing, or only time, in place of the analysis jobs: `celery … -I benchmarks.works`."""

import time

from tasks.models import Job
from tasks.work import Store, does


@does(Job.Type.STOCK_ANALYSIS)
def do_nothing(job: Job) -> Store:
    return lambda: (Job.Outcome.UNCHANGED, {})


@does(Job.Type.STOCK_RESEARCH)
def wait(job: Job) -> Store:
    time.sleep(job.parameters["seconds"])
    return lambda: (Job.Outcome.UNCHANGED, {})
