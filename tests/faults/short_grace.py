"""For `-I`: a worker that is stopped waits for its jobs for two seconds."""

from tasks.celery_worker import signals

signals.GRACE = 2.0
