"""The servers that tests start: they keep their data, and leave nothing behind."""

import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import paho.mqtt.client as mqtt
import psycopg
import pytest
import redis
from kombu.connection import Connection
from paho.mqtt.enums import CallbackAPIVersion

from operations.local.child_processes import is_listening, wait_until
from tests.support.certificates import EXPIRED, Authority
from tests.support.mqtt_client import MqttClient
from tests.support.rabbit import RabbitServer
from tests.support.servers import MissingServer, MosquittoServer, PostgresServer, RedisServer, Server, find_server

pytestmark = pytest.mark.servers

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", [RedisServer, MosquittoServer, PostgresServer, RabbitServer])
def test_a_server_starts_again_where_it_was_and_leaves_nothing(kind: type[Server]):
    with kind() as server:
        port, folder = server.port, server.folder
        server.stop()
        assert not is_listening(server.host, port)
        server.start()
        server.kill()
        assert not is_listening(server.host, port)
        server.start()
        assert (server.port, server.folder) == (port, folder)
        assert is_listening(server.host, port)

    assert not is_listening(server.host, port)
    assert not folder.exists()


@pytest.mark.parametrize(
    "kind", ["servers.RedisServer", "servers.MosquittoServer", "servers.PostgresServer", "rabbit.RabbitServer"]
)
def test_a_server_ends_with_the_process_that_started_it(kind):
    script = (
        "import sys; from tests.support import rabbit, servers\n"
        f"server = {kind}(); server.start()\n"
        "print(server.port, server.folder, flush=True); sys.stdin.read()"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdin is not None
    assert starter.stdout is not None
    with starter.stdin, starter.stdout:
        port, folder = starter.stdout.readline().split()
        assert processes_in(folder)
        segments = shared_memory_of(folder)
        starter.send_signal(signal.SIGKILL)
        starter.wait()

    wait_until(lambda: not processes_in(folder), f"the end of {kind}", timeout=10)
    wait_until(lambda: not is_listening("127.0.0.1", int(port)), f"the end of {kind}'s port", timeout=10)
    assert not segments & {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()}
    shutil.rmtree(folder)


def processes_in(folder: str) -> list[int]:
    """The processes whose working directory is in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd").startswith(folder):
                found.append(int(process.name))
        except OSError:  # it has ended, or belongs to somebody else
            continue
    return found


def shared_memory_of(folder: str) -> set[str]:
    try:
        return {Path(folder, "data", "postmaster.pid").read_text().splitlines()[6].split()[1]}
    except FileNotFoundError:
        return set()


def test_a_server_that_is_not_installed_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path: None)

    with pytest.raises(MissingServer, match="mosquitto is not installed: run `make servers`"):
        find_server("mosquitto")


@pytest.mark.parametrize(("database", "scheme"), [("sqlite", "sqlite:///"), ("postgresql", "postgres://")])
def test_tests_see_a_database_of_their_own_and_nothing_of_the_developers(database, scheme, tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import os, pathlib\n"
        "def test_it():\n"
        "    var = pathlib.Path(os.environ['STOCKQUEUE_VAR'])\n"
        f"    pathlib.Path({str(tmp_path / 'var')!r}).write_text(str(var))\n"
        "    assert var.is_dir() and not list(var.iterdir())\n"
        f"    assert os.environ['DATABASE_URL'].startswith({scheme!r})\n"
        "    assert os.environ['STOCKQUEUE_ENV'] == 'development'\n"
        "    assert not {'CELERY_BROKER_URL', 'MQTT_URL', 'DJANGO_DEBUG', 'YAHOO_PROXY'} & set(os.environ)\n"
    )
    ambient = {
        "STOCKQUEUE_VAR": "/nowhere",
        "STOCKQUEUE_ENV": "production",
        "DATABASE_URL": "postgres://example.org/real",
        "CELERY_BROKER_URL": "redis://example.org",
        "MQTT_URL": "mqtt://example.org",
        "DJANGO_DEBUG": "1",
        "YAHOO_PROXY": "http://example.org",
    }
    options = ["-p", "no:django", "-p", "tests.support.database", "-c", os.devnull, f"--database={database}"]

    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path / "test_it.py")],
        cwd=REPOSITORY,
        env={**os.environ, **ambient},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert f"database: {database}" in run.stdout
    assert not Path((tmp_path / "var").read_text()).exists()


@pytest.mark.parametrize(("persistent", "kept"), [(True, b"42"), (False, None)])
def test_redis_keeps_a_key_over_a_kill_if_it_is_persistent(persistent, kept):
    with RedisServer(persistent=persistent) as server, redis.Redis.from_url(server.url) as client:
        client.set("answer", 42)
        server.kill()
        server.start()
        assert client.get("answer") == kept


def test_a_paused_redis_does_not_answer_until_it_is_resumed():
    with RedisServer() as server, redis.Redis.from_url(server.url, socket_timeout=0.1, retry=None) as client:
        client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert client.ping()


def test_a_paused_postgres_does_not_answer_until_it_is_resumed():
    with PostgresServer() as server, psycopg.connect(server.url, autocommit=True) as connection:
        server.pause()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(connection.execute, "SELECT 1")
            with pytest.raises(TimeoutError):
                answer.result(0.2)
            server.resume()
            assert answer.result(10).fetchone() == (1,)
    with pytest.raises(RuntimeError, match="not running"):
        server.pause()


def test_postgres_keeps_a_row_over_a_kill_with_a_client():
    with PostgresServer() as server:
        connection = psycopg.connect(server.url, autocommit=True)
        connection.execute("CREATE TABLE answers AS SELECT 42 AS answer")
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT answer FROM answers")
        connection.close()
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT answer FROM answers").fetchone() == (42,)


def test_mosquitto_keeps_a_message_for_an_absent_subscriber_over_a_kill():
    with MosquittoServer() as server:
        with mqtt_session(server, "reader") as (client, happened):
            client.subscribe("prices", qos=1)
            assert happened.get(timeout=10) == "subscribed"
        with mqtt_session(server, "writer") as (client, _):
            client.publish("prices", b"42.00", qos=1).wait_for_publish(10)
        wait_until(lambda: server.has_saved(b"42.00"), "the message in mosquitto's database")

        server.kill()
        server.start()

        with mqtt_session(server, "reader") as (_, happened):
            assert happened.get(timeout=10) == b"42.00"


def test_mosquitto_shows_its_certificate(tmp_path):
    authority = Authority(tmp_path / "ca.crt")
    with MosquittoServer(certificate=authority.issue("server", "127.0.0.1")) as server:
        with MqttClient(f"{server.url}?ca={authority.file}") as client:
            assert client.subscribe("prices") == "Granted QoS 1"
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            MqttClient(server.url).__enter__()


def test_mosquitto_may_have_an_expired_certificate(tmp_path):
    authority = Authority(tmp_path / "ca.crt")
    certificate = authority.issue("server", "127.0.0.1", end=EXPIRED)
    with (
        MosquittoServer(certificate=certificate) as server,
        pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"),
    ):
        MqttClient(f"{server.url}?ca={authority.file}").__enter__()


def test_mosquitto_may_ask_clients_for_a_certificate(tmp_path):
    authority = Authority(tmp_path / "ca.crt")
    server_certificate, certificate = authority.issue("server", "127.0.0.1"), authority.issue("bridge")
    with MosquittoServer(certificate=server_certificate, clients=authority) as server:
        url = f"{server.url}?ca={authority.file}"
        with MqttClient(f"{url}&cert={certificate.file}&key={certificate.key_file}") as client:
            assert client.subscribe("prices") == "Granted QoS 1"
        with pytest.raises(OSError):  # noqa: PT011  (the broker hangs up, early or late)
            MqttClient(url).__enter__()


def test_mosquitto_holds_an_acl_and_further_settings():
    acl = "user writer\ntopic write prices\n"
    with MosquittoServer(passwords={"writer": "secret"}, acl=acl, conf=["max_packet_size 100"]) as server:
        with MqttClient(server.url.replace("//", "//writer:secret@")) as client:
            assert client.publish("prices", b"42.00") == "No matching subscribers"
            assert client.publish("orders", b"42.00") == "Not authorized"
            assert client.publish("prices", b"42.00" * 20) == "Packet too large"
        with pytest.raises(ConnectionRefusedError, match="Not authorized"):
            MqttClient(server.url.replace("//", "//writer:wrong@")).__enter__()


def test_rabbitmq_keeps_a_confirmed_message_over_a_kill():
    with RabbitServer() as server:
        with amqp(server) as connection:
            connection.SimpleQueue("answers").put(42)
        server.kill()
        server.start()
        with amqp(server) as connection:
            assert connection.SimpleQueue("answers").get(timeout=10).payload == 42


def test_a_paused_rabbitmq_does_not_answer_until_it_is_resumed(rabbit_server):
    with amqp(rabbit_server, read_timeout=0.2) as connection:
        queue = connection.SimpleQueue("answers")
        queue.put(41)
        rabbit_server.pause()
        try:
            with pytest.raises(TimeoutError):
                queue.put(42)
        finally:
            rabbit_server.resume()
    with amqp(rabbit_server) as connection:
        connection.SimpleQueue("answers").put(43)


def test_rabbitmq_takes_no_message_while_publishers_are_blocked(rabbit_server):
    with amqp(rabbit_server, read_timeout=0.2) as connection:
        queue = connection.SimpleQueue("questions")
        queue.put(1)
        rabbit_server.block_publishers()
        try:
            with pytest.raises(TimeoutError):
                queue.put(2)
        finally:
            rabbit_server.unblock_publishers()
    with amqp(rabbit_server) as connection:
        connection.SimpleQueue("questions").put(3)


@contextmanager
def amqp(server: RabbitServer, **options: float) -> Iterator[Connection]:
    """A connection whose publishers wait until the server has their message."""
    with Connection(server.url, transport_options={"confirm_publish": True, **options}) as connection:
        yield connection


@contextmanager
def mqtt_session(server: MosquittoServer, name: str) -> Iterator[tuple[mqtt.Client, "Queue[str | bytes]"]]:
    """A connected client, and what happens to it: "subscribed", and the payloads it gets."""
    happened: Queue[str | bytes] = Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, name, clean_session=False)
    client.on_connect = lambda *_: happened.put("connected")
    client.on_subscribe = lambda *_: happened.put("subscribed")
    client.on_message = lambda *arguments: happened.put(arguments[-1].payload)
    client.connect(server.host, server.port)
    client.loop_start()
    try:
        assert happened.get(timeout=10) == "connected"
        yield client, happened
    finally:
        client.disconnect()
        client.loop_stop()
