"""For `-I`: a worker that is stopped waits for its jobs for two seconds."""

from tasks import worker

worker.GRACE = 2.0
