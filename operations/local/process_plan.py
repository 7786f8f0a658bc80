"""The processes of the whole system on a single machine."""

import ipaddress
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from operations.local.child_processes import is_listening
from operations.local.embedded_servers import mqtt_broker, redis_server
from stockqueue.config.addresses import MqttAddress, embedded_redis_socket

QUEUES = {"foreground": "foreground", "background": "background_fetch,background_analysis"}
"""The workers and their queues: foreground jobs have a separate worker."""


@dataclass(frozen=True)
class Deployment:
    """Command lines by name, and additions to their environment."""

    servers: Mapping[str, list[str]]
    """Embedded servers: to start before the programs, and to stop after them."""
    programs: Mapping[str, list[str]]
    environment: Mapping[str, str] = field(default_factory=dict)


def plan(*, http_port: int, mqtt: MqttAddress) -> Deployment:
    """All processes, with a Redis if no broker is configured, and an MQTT broker if `mqtt` is loopback and silent.

    With TLS, no MQTT broker is started: an embedded broker has no certificate.
    """
    servers: dict[str, list[str]] = {}
    environment = {"PYTHONUNBUFFERED": "1"}
    socket = embedded_redis_socket(settings.VAR)
    has_broker = settings.JOB_PROCESSOR.queue.backend != "direct"
    if has_broker and str(socket) in settings.CELERY_BROKER_URL:
        servers["redis"] = list(redis_server(socket, settings.VAR / "redis").argv)
    if is_loopback(mqtt.host) and not mqtt.tls and not is_listening(mqtt.host, mqtt.port):
        broker = mqtt_broker(mqtt.host, mqtt.port, settings.VAR / "mqtt")
        servers["mqtt"] = list(broker.argv)
        environment["MQTT_URL"] = f"mqtt://{mqtt.host}:{mqtt.port}?protocol={broker.protocol}"
    python = sys.executable
    manage = [python, str(settings.BASE_DIR / "manage.py")]
    celery = [python, "-m", "celery", "-A", "stockqueue"]
    programs = {}
    programs["web"] = [
        *(python, "-m", "gunicorn", "stockqueue.wsgi"),
        *("--bind", f"127.0.0.1:{http_port}", "--workers", "1", "--threads", "4"),
    ]
    if has_broker:  # without a broker, the web server runs the jobs
        for name, queues in QUEUES.items():
            programs[name] = [*celery, "worker", "-Q", queues, "-n", f"{name}@%h"]
        programs["beat"] = [*celery, "beat", "--pidfile", ""]
    programs["bridge"] = [*manage, "run_mqtt_bridge"]
    return Deployment(servers, programs, environment)


def is_loopback(host: str) -> bool:
    """Whether `host` is a loopback address, which no other machine can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def log_file(name: str) -> Path:
    """The output file of a process without a terminal."""
    folder: Path = settings.VAR / "logs" / "output"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.log"
