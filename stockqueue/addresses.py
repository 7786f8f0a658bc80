"""Where the servers are: the environment first, then the configuration file, then the embedded defaults."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

from stockqueue.config import ConfigError
from stockqueue.config_models import MqttQueue, Queue

# A socket's path has to fit into sockaddr_un (108 bytes on Linux, with the closing NUL).
LONGEST_SOCKET_PATH = 107

BROKER_SCHEMES = ("redis", "rediss", "redis+socket", "amqp", "amqps")
EMAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
MQTT_PROTOCOLS = ("5", "3.1.1")


@dataclass(frozen=True)
class MqttAddress:
    """An MQTT broker and who connects to it. `password` never appears in the representation."""

    host: str
    port: int
    username: str | None
    password: str | None
    tls: bool
    protocol: Literal["5", "3.1.1"]

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    __repr__ = __str__


def embedded_redis_socket(var: Path) -> Path:
    """The socket of the embedded Redis: in `var`, or in the temporary folder where that path is too long."""
    socket = var / "redis.sock"
    if len(bytes(socket)) <= LONGEST_SOCKET_PATH:
        return socket
    digest = hashlib.sha256(bytes(var)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"stockqueue-{digest}" / "redis.sock"


def broker_url(queue: Queue, environ: Mapping[str, str], var: Path) -> str:
    """The Celery broker's address: CELERY_BROKER_URL, else `queue.backend`'s section, else the embedded Redis."""
    if url := environ.get("CELERY_BROKER_URL"):
        if urlsplit(url).scheme not in BROKER_SCHEMES:
            raise ConfigError(
                f"CELERY_BROKER_URL: {without_password(url)!r} does not start with one of "
                + ", ".join(f"{scheme}://" for scheme in BROKER_SCHEMES)
            )
        return url
    if queue.backend == "redis":
        redis = queue.redis
        login = f":{quote(redis.password, safe='')}@" if redis.password else ""
        return f"redis://{login}{redis.host}:{redis.port}/{redis.database}"
    if queue.backend == "rabbitmq":
        rabbit = queue.rabbitmq
        login = f"{quote(rabbit.username, safe='')}:{quote(rabbit.password or '', safe='')}"
        return f"amqp://{login}@{rabbit.host}:{rabbit.port}/{quote(rabbit.vhost, safe='')}"
    return f"redis+socket://{embedded_redis_socket(var)}?virtual_host=0"


def mqtt_address(mqtt: MqttQueue, environ: Mapping[str, str]) -> MqttAddress:
    """The MQTT broker's address: MQTT_URL (`?protocol=3.1.1` chooses the version), else `queue.mqtt`."""
    url = environ.get("MQTT_URL")
    if not url:
        return MqttAddress(mqtt.host, mqtt.port, mqtt.username, mqtt.password, tls=False, protocol=mqtt.protocol)
    expected = "expected mqtt://user:password@host:port or mqtts://…"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"MQTT_URL: {error}; {expected}") from None
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ConfigError(f"MQTT_URL: {without_password(url)!r}: {expected}")
    protocol = parse_qs(parts.query).get("protocol", [mqtt.protocol])[0]
    if protocol not in MQTT_PROTOCOLS:
        raise ConfigError(f"MQTT_URL: protocol {protocol!r} is not one of {', '.join(MQTT_PROTOCOLS)}")
    tls = parts.scheme == "mqtts"
    return MqttAddress(
        host=parts.hostname,
        port=port or (8883 if tls else 1883),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=tls,
        protocol="5" if protocol == "5" else "3.1.1",
    )


def email_settings(environ: Mapping[str, str], *, debug: bool) -> dict[str, Any]:
    """Django's settings for EMAIL_URL. Without it, mail goes to the console while developing, else nowhere."""
    backends = "django.core.mail.backends"
    url = environ.get("EMAIL_URL")
    if not url:
        return {"EMAIL_BACKEND": f"{backends}.{'console' if debug else 'dummy'}.EmailBackend"}
    if url == "console:":
        return {"EMAIL_BACKEND": f"{backends}.console.EmailBackend"}
    expected = "expected smtp://user:password@host:port, smtp+tls:// (STARTTLS), smtps:// or console:"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"EMAIL_URL: {error}; {expected}") from None
    if parts.scheme not in EMAIL_PORTS or not parts.hostname:
        raise ConfigError(f"EMAIL_URL: {without_password(url)!r}: {expected}")
    return {
        "EMAIL_BACKEND": f"{backends}.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port or EMAIL_PORTS[parts.scheme],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_TIMEOUT": 10,
    }


def without_password(url: str) -> str:
    """`url` as it may be shown and logged."""
    head, at, tail = url.rpartition("@")
    if not at:
        return url
    scheme, slashes, login = head.rpartition("//")
    return f"{scheme}{slashes}{login.partition(':')[0]}:***@{tail}"
