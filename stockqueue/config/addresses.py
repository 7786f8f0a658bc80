"""The addresses of servers: from the environment, else the configuration file, else the embedded defaults."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from stockqueue.config import ConfigError
from stockqueue.config.queues import MqttQueue, Queue
from stockqueue.private_files import short_folder

# A socket's path has to fit into sockaddr_un (108 bytes on Linux, with the closing NUL).
LONGEST_SOCKET_PATH = 107

BROKER_SCHEMES = ("redis", "rediss", "redis+socket", "amqp", "amqps")
EMAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
MQTT_PROTOCOLS = ("5", "3.1.1")
# By attribute of MqttAddress: the key in MQTT_URL, and the environment variable.
MQTT_FILES = {
    "ca_file": ("ca", "MQTT_CA_FILE"),
    "certificate_file": ("cert", "MQTT_CERT_FILE"),
    "key_file": ("key", "MQTT_KEY_FILE"),
}
_ESCAPES = "write / ? # in a user or password as %2F %3F %23, and @ in the name of a file as %40"


@dataclass(frozen=True)
class MqttAddress:
    """An MQTT broker with a login. `password` never appears in the representation."""

    host: str
    port: int
    username: str | None
    password: str | None
    tls: bool
    protocol: Literal["5", "3.1.1"]
    ca_file: str | None = None
    """Certificates for checking the broker's certificate; None: the system's certificates."""
    certificate_file: str | None = None
    """The client's certificate, with `key_file`."""
    key_file: str | None = None

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    __repr__ = __str__


def embedded_redis_socket(var: Path) -> Path:
    """The socket of the embedded Redis: in `var`, or in a folder with a shorter path if the path would be too long."""
    socket = var / "redis.sock"
    if len(bytes(socket)) <= LONGEST_SOCKET_PATH:
        return socket
    return short_folder(var / "run") / "redis.sock"


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
    """The MQTT broker's address: MQTT_URL, else `queue.mqtt`. The TLS files may have their own variables.

    Raise ConfigError for unusable TLS files.
    """
    url = environ.get("MQTT_URL")
    address = _parse_mqtt_url(url, mqtt.protocol) if url else _mqtt_of_section(mqtt)
    files = {}
    for attribute, (key, variable) in MQTT_FILES.items():
        path = getattr(address, attribute)
        if environ.get(variable) and not (url and path):
            files[attribute] = _File(variable, environ[variable])
        elif path is not None:
            files[attribute] = _File(f"MQTT_URL: {key}" if url else f"job_processor.queue.mqtt.{attribute}", path)
    if files and not address.tls:
        raise ConfigError(f"{next(iter(files.values()))} needs TLS: mqtts:// in MQTT_URL, or queue.mqtt.tls: true")
    _check_tls_files(**files)
    paths: dict[str, Any] = {attribute: file.path for attribute, file in files.items()}
    return replace(address, **paths)


def _mqtt_of_section(mqtt: MqttQueue) -> MqttAddress:
    files = {attribute: getattr(mqtt, attribute) for attribute in MQTT_FILES}
    return MqttAddress(mqtt.host, mqtt.port, mqtt.username, mqtt.password, mqtt.tls, mqtt.protocol, **files)


def _parse_mqtt_url(url: str, protocol: str) -> MqttAddress:
    """Parse MQTT_URL; `protocol` is the default version. Error messages contain no part of a password."""
    expected = "expected mqtt://user:password@host:port or mqtts://…"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its text quotes the assumed host or port
        raise ConfigError(f"MQTT_URL: the host or the port is not valid; {expected}; {_ESCAPES}") from None
    if "@" in parts.path + parts.query + parts.fragment:
        raise ConfigError(f"MQTT_URL: @ after the host; {expected}; {_ESCAPES}")
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ConfigError(f"MQTT_URL: {without_password(url)!r}: {expected}")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    keys = ("protocol", *(key for key, _ in MQTT_FILES.values()))
    if unknown := [key for key in query if key not in keys]:
        raise ConfigError(f"MQTT_URL: unknown key {unknown[0]!r}; expected {', '.join(keys)}")
    protocol = query.get("protocol", protocol)
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
        **{attribute: query.get(key) for attribute, (key, _) in MQTT_FILES.items()},
    )


class _File(NamedTuple):
    """A file, and the key or variable with its path."""

    named_by: str
    path: str

    def __str__(self) -> str:
        return f"{self.named_by}: {self.path!r}"


def _check_tls_files(
    ca_file: _File | None = None, certificate_file: _File | None = None, key_file: _File | None = None
) -> None:
    """Raise ConfigError for files that are unreadable, of a wrong kind, or do not belong together."""
    if (certificate_file is None) != (key_file is None):
        alone, missing = (certificate_file, "key") if certificate_file else (key_file, "certificate")
        raise ConfigError(f"{alone}: its {missing} is missing; expected both a certificate and its key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for file in filter(None, (ca_file, certificate_file)):
        with _reading(file, "has no certificates in PEM format"):
            context.load_verify_locations(file.path)
    if certificate_file is not None and key_file is not None:
        with _reading(key_file, f"is not the key, without passphrase, of {certificate_file.path!r}"):
            # The empty passphrase keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(certificate_file.path, key_file.path, lambda: "")


@contextmanager
def _reading(file: _File, problem: str) -> Iterator[None]:
    """Raise ConfigError if the block cannot read `file`, or with `problem` if its content is unusable."""
    try:
        yield
    except ssl.SSLError:
        raise ConfigError(f"{file} {problem}") from None
    except (OSError, ValueError) as error:  # ValueError: no name of a file
        raise ConfigError(f"{file}: {getattr(error, 'strerror', error)}") from None


def email_settings(environ: Mapping[str, str], *, debug: bool) -> dict[str, Any]:
    """Django's settings for EMAIL_URL. Without EMAIL_URL, mail goes to the console in development, else nowhere."""
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
    """`url` in a form for pages and logs."""
    head, at, tail = url.rpartition("@")
    if not at:
        return url
    scheme, slashes, login = head.rpartition("//")
    return f"{scheme}{slashes}{login.partition(':')[0]}:***@{tail}"
