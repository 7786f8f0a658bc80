"""Work that is no job: a worker does it, or else a thread of this process."""

from collections.abc import Callable
from functools import partial

from django.conf import settings

from tasks.delivery import broker, direct


def hand_over(
    task: str,
    work: Callable[..., object],
    *arguments: object,
    queue: str,
    priority: int,
    expires: float,
    is_awaited: bool = False,
) -> bool:
    """Send a message for the Celery task, valid for `expires` seconds. Return False if nobody can do the work now.

    Without a broker, `work` with the same arguments is done here. `is_awaited`: a user waits for it.
    """
    process = direct.process_for_user if is_awaited else direct.process_in_background
    here = partial(process, partial(work, *arguments))
    if settings.JOB_PROCESSOR.queue.backend == "direct" and direct.may_stand_in():
        return here()
    return broker.publish_task(task, *arguments, queue=queue, priority=priority, expires=expires) or here()
