"""Django's CACHES, from the configuration file."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from stockqueue.config.queues import Redis
from stockqueue.config.sections import JobProcessor

FILES = "stockqueue.cache_files.FileCache"
REDIS = "django.core.cache.backends.redis.RedisCache"
REDIS_TIMEOUT = 0.3
"""Seconds; a hanging Redis delays a page by this time, once in a while."""
PREFIX = "stockqueue.cache"
"""Before each key, because the same Redis has the queues. Its end changes with the form of cached values."""
_FORM = 1


def cache_settings(config: JobProcessor, broker_url: str, var: Path) -> dict[str, dict[str, Any]]:
    """The cache `default` in Redis or in files; with Redis, also the cache `files`, used while Redis is away."""
    rules = config.integration.cache
    common = {"TIMEOUT": rules.default_ttl, "KEY_PREFIX": PREFIX, "VERSION": _FORM}
    files = {"BACKEND": FILES, "LOCATION": str(var / rules.file_cache_path), **common}
    if not rules.redis_enabled:
        return {"default": files}
    redis = {
        "BACKEND": REDIS,
        "LOCATION": redis_url(broker_url, config.queue.redis),
        "OPTIONS": {
            "serializer": "stockqueue.cache_values.JsonSerializer",
            "socket_timeout": REDIS_TIMEOUT,
            "socket_connect_timeout": REDIS_TIMEOUT,
            "retry": None,  # the default of several attempts would multiply the time limits
        },
        **common,
    }
    return {"default": redis, "files": files}


def redis_url(broker_url: str, section: Redis) -> str:
    """The address of the cache's Redis as redis-py writes it: the broker's, or the section's if that is no Redis."""
    parts = urlsplit(broker_url)
    options = dict(parse_qsl(parts.query))
    database = options.pop("virtual_host", "0").strip("/") or "0"
    if parts.scheme == "redis+socket":
        login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        return f"unix://{login}{parts.path}?{urlencode({'db': database})}"
    if parts.scheme == "redis":
        return broker_url.partition("?")[0]
    if parts.scheme == "rediss":
        # Celery names the checks as Python's module ssl does.
        checked = {name: value.lower().removeprefix("cert_") for name, value in options.items()}
        paths = {name: options[name] for name in checked if name.startswith("ssl_") and name != "ssl_cert_reqs"}
        kept = {name: value for name, value in checked.items() if name == "ssl_cert_reqs"} | paths
        return f"{broker_url.partition('?')[0]}?{urlencode(kept)}"
    login = f":{quote(section.password, safe='')}@" if section.password else ""
    return f"redis://{login}{section.host}:{section.port}/{section.database}"
