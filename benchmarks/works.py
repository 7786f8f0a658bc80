"""Work that only takes time, in place of the real work: `celery … -I benchmarks.works`.

`parameters.seconds` says how long; without it, none.
"""

import time

from tasks.job_types import handles
from tasks.models import Job
from tasks.running.handlers import JobResult


def take_time(job: Job) -> JobResult:
    if seconds := job.parameters.get("seconds"):
        time.sleep(seconds)
    return JobResult(Job.Outcome.UNCHANGED, {})


for _job_type in Job.Type:
    handles(_job_type)(take_time)
