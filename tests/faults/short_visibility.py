"""For `-I`: Redis delivers a message again that is not acknowledged within a second or two."""

from celery import current_app

current_app.conf.broker_transport_options |= {
    "visibility_timeout": 1,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}
