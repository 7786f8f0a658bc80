"""Every program starts with a configuration that makes sense, or says in one line what does not."""

import errno
import os
import secrets
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from operations.local.child_processes import free_port
from operations.local.process_plan import plan
from stockqueue.config import ConfigError, load_config
from stockqueue.config.addresses import broker_url, mqtt_address
from stockqueue.config.queues import MqttQueue
from tests.conftest import ROOT
from tests.support.certificates import Authority, Certificate

CONFIG = load_config(ROOT / "job_processor.yml", "development")
KEY = secrets.token_urlsafe(50)
DEVELOPMENT_KEY = "django-insecure-for-development-only"
PRODUCTION = {
    "STOCKQUEUE_ENV": "production",
    "DJANGO_SECRET_KEY": KEY,
    "DJANGO_ALLOWED_HOSTS": "example.org,127.0.0.1",
}
COMMANDS = {
    "manage.py": ["manage.py", "check"],
    "the bridge": ["manage.py", "run_mqtt_bridge"],
    "a worker": ["-m", "celery", "-A", "stockqueue", "worker", "-Q", "foreground"],
    "beat": ["-m", "celery", "-A", "stockqueue", "beat"],
    "the web server": ["-m", "gunicorn", "stockqueue.wsgi", "--check-config"],
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
        ({"MQTT_URL": "mqtts://localhost?ca=/nowhere/ca.crt"}, "MQTT_URL: ca: '/nowhere/ca.crt': No such file"),
        ({"DJANGO_DEBUG": "maybe"}, "DJANGO_DEBUG: 'maybe' is not one of"),
        ({"DJANGO_DEBUG": "0"}, "DJANGO_SECRET_KEY: not set"),
        ({"STOCKQUEUE_ENV": "production", "DJANGO_SECRET_KEY": KEY}, "DJANGO_ALLOWED_HOSTS: not set"),
        ({"STOCKQUEUE_ENV": "production", "DJANGO_DEBUG": "1"}, "DJANGO_DEBUG: on, although STOCKQUEUE_ENV is prod"),
        (PRODUCTION | {"DJANGO_SECRET_KEY": KEY[:49]}, "DJANGO_SECRET_KEY: it has 49 characters; expected a random"),
        (PRODUCTION | {"DJANGO_SECRET_KEY": "abcd" * 20}, "DJANGO_SECRET_KEY: it has 4 different characters; "),
        (PRODUCTION | {"DJANGO_SECRET_KEY": DEVELOPMENT_KEY}, "DJANGO_SECRET_KEY: it is a key for development; "),
        (PRODUCTION | {"DJANGO_SECRET_KEY": f"django-insecure-{KEY}"}, "DJANGO_SECRET_KEY: it is a key for dev"),
    ],
)
def test_a_bad_environment_stops_the_start_with_one_line(environment, message):
    ended = run("manage.py", "check", **environment)
    assert ended.returncode == 1
    assert len(ended.stderr.strip().splitlines()) == 1
    assert message in ended.stderr


def test_keys_without_effect_are_reported_once_at_the_start():
    predecessor = str(ROOT / "tests" / "support" / "data" / "predecessor.yml")
    ended = run("manage.py", "check", STOCKQUEUE_CONFIG=predecessor)
    assert ended.returncode == 0
    assert ended.stderr.count("worker.poll_interval is ignored") == 1
    assert "stockqueue.W001" in ended.stderr


def test_invented_prices_are_refused_in_production(tmp_path):
    file = tmp_path / "job_processor.yml"
    file.write_text("job_processor: {stock_jobs: {data_fetch: {sources: [yahoo_finance, sample]}}}\n")
    ended = run("manage.py", "check", STOCKQUEUE_CONFIG=str(file), **PRODUCTION)
    assert ended.returncode == 1
    assert "stockqueue.E001" in ended.stderr


@pytest.mark.parametrize("label", ["demo", "demo.json", "fixtures/demo", "./fixtures/../fixtures/demo.json"])
def test_the_demo_users_are_not_loaded_where_debug_is_off(label):
    ended = run("manage.py", "loaddata", label, **PRODUCTION | {"STOCKQUEUE_ENV": "development", "DJANGO_DEBUG": "0"})
    assert ended.returncode == 1
    assert ended.stderr == (
        f"CommandError: loaddata {label}: refused where DJANGO_DEBUG is off; its passwords are public\n"
    )


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


def test_the_environment_names_the_mqtt_broker_before_the_file_does():
    address = mqtt_address(CONFIG.queue.mqtt, {"MQTT_URL": "mqtts://me:p%40ss@example.org"})
    assert (address.host, address.port, address.username, address.password) == ("example.org", 8883, "me", "p@ss")
    assert address.tls
    assert "p@ss" not in repr(address)
    assert str(mqtt_address(CONFIG.queue.mqtt, {})) == "mqtt://localhost:1883"


def test_an_mqtt_url_needs_a_host():
    with pytest.raises(ConfigError, match="expected mqtt://"):
        mqtt_address(CONFIG.queue.mqtt, {"MQTT_URL": "mqtt://"})


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates") / "ca.crt")


@pytest.fixture(scope="module")
def certificate(authority) -> Certificate:
    return authority.issue("bridge")


