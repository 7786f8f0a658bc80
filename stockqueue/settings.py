"""Django's settings. Secrets and addresses come from the environment, behaviour from job_processor.yml."""

import os
import re
import sys
from datetime import timedelta
from importlib.metadata import distribution
from pathlib import Path

import dj_database_url
from django.core.checks.security.base import (
    SECRET_KEY_INSECURE_PREFIX,
    SECRET_KEY_MIN_LENGTH,
    SECRET_KEY_MIN_UNIQUE_CHARACTERS,
)
from django.templatetags.static import static
from kombu.entity import Exchange, Queue

from stockqueue.config import ConfigError, load_config
from stockqueue.config.addresses import broker_url, email_settings, mqtt_address
from stockqueue.config.cache_settings import cache_settings
from stockqueue.config.llm_address import llm_server
from stockqueue.logs import logging_settings
from stockqueue.private_files import make_private, restrict_umask

BASE_DIR = Path(__file__).resolve().parent.parent


def _required(name: str, meaning: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(f"{name}: not set; {meaning} is needed if DJANGO_DEBUG is off")
    return value


def _secret_key() -> str:
    key = _required("DJANGO_SECRET_KEY", "a long random text")
    if key.startswith(SECRET_KEY_INSECURE_PREFIX):
        problem = "it is a key for development"
    elif len(key) < SECRET_KEY_MIN_LENGTH:
        problem = f"it has {len(key)} characters"
    elif len(set(key)) < SECRET_KEY_MIN_UNIQUE_CHARACTERS:
        problem = f"it has {len(set(key))} different characters"
    else:
        return key
    raise ConfigError(
        f"DJANGO_SECRET_KEY: {problem}; expected a random text of {SECRET_KEY_MIN_LENGTH} characters or more if "
        "DJANGO_DEBUG is off: python -c 'import secrets; print(secrets.token_urlsafe(50))' prints one"
    )


def _flag(name: str, default: bool) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if value in ("", "1", "true", "yes", "on", "0", "false", "no", "off"):
        return value in ("1", "true", "yes", "on") if value else default
    raise ConfigError(f"{name}: {value!r} is not one of 1, 0, true, false, yes, no, on, off")


def _count(name: str) -> int:
    value = os.environ.get(name, "").strip() or "0"
    if not re.fullmatch("[0-9]{1,2}", value):
        raise ConfigError(f"{name}: {value!r} is not a whole number from 0 to 99")
    return int(value)


def _words(name: str, default: str = "") -> list[str]:
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


restrict_umask()
try:
    ENVIRONMENT = os.environ.get("STOCKQUEUE_ENV") or "development"
    JOB_PROCESSOR = load_config(
        Path(os.environ.get("STOCKQUEUE_CONFIG") or BASE_DIR / "job_processor.yml"), ENVIRONMENT
    )
    VAR = Path(os.environ.get("STOCKQUEUE_VAR") or BASE_DIR / "var").absolute()
    _var_problem = make_private(VAR, is_ours=BASE_DIR in VAR.parents)
    DEBUG = _flag("DJANGO_DEBUG", default=ENVIRONMENT == "development")
    if DEBUG and ENVIRONMENT == "production":
        raise ConfigError("DJANGO_DEBUG: on, although STOCKQUEUE_ENV is production; expected 0, or no value")
    if DEBUG:
        SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or f"{SECRET_KEY_INSECURE_PREFIX}for-development-only"
        ALLOWED_HOSTS = _words("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
    else:
        SECRET_KEY = _secret_key()
        _required("DJANGO_ALLOWED_HOSTS", "a comma-separated list of this site's host names")
        ALLOWED_HOSTS = _words("DJANGO_ALLOWED_HOSTS")
    CELERY_BROKER_URL = broker_url(JOB_PROCESSOR.queue, os.environ, VAR)
    CACHES = cache_settings(JOB_PROCESSOR, CELERY_BROKER_URL, VAR)
    MQTT = mqtt_address(JOB_PROCESSOR.queue.mqtt, os.environ)
    LLM = llm_server(
        JOB_PROCESSOR.integration.apis.openai,
        os.environ,
        allow_private=_flag("OPENAI_ALLOW_PRIVATE_HOST", default=False),
    )
    # The number of proxies in front of the web server; each adds an address to X-Forwarded-For.
    PROXIES = _count("STOCKQUEUE_PROXIES")
    globals().update(email_settings(os.environ, debug=DEBUG))
    SENDS_MAIL = bool(os.environ.get("EMAIL_URL"))
    try:
        DATABASES = {
            "default": dj_database_url.parse(os.environ.get("DATABASE_URL") or f"sqlite:///{VAR}/stockqueue.sqlite3")
        }
    except ValueError as error:
        raise ConfigError(f"DATABASE_URL: {str(error).splitlines()[0]}") from None
    STATIC_ROOT = VAR / "static"
    STATIC_ROOT.mkdir(exist_ok=True)
except ConfigError as error:
    sys.exit(str(error))
except OSError as error:
    sys.exit(f"STOCKQUEUE_VAR: {error}")

METRICS_TOKEN = os.environ.get("STOCKQUEUE_METRICS_TOKEN", "").strip() or None
DEFAULT_FROM_EMAIL = os.environ.get("DEFAULT_FROM_EMAIL") or "stockqueue@localhost"
ALERT_EMAILS = [one.strip() for one in os.environ.get("STOCKQUEUE_ALERT_EMAILS", "").split(",") if one.strip()]
YAHOO_PROXY = os.environ.get("YAHOO_PROXY") or None
YAHOO_CA_BUNDLE = os.environ.get("YAHOO_CA_BUNDLE") or None
ALPHA_VANTAGE_API_KEY = os.environ.get("ALPHA_VANTAGE_API_KEY", "").strip() or None
ALPHA_VANTAGE_PROXY = os.environ.get("ALPHA_VANTAGE_PROXY") or None
ALPHA_VANTAGE_CA_BUNDLE = os.environ.get("ALPHA_VANTAGE_CA_BUNDLE") or None

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "django_celery_results",
    "django_htmx",
    "axes",
    "market",
    "tasks",
    "portfolio",
    "mqtt_bridge",
    "operations",
    "console",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # Below the static files, which are compressed already. A stream is empty when it passes, and stays as it is.
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
    "portfolio.time_zone.TimeZoneMiddleware",
]

# The admin's theme evaluates expressions of its attributes, which no strict policy allows.
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ("/admin/",),
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    },
}

