"""Workers in a given state, for tests that look at them."""

from typing import Any

from django.db.models.functions import Now

from tasks.models import Worker


def new_worker(worker_id: str = "celery@here:1", **fields: Any) -> Worker:
    """The row of a worker, which lives unless `fields` say something else."""
    known = {"hostname": "here", "pid": 1, "queues": ["foreground"], "concurrency": 2}
    times = {"started_at": fields.get("heartbeat_at", Now()), "heartbeat_at": Now()}
    row = Worker.objects.create(worker_id=worker_id, **(known | times | fields))
    return Worker.objects.get(pk=row.pk)
