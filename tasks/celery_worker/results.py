"""The backend for the results of Celery tasks (the setting `result_backend`)."""

import logging
from collections.abc import Mapping
from typing import Any

from celery import states
from celery.app.task import Context
from django.db import DatabaseError, InterfaceError
from django.utils import timezone
from django_celery_results.backends.database import DatabaseBackend
from django_celery_results.models import TaskResult

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

    def store_together(self, endings: Mapping[str, Any], request: Context) -> None:
        """Store the results of jobs that one message ran besides its own job, by id. Exceptions are failures."""
        rows = [self._row(task_id, ending, request) for task_id, ending in endings.items()]
        fields = [field.name for field in TaskResult._meta.concrete_fields if field.name not in ("id", "task_id")]
        try:
            TaskResult.objects.bulk_create(
                rows, update_conflicts=True, unique_fields=["task_id"], update_fields=fields
            )
        except (DatabaseError, InterfaceError) as error:
            logger.warning("could not store %d results: %s", len(rows), str(error).partition("\n")[0])

    def _row(self, task_id: str, ending: Any, request: Context) -> TaskResult:
        failed = isinstance(ending, Exception)
        content_type, encoding, result = self.encode_content(self.prepare_exception(ending) if failed else ending)
        now = timezone.now()
        return TaskResult(
            task_id=task_id,
            status=states.FAILURE if failed else states.SUCCESS,
            result=result,
            content_type=content_type,
            content_encoding=encoding,
            meta=self.encode_content({"children": []})[2],
            task_name=request.task,
            task_args=self.encode_content(f"('{task_id}',)")[2],
            task_kwargs=self.encode_content("{}")[2],
            worker=request.hostname,
            date_created=now,
            date_started=now,
            date_done=now,
        )