SESSION_ENGINE = "stockqueue.session_store"

ROOT_URLCONF = "stockqueue.urls"
WSGI_APPLICATION = "stockqueue.wsgi.application"
LOGIN_REDIRECT_URL = "portfolio"
LOGOUT_REDIRECT_URL = "login"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

_database = DATABASES["default"]
if _database["ENGINE"] == "django.db.backends.sqlite3":
    _database["ENGINE"] = "stockqueue.sqlite"
    _database["OPTIONS"] = {
        # A transaction that reads before it writes would fail at once if another process has written in between.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    # Tests start their own workers and bridges, which could not see an in-memory database.
    _database["TEST"] = {"NAME": f"{_database['NAME']}.test"}
else:
    _database["CONN_MAX_AGE"] = 60
    _database["CONN_HEALTH_CHECKS"] = True

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

PASSWORD_HASHERS = [
    "stockqueue.password_hash.Argon2",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",  # of earlier versions; each is replaced at the next login
]
AUTHENTICATION_BACKENDS = ["operations.security.lockout.LockoutBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_HANDLER = "operations.security.lockout.LockoutHandler"
AXES_CLIENT_IP_CALLABLE = "stockqueue.client_address.client_address"
AXES_LOCKOUT_CALLABLE = "operations.security.lockout.refuse"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"], "ip_address"]
AXES_FAILURE_LIMIT = 5
LOCKOUT_ADDRESS_LIMIT = 50
AXES_COOLOFF_TIME = timedelta(minutes=15)
# Refused logins do not count, so that nobody can lock another user out for ever.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_ENABLE_ADMIN = False  # console.third_party registers the admin pages
AXES_VERBOSE = False

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "static/"
# The script for charts, found without importing the package.
STATICFILES_DIRS = [("plotly", str(distribution("plotly").locate_file("plotly/package_data")))]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG
FILE_UPLOAD_PERMISSIONS = 0o640  # for collected static files; only this web server reads them
FIXTURE_DIRS = [BASE_DIR / "fixtures"]

CSRF_TRUSTED_ORIGINS = _words("DJANGO_CSRF_TRUSTED_ORIGINS")
if not DEBUG:
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = True
    # Requested by programs on this machine or network without TLS, not through the proxy.
    SECURE_REDIRECT_EXEMPT = [r"^metrics$", r"^health/"]
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True

CELERY_RESULT_BACKEND = "tasks.celery_worker.results:ResultBackend"
CELERY_RESULT_EXTENDED = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_TIMEZONE = TIME_ZONE
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_DEFAULT_QUEUE = "foreground"
_exchange = Exchange("stockqueue", type="direct")
# Quorum queues, possibly the default of a RabbitMQ virtual host, have no priorities. Redis ignores these arguments.
_arguments = {"x-max-priority": 10, "x-queue-type": "classic"}
CELERY_TASK_QUEUES = [
    Queue(name, _exchange, routing_key=name, queue_arguments=_arguments)
    for name in ("foreground", "background_fetch", "background_analysis")
]
# Queue and priority of messages without a job. A default priority would override it.
CELERY_TASK_ROUTES = "operations.routes.route"
if not CELERY_BROKER_URL.startswith("amqp"):
    # kombu's default of four lists per queue would put the priorities 3 and 4 into the same list.
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "priority_steps": list(range(10)),
        "queue_order_strategy": "priority",
        # A silently lost connection is noticed within half a minute. Workers wait for a second at a time.
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "health_check_interval": 10,
        # Unacknowledged messages are delivered again after this time; no job may take as long.
        "visibility_timeout": 3_600
        + max(JOB_PROCESSOR.worker.max_execution_time, *dict(JOB_PROCESSOR.jobs.timeouts).values()),
    }
CELERY_WORKER_CONCURRENCY = JOB_PROCESSOR.worker.max_concurrent_jobs
CELERY_WORKER_CONSUMER = "tasks.celery_worker.consumer:CarefulConsumer"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Jobs continue after the loss of the broker: a redelivered message finds its job claimed.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
# Celery closes the database connection after each task. Keeping it doubles the rate on PostgreSQL;
# tasks.celery_worker.connections detects lost connections.
CELERY_DB_REUSE_MAX = 1_000
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Celery ends the worker after 100 connection attempts, which take 46 minutes.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# A full Redis answers with errors, which would end the worker.
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
# With RabbitMQ's default of 60 s, a worker notices a half-open connection after two minutes. Redis has no heartbeat.
CELERY_BROKER_HEARTBEAT = 10
# The schedules are in the database: operations.default_schedules has the initial rows.
CELERY_BEAT_SCHEDULER = "operations.beat:Scheduler"

UNFOLD = {
    "SITE_TITLE": "stockqueue",
    "SITE_HEADER": "stockqueue",
    "SITE_SYMBOL": "monitoring",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("portfolio/icon.svg")}],
}

LOGGING, _log_problems = logging_settings(
    JOB_PROCESSOR.logging, VAR, secrets=(SECRET_KEY, ALPHA_VANTAGE_API_KEY, os.environ.get("OPENAI_API_KEY"))
)
# The console has all lines: an unwritable log must not keep users from their prices.
for _problem in filter(None, (_var_problem, *_log_problems)):
    print(_problem, file=sys.stderr)
