"""Where Celery keeps the results of tasks (the setting `result_backend`)."""

import logging
from typing import Any

from django.db import DatabaseError, InterfaceError
from django_celery_results.backends.database import DatabaseBackend

from tasks.connections import close_lost_connections

logger = logging.getLogger(__name__)


class ResultBackend(DatabaseBackend):
    """TaskResults by django-celery-results, for workers that outlive the database.

    A worker's main process writes the results of tasks that were killed or have expired. An error there would keep
    the message from being acknowledged, or end the worker. The job's row is the truth; a TaskResult may be missing.
    """

    def _store_result(self, task_id: str, *args: Any, **options: Any) -> Any:
        close_lost_connections()
        try:
            return super()._store_result(task_id, *args, **options)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("the result of task %s is not kept: %s", task_id, str(error).partition("\n")[0])
            return None
