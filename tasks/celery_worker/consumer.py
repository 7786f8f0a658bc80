"""Protects Celery's worker from malformed messages and from the loss of its broker, which would end the worker."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from celery.worker.consumer import Consumer
from kombu.exceptions import ContentDisallowed, DecodeError

logger = logging.getLogger(__name__)


class Refused(Exception):
    """The reason for refusing a message, always a single line."""


class CarefulConsumer(Consumer):
    """Celery's consumer, which also refuses malformed messages and survives its broker (`worker_consumer`)."""

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        try:
            super().on_connection_error_after_connected(exc)
        except AttributeError as error:
            # kombu 5.7 tries to return unacknowledged messages through a closed connection to Redis.
            logger.warning("could not requeue unacknowledged messages: %s", error)

    def create_task_handler(self, **options: Any) -> Callable[[Any], Any]:
        receive = super().create_task_handler(**options)

        def check_and_receive(message: Any) -> Any:
            try:
                check(message, self.app.tasks)
            except Refused as refused:
                logger.error("refused a message: %s", refused)
                return message.reject_log_error(logger, self.connection_errors)
            message.ack_log_error = partial(_acknowledge, message)
            return receive(message)

        return check_and_receive


def _acknowledge(message: Any, *arguments: Any, **options: Any) -> None:
    """Called by Celery at the end of a task. The connection of the message may be closed by then."""
    try:
        type(message).ack_log_error(message, *arguments, **options)
    except AttributeError as error:  # kombu 5.7 on a closed connection; a redelivered message finds its job claimed
        logger.warning("could not acknowledge a message: %s", error)


def check(message: Any, known: Any) -> None:
    """Raise Refused unless `message` calls a `known` task in Celery's protocol 2, without an ETA.

    Delays are in the jobs' rows: a message with an ETA would occupy a worker until then.
    """
    headers = message.headers if isinstance(message.headers, dict) else {}
    name = headers.get("task")
    _expect(isinstance(name, str) and name in known, "unknown task:", name)
    _expect(_is_uuid(headers.get("id")), "invalid task id:", headers.get("id"))
    for key in ("eta", "shadow"):
        _expect(headers.get(key) is None, f"{key} is not supported:", headers.get(key))
    _expect(isinstance(headers.get("expires"), str | None), "invalid expiry time:", headers.get("expires"))
    limits = headers.get("timelimit") or [None, None]
    _expect(_is_limits(limits), "invalid time limits:", limits)
    priority = (message.properties or {}).get("priority")
    _expect(_is_number_or_none(priority), "invalid priority:", priority)
    try:
        payload = message.payload
    except (ContentDisallowed, DecodeError) as error:
        raise Refused(f"{name}: {str(error)[:200]!r}") from None
    parts = payload if isinstance(payload, list) else []
    kinds = [type(part) for part in parts]
    _expect(kinds == [list, dict, dict], f"{name}: invalid arguments:", payload)


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
