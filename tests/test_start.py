"""Every program starts with a configuration that makes sense, or says in one line what does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stockqueue.addresses import broker_url, embedded_redis_socket, mqtt_address
from stockqueue.config import ConfigError, load_config
from tests.conftest import ROOT

CONFIG = load_config(ROOT / "job_processor.yml", "development")
COMMANDS = {
    "manage.py": ["manage.py", "check"],
    "the bridge": ["manage.py", "run_mqtt_bridge"],
    "a worker": ["-m", "celery", "-A", "stockqueue", "worker", "-Q", "foreground"],
    "beat": ["-m", "celery", "-A", "stockqueue", "beat"],
    "the web server": ["-m", "gunicorn", "stockqueue.wsgi", "--preload", "--no-control-socket", "--check-config"],
}


def run(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_bad_configuration_stops_every_program_with_one_line(command, tmp_path):
    file = tmp_path / "job_processor.yml"
    file.write_text("job_processor:\n  jobs:\n    priority_rules:\n      user_login: 11\n")
    ended = run(*command, STOCKQUEUE_CONFIG=str(file))
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines() == [
        "job_processor.yml: job_processor.jobs.priority_rules.user_login: 11 is not between 1 and 10"
    ]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"STOCKQUEUE_CONFIG": "/nowhere/job_processor.yml"}, "job_processor.yml: no such file"),
        ({"STOCKQUEUE_ENV": "staging"}, "expected development or production"),
        ({"STOCKQUEUE_VAR": "/dev/null/var"}, "STOCKQUEUE_VAR: "),
        ({"DATABASE_URL": "mysterious://x"}, "DATABASE_URL: "),
        ({"CELERY_BROKER_URL": "http://user:hidden@x"}, "CELERY_BROKER_URL: 'http://user:***@x' does not start with"),
        ({"MQTT_URL": "http://localhost"}, "MQTT_URL: 'http://localhost': expected mqtt://"),
        ({"MQTT_URL": "mqtt://localhost:port"}, "MQTT_URL: "),
        ({"MQTT_URL": "mqtt://localhost?protocol=4"}, "MQTT_URL: protocol '4' is not one of 5, 3.1.1"),
        ({"DJANGO_DEBUG": "maybe"}, "DJANGO_DEBUG: 'maybe' is not one of"),
        ({"DJANGO_DEBUG": "0"}, "DJANGO_SECRET_KEY: not set"),
        ({"STOCKQUEUE_ENV": "production", "DJANGO_SECRET_KEY": "x" * 60}, "DJANGO_ALLOWED_HOSTS: not set"),
    ],
)
def test_a_bad_environment_stops_the_start_with_one_line(environment, message):
    ended = run("manage.py", "check", **environment)
    assert ended.returncode == 1
    assert len(ended.stderr.strip().splitlines()) == 1
    assert message in ended.stderr


def test_keys_without_effect_are_reported_once_at_the_start():
    predecessor = str(ROOT / "tests" / "data" / "predecessor.yml")
    ended = run("manage.py", "check", STOCKQUEUE_CONFIG=predecessor)
    assert ended.returncode == 0
    assert ended.stderr.count("worker.poll_interval is ignored") == 1
    assert "stockqueue.W001" in ended.stderr


def test_invented_prices_are_refused_in_production(tmp_path):
    file = tmp_path / "job_processor.yml"
    file.write_text("job_processor: {stock_jobs: {data_fetch: {sources: [yahoo_finance, sample]}}}\n")
    secrets = {"DJANGO_SECRET_KEY": "x" * 60, "DJANGO_ALLOWED_HOSTS": "example.org"}
    ended = run("manage.py", "check", STOCKQUEUE_CONFIG=str(file), STOCKQUEUE_ENV="production", **secrets)
    assert ended.returncode == 1
    assert "stockqueue.E001" in ended.stderr


def test_the_demo_users_are_refused_where_debug_is_off():
    secrets = {"DJANGO_SECRET_KEY": "x" * 60, "DJANGO_ALLOWED_HOSTS": "example.org"}
    ended = run("manage.py", "loaddata", "demo", DJANGO_DEBUG="0", **secrets)
    assert ended.returncode == 1
    assert "its passwords are public" in ended.stderr


def with_backend(**changes: object):
    return CONFIG.queue.model_copy(update=changes)


@pytest.mark.parametrize(
    ("queue", "environ", "url"),
    [
        (with_backend(), {}, "redis+socket:///var/redis.sock?virtual_host=0"),
        (with_backend(), {"CELERY_BROKER_URL": "amqp://a:b@c//"}, "amqp://a:b@c//"),
        (with_backend(backend="redis"), {}, "redis://localhost:6379/0"),
        (
            with_backend(backend="redis", redis=CONFIG.queue.redis.model_copy(update={"password": "p@ss"})),
            {},
            "redis://:p%40ss@localhost:6379/0",
        ),
        (with_backend(backend="rabbitmq"), {}, "amqp://guest:guest@localhost:5672/%2F"),
        (with_backend(backend="redis"), {"CELERY_BROKER_URL": "redis://other/3"}, "redis://other/3"),
    ],
)
def test_the_environment_names_the_broker_before_the_file_does(queue, environ, url):
    assert broker_url(queue, environ, Path("/var")) == url


def test_a_long_path_does_not_keep_the_embedded_redis_from_its_socket():
    socket = embedded_redis_socket(Path("/" + "long" * 40))
    assert len(str(socket)) < 108
    assert socket != embedded_redis_socket(Path("/" + "deep" * 40))


def test_the_environment_names_the_mqtt_broker_before_the_file_does():
    address = mqtt_address(CONFIG.queue.mqtt, {"MQTT_URL": "mqtts://me:p%40ss@example.org"})
    assert (address.host, address.port, address.username, address.password) == ("example.org", 8883, "me", "p@ss")
    assert address.tls
    assert "p@ss" not in repr(address)
    assert str(mqtt_address(CONFIG.queue.mqtt, {})) == "mqtt://localhost:1883"


def test_an_mqtt_url_needs_a_host():
    with pytest.raises(ConfigError, match="expected mqtt://"):
        mqtt_address(CONFIG.queue.mqtt, {"MQTT_URL": "mqtt://"})


def test_the_web_server_never_looks_for_garbage_among_what_it_has_loaded():
    ended = run("-c", "import gc, stockqueue.wsgi; print(gc.get_freeze_count() > 100 * sum(gc.get_count()))")
    assert ended.stdout == "True\n", ended.stderr
