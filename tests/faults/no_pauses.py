"""For `-A`: our Celery application, which does not wait between two attempts to reach its broker."""

from typing import Any

from kombu.utils import functional

from stockqueue.celery import app

__all__ = ["app"]

kombu_repeats_attempts: Any = functional
kombu_repeats_attempts.sleep = lambda _seconds: None
