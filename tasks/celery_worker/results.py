"""The backend for the results of Celery tasks (the setting `result_backend`)."""

import logging
from typing import Any

from django.db import DatabaseError, InterfaceError
from django_celery_results.backends.database import DatabaseBackend

from tasks.celery_worker.connections import close_lost_connections

logger = logging.getLogger(__name__)


class ResultBackend(DatabaseBackend):
    """Stores TaskResults with django-celery-results, and tolerates database outages.

    The main process of a worker writes the results of killed and expired tasks. An error there would prevent the
    acknowledgement of the message, or end the worker. The job's row is the truth; a TaskResult may be missing.
    """

    def _store_result(self, task_id: str, *args: Any, **options: Any) -> Any:
        close_lost_connections()
        try:
            return super()._store_result(task_id, *args, **options)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("could not store the result of task %s: %s", task_id, str(error).partition("\n")[0])
            return None