def test_files_for_tls_come_from_the_url_then_from_variables_then_from_the_file(authority, certificate):
    mqtt = MqttQueue(
        tls=True,
        port=8883,
        ca_file=str(authority.file),
        certificate_file=str(certificate.file),
        key_file=str(certificate.key_file),
    )
    address = mqtt_address(mqtt, {})
    assert (address.tls, address.ca_file) == (True, str(authority.file))
    assert (address.certificate_file, address.key_file) == (str(certificate.file), str(certificate.key_file))

    other = Authority(authority.file.with_name("other.crt"))
    variables = {"MQTT_CA_FILE": str(other.file)}
    address = mqtt_address(mqtt, variables)
    assert (address.ca_file, address.certificate_file) == (str(other.file), str(certificate.file))

    variables["MQTT_URL"] = "mqtts://broker.example"
    address = mqtt_address(mqtt, variables)
    assert (address.ca_file, address.certificate_file) == (str(other.file), None)

    url = f"mqtts://broker.example?ca={authority.file}&cert={certificate.file}&key={certificate.key_file}"
    address = mqtt_address(mqtt, variables | {"MQTT_URL": url})
    assert (address.ca_file, address.certificate_file) == (str(authority.file), str(certificate.file))


def test_a_file_that_does_not_serve_is_named_with_its_key(authority, certificate, tmp_path):
    other = Authority(tmp_path / "ca.crt").issue("other")
    text = tmp_path / "text"
    text.write_text("certificate")
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        serialization.load_pem_private_key(certificate.key_file.read_bytes(), None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    cert = f"MQTT_URL=mqtts://h?cert={certificate.file}"
    for environment, message in [
        (f"MQTT_URL=mqtts://h?ca={text}", f"MQTT_URL: ca: '{text}' has no certificates in PEM format"),
        (f"MQTT_URL=mqtts://h?ca={tmp_path}", f"MQTT_URL: ca: '{tmp_path}': Is a directory"),
        ("MQTT_URL=mqtts://h?ca=", "MQTT_URL: ca: '': No such file or directory"),
        ("MQTT_URL=mqtts://h?ca=a%00b", "MQTT_URL: ca: 'a\\x00b': embedded null"),
        (cert, f"MQTT_URL: cert: '{certificate.file}': its key is missing"),
        (f"MQTT_URL=mqtts://h?key={text}", f"MQTT_URL: key: '{text}': its certificate is missing"),
        (f"{cert}&key=/nowhere/a.key", "MQTT_URL: key: '/nowhere/a.key': No such file or directory"),
        (f"{cert}&key={other.key_file}", f"MQTT_URL: key: '{other.key_file}' is not the key, without passphrase"),
        (f"{cert}&key={locked}", f"MQTT_URL: key: '{locked}' is not the key, without passphrase, of"),
        (f"{cert}&key={text}", f"MQTT_URL: key: '{text}' is not the key"),
        (f"MQTT_URL=mqtt://h?ca={authority.file}", f"MQTT_URL: ca: '{authority.file}' needs TLS: mqtts://"),
        (f"MQTT_CA_FILE={authority.file}", f"MQTT_CA_FILE: '{authority.file}' needs TLS: mqtts://"),
        ("MQTT_URL=mqtts://h?cafile=x", "MQTT_URL: unknown key 'cafile'; expected protocol, ca, cert, key"),
    ]:
        name, _, value = environment.partition("=")
        with pytest.raises(ConfigError) as caught:
            mqtt_address(CONFIG.queue.mqtt, {name: value})
        assert str(caught.value).startswith(message)
    with pytest.raises(ConfigError, match=r"^job_processor\.queue\.mqtt\.ca_file: '/nowhere/ca' needs TLS"):
        mqtt_address(MqttQueue(ca_file="/nowhere/ca"), {})
    with pytest.raises(ConfigError, match=r"^job_processor\.queue\.mqtt\.ca_file: '/nowhere/ca': No such file"):
        mqtt_address(MqttQueue(tls=True, ca_file="/nowhere/ca"), {})


def test_a_file_that_may_not_be_read_is_named(authority, monkeypatch):
    def refuse(context: ssl.SSLContext, path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", refuse)
    with pytest.raises(ConfigError, match=r"^MQTT_CA_FILE: '.*': Permission denied"):
        mqtt_address(MqttQueue(tls=True), {"MQTT_CA_FILE": str(authority.file)})


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://me:s3cret",
        "mqtt://me:s3cret/",
        "mqtt://me:12/s3cret@host",
        "mqtt://me:12?s3cret@host",
        "mqtt://me:12?s3cret=1&ca=x@host",
        "mqtt://me:12#s3cret@host",
        "mqtt://me:s3cret@host:port",
        "mqtt://me:s3cret@[host",
        "mqtt://me:s3cret@",
        "http://me:s3cret@host",
        "mqtt://me:s3cret@host?protocol=4",
        "mqtt://me:s3cret@host?user=you",
        "mqtts://me:s3cret@host?ca=/nowhere",
    ],
)
def test_no_error_of_an_mqtt_url_shows_its_password(url):
    with pytest.raises(ConfigError) as caught:
        mqtt_address(CONFIG.queue.mqtt, {"MQTT_URL": url})
    assert str(caught.value).startswith("MQTT_URL: ")
    assert "s3cret" not in str(caught.value)


def test_no_broker_is_brought_along_where_tls_is_configured():
    plain = mqtt_address(CONFIG.queue.mqtt, {"MQTT_URL": f"mqtt://localhost:{free_port()}"})
    assert "mqtt" in plan(http_port=8000, mqtt=plain).servers
    assert "mqtt" not in plan(http_port=8000, mqtt=replace(plain, tls=True)).servers


def test_the_web_server_never_looks_for_garbage_among_what_it_has_loaded():
    ended = run("-c", "import gc, stockqueue.wsgi; print(gc.get_freeze_count() > 100 * sum(gc.get_count()))")
    assert ended.stdout == "True\n", ended.stderr
