"""What would end Celery's worker, and must not: messages that are not as ours are, a broker that goes away."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from celery.worker.consumer import Consumer
from kombu.exceptions import ContentDisallowed, DecodeError

logger = logging.getLogger(__name__)


class Refused(Exception):
    """Why a message is not for us; one line, whatever the message holds."""


class CarefulConsumer(Consumer):
    """Celery's consumer (the setting `worker_consumer`), which sees no malformed message, and outlives its broker."""

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        try:
            super().on_connection_error_after_connected(exc)
        except AttributeError as error:
            # kombu 5.7 puts back what is not acknowledged through a connection to Redis that is no more.
            logger.warning("messages that are not acknowledged could not be put back: %s", error)

    def create_task_handler(self, **options: Any) -> Callable[[Any], Any]:
        receive = super().create_task_handler(**options)

        def check_and_receive(message: Any) -> Any:
            try:
                check(message, self.app.tasks)
            except Refused as refused:
                logger.error("a message is refused: %s", refused)
                return message.reject_log_error(logger, self.connection_errors)
            message.ack_log_error = partial(_acknowledge, message)
            return receive(message)

        return check_and_receive


def _acknowledge(message: Any, *arguments: Any, **options: Any) -> None:
    """What Celery calls when a task has ended. The connection that the message came from may be gone by then."""
    try:
        type(message).ack_log_error(message, *arguments, **options)
    except AttributeError as error:  # so kombu 5.7 tells it; if the message comes again, it finds its job claimed
        logger.warning("a message could not be acknowledged: %s", error)


def check(message: Any, known: Any) -> None:
    """Raise Refused unless `message` is a call of a `known` task as Celery's protocol 2 has it, and without an ETA.

    Times to wait until are in the jobs' rows: a message with an ETA would take up a worker until then.
    """
    headers = message.headers if isinstance(message.headers, dict) else {}
    name = headers.get("task")
    _expect(isinstance(name, str) and name in known, "no task is called", name)
    _expect(_is_uuid(headers.get("id")), "not an id of a task:", headers.get("id"))
    for key in ("eta", "shadow"):
        _expect(headers.get(key) is None, f"{key} is not supported:", headers.get(key))
    _expect(isinstance(headers.get("expires"), str | None), "not a time:", headers.get("expires"))
    limits = headers.get("timelimit") or [None, None]
    _expect(_is_limits(limits), "not time limits:", limits)
    priority = (message.properties or {}).get("priority")
    _expect(_is_number_or_none(priority), "not a priority:", priority)
    try:
        payload = message.payload
    except (ContentDisallowed, DecodeError) as error:
        raise Refused(f"{name}: {str(error)[:200]!r}") from None
    parts = payload if isinstance(payload, list) else []
    kinds = [type(part) for part in parts]
    _expect(kinds == [list, dict, dict], f"{name}: not arguments:", payload)


def _expect(fits: bool, problem: str, found: object) -> None:
    if not fits:
        raise Refused(f"{problem} {found!r:.200}")


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False


def _is_limits(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number_or_none, value))


def _is_number_or_none(value: object) -> bool:
    return isinstance(value, int | float | None) and not isinstance(value, bool)
