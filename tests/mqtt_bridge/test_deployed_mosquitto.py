"""What deploy/mosquitto ships works on a real mosquitto, with the commands of its README."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db import transaction
from django.db.models import Max

from mqtt_bridge import outbox
from mqtt_bridge.redelivery import RESENT_SECONDS
from operations.local.child_processes import free_port, is_listening, wait_until
from operations.local.embedded_servers import mqtt_broker
from tasks.models import Job, JobEvent
from tasks.state import lifecycle
from tests.conftest import BRIDGE, ROOT
from tests.support.invariants import check_nothing_was_lost, event_ids
from tests.support.lasting_subscriber import LastingSubscriber
from tests.support.mqtt_client import MqttClient
from tests.support.outbox import PATIENCE, arrived, request, unpublished, wait_until_all_is_published, work
from tests.support.servers import MosquittoServer, find_server

pytestmark = pytest.mark.servers

SHIPPED = ROOT / "deploy" / "mosquitto"
PASSWORD = "s3cret"
LARGEST_PAYLOAD = b"x" * 65_536


class DeployedMosquitto(MosquittoServer):
    """The shipped files, with folders and ports of its own, and the commands of the README.

    As root it becomes Debian's user mosquitto, as in production, and so has to get by with the rights that the
    README's commands give it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tls_port = free_port()
        self._make_folders()
        self._replaced = {
            "/etc/mosquitto": f"{self.folder}/etc",
            "/var/lib/mosquitto": f"{self.folder}/lib",
            "/var/log/mosquitto": f"{self.folder}/logs",
            "/run/mosquitto": f"{self.folder}/run",
            "/srv/mqtt-authority": f"{self.folder}/authority",
            "mqtt.example.org": "localhost",
            "PASSWORD": PASSWORD,
            "8883": str(self.tls_port),
            "1883": str(self.port),
        }
        if os.geteuid() != 0:
            self._replaced[" -o root -g mosquitto"] = ""
        for file in ("mosquitto.conf", "tls.conf", "acl"):
            (self.folder / "shipped" / file).write_text(self._replace((SHIPPED / file).read_text()))

    @property
    def database(self) -> Path:
        return self.folder / "lib" / "mosquitto.db"

    def run(self, *sections: str) -> str:
        """The output of the commands in these sections of the README."""
        readme = self._replace((SHIPPED / "README.md").read_text())
        output = ""
        for section in sections:
            text = re.split(r"^##+ ", readme.partition(f" {section}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
            blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
            assert blocks
            for block in blocks:
                ended = subprocess.run(
                    ["sh", "-eu", "-c", block],
                    cwd=self.folder / "shipped",
                    env=os.environ | {"PATH": f"{self.folder}/bin:{os.environ['PATH']}"},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert ended.returncode == 0, ended.stderr
                output += ended.stdout
        return output

    def set_password(self, user: str, password: str) -> None:
        file = self.folder / "etc" / "passwords"
        subprocess.run([find_server("mosquitto_passwd"), "-b", file, user, password], check=True)

    def reload(self) -> None:
        self._signal(signal.SIGHUP)

    def address(self, user: str, *, password: str = PASSWORD) -> str:
        return f"mqtt://{user}:{password}@{self.host}:{self.port}"

    def tls_address(self, user: str) -> str:
        return f"mqtts://{user}:{PASSWORD}@localhost:{self.tls_port}?ca={self.folder}/etc/certs/ca.crt"

    def _make_folders(self) -> None:
        self.folder.chmod(0o755)
        for name in ("shipped", "bin", "etc", "etc/conf.d", "etc/certs", "lib", "logs", "run"):
            (self.folder / name).mkdir()
        if os.geteuid() == 0:
            for name in ("lib", "logs", "run"):
                shutil.chown(self.folder / name, "mosquitto", "mosquitto")
        # Types the password, which the real one reads line by line.
        typist = self.folder / "bin" / "mosquitto_passwd"
        program = find_server(typist.name)
        typist.write_text(f"#!/bin/sh\nprintf '{PASSWORD}\\n{PASSWORD}\\n' | {program} \"$@\"\n")
        typist.chmod(0o755)

    def _replace(self, text: str) -> str:
        return re.sub("|".join(self._replaced), lambda found: self._replaced[found[0]], text)

    def _prepare(self) -> None:
        """The README's commands have written all that it reads."""

    def _command(self) -> list[str]:
        return [find_server(self.program), "-c", str(self.folder / "etc" / "mosquitto.conf")]


@pytest.fixture(scope="module")
def deployed() -> Iterator[DeployedMosquitto]:
    """With TLS, and a third user who has a password and nothing in the ACL."""
    with closing(DeployedMosquitto()) as server:
        server.run("Files and passwords", "Encryption")
        server.set_password("stranger", PASSWORD)
        server.start()
        yield server


WRITTEN = [
    "stock/fetch/AAPL",
    "stock/portfolio/priority/7",
    "jobs/queue/high/stock_fetch",
    "jobs/status/1",
    "workers/register",
    "workers/heartbeat/celery@host",
    "system/stats",
    "system/alerts/queue_depth",
    "stockqueue/bridge/state",
    "stockqueue/alerts/7/AAPL",
]


@pytest.mark.parametrize("address", ["address", "tls_address"])
def test_the_watcher_receives_what_the_bridge_writes(deployed, address):
    url = getattr(deployed, address)
    with MqttClient(url("watcher")) as watcher, MqttClient(url("bridge")) as bridge:
        for topic in WRITTEN:
            assert watcher.subscribe(topic) == "Granted QoS 1"
            assert bridge.publish(topic, LARGEST_PAYLOAD) == "Success"
            assert watcher.receive() == (topic, LARGEST_PAYLOAD)


def test_the_watcher_may_ask_for_statistics_and_write_nothing_else(deployed):
    with MqttClient(deployed.address("watcher")) as watcher, MqttClient(deployed.address("bridge")) as bridge:
        bridge.subscribe("system/stats/request")
        assert watcher.publish("system/stats/request", "{}") == "Success"
        assert bridge.receive() == ("system/stats/request", b"{}")
        for topic in WRITTEN:
            assert watcher.publish(topic, "{}") == "Not authorized"


def test_the_bridge_writes_and_reads_its_own_topics_alone(deployed):
    with MqttClient(deployed.address("bridge")) as bridge, MqttClient(deployed.address("watcher")) as watcher:
        for topic in ("stocks/fetch/AAPL", "orders/new", "stockqueue/other", "system/stats/request", "system/other"):
            assert bridge.publish(topic, "{}") == "Not authorized"
        bridge.subscribe("#")
        watcher.subscribe("stock/fetch/AAPL")
        assert bridge.publish("stock/fetch/AAPL", "{}") == "Success"
        watcher.receive()
        bridge.subscribe("stock/fetch/AAPL")
        assert bridge.received() == []


def test_a_user_who_is_not_in_the_acl_receives_and_sends_nothing(deployed):
    with (
        MqttClient(deployed.address("stranger")) as stranger,
        MqttClient(deployed.address("watcher")) as watcher,
        MqttClient(deployed.address("bridge")) as bridge,
    ):
        stranger.subscribe("#")
        for topic in WRITTEN:
            watcher.subscribe(topic)
            bridge.publish(topic, "{}")
            watcher.receive()
        stranger.subscribe("stock/+/+")
        assert stranger.received() == []
        for topic in [*WRITTEN, "system/stats/request", "other"]:
            assert stranger.publish(topic, "{}") == "Not authorized"


def test_nobody_connects_without_the_right_password(deployed):
    for url in (deployed.address("bridge", password="wrong"), deployed.address("nobody"), deployed.url):
        with pytest.raises(ConnectionRefusedError, match="Not authorized"):
            MqttClient(url).__enter__()


def test_a_message_that_is_too_long_ends_the_connection_of_its_sender_alone(deployed):
    with MqttClient(deployed.address("watcher")) as watcher:
        with MqttClient(deployed.address("bridge")) as bridge:
            assert bridge.publish("stock/fetch/AAPL", b"x" * 300_000) == "Packet too large"
        assert watcher.subscribe("stock/fetch/AAPL") == "Granted QoS 1"


def test_the_readme_shows_that_the_bridge_is_online(deployed):
    with MqttClient(deployed.tls_address("bridge")) as bridge:
        bridge.publish("stockqueue/bridge/state", "online", retain=True)
        assert deployed.run("Check the connection") == "online\n"


@pytest.mark.parametrize("name", ["etc/acl", "etc/passwords", "etc/certs/server.key", "authority/ca.key"])
def test_nobody_else_can_read_what_is_secret(deployed, name):
    assert (deployed.folder / name).stat().st_mode & 0o007 == 0


@pytest.fixture
def new_deployed() -> Iterator[DeployedMosquitto]:
    """A deployed mosquitto that the test may stop."""
    with closing(DeployedMosquitto()) as server:
        server.run("Files and passwords")
        server.start()
        yield server


def test_what_it_keeps_for_an_absent_watcher_survives_a_kill(new_deployed):
    messages = 1100  # mosquitto keeps 1,000 by default

    def watch(*options: str) -> list[str]:
        user = ["-u", "watcher", "-P", PASSWORD, "-p", str(new_deployed.port)]
        lasting = ["-c", "-i", "absent", "-q", "1", "-t", "stock/+/+", "-W", "20"]
        command = [find_server("mosquitto_sub"), *user, *lasting, *options]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    watch("-E")
    with MqttClient(new_deployed.address("bridge")) as bridge:
        for number in range(messages):
            assert bridge.publish("stock/fetch/AAPL", f"message-{number}.") == "Success"
    last = f"message-{messages - 1}.".encode()
    wait_until(lambda: new_deployed.has_saved(last), "the last message on disk")
    new_deployed.kill()
    new_deployed.start()
    assert watch("-C", str(messages)) == [f"message-{number}." for number in range(messages)]


def test_each_mosquitto_saves_before_the_bridge_forgets_what_was_acknowledged(mosquitto_server, tmp_path):
    mqtt_broker("127.0.0.1", 1883, tmp_path)
    for file in (SHIPPED, tmp_path, mosquitto_server.folder):
        settings = dict(re.findall(r"^(autosave_\w+) (\w+)$", (file / "mosquitto.conf").read_text(), re.MULTILINE))
        assert settings["autosave_on_changes"] == "false", file
        # It saves once more than the interval has passed on a clock of whole seconds.
        assert int(settings["autosave_interval"]) + 1 < RESENT_SECONDS, file


def absent_watcher(server: DeployedMosquitto) -> LastingSubscriber:
    """It has subscribed and left. Entering it once more receives what the server has kept."""
    watcher = LastingSubscriber(server.host, server.port, "stock/+/+", "watcher", PASSWORD)
    with watcher:
        server.save()
    return watcher


def request_queued(first: int, count: int) -> list[Job]:
    """Jobs with two events each, which are committed together."""
    with transaction.atomic():
        jobs = request(*(f"S{number}" for number in range(first, first + count)))
        lifecycle.mark_queued([job.pk for job in jobs])
    return jobs


def publish_again(jobs: list[Job], times: int) -> float:
    """Events a second that the bridge publishes, each of these `times` times."""
    seconds = 0.0
    for _ in range(times):
        began = time.time()
        outbox.send_again(JobEvent.objects.all())
        wait_until(lambda: not unpublished(jobs), "the outbox to be empty", timeout=PATIENCE, every=0.1)
        seconds += JobEvent.objects.aggregate(newest=Max("published_at"))["newest"].timestamp() - began
    return times * len(event_ids(jobs)) / seconds


@pytest.mark.django_db(transaction=True)
def test_the_bridge_is_as_fast_while_messages_pile_up_for_an_absent_watcher(new_deployed, start):
    jobs = request_queued(0, 300)
    with start(*BRIDGE, ready="connected to", MQTT_URL=new_deployed.address("bridge")):
        wait_until_all_is_published(jobs)
        alone = publish_again(jobs, 2)
        absent_watcher(new_deployed)
        publish_again(jobs, 5)
        behind = publish_again(jobs, 2)
    print(f"events a second: {alone:.0f} without the watcher, {behind:.0f} with 3,000 and more messages for it")
    assert behind > alone / 2


@pytest.mark.django_db(transaction=True)
def test_a_kill_while_the_bridge_publishes_loses_nothing_for_an_absent_watcher(new_deployed, start):
    watcher = absent_watcher(new_deployed)
    with start(*BRIDGE, ready="connected to", MQTT_URL=new_deployed.address("bridge")):
        jobs: list[Job] = []
        enough = time.monotonic() + RESENT_SECONDS + 3  # the bridge does not send the first ones again
        while time.monotonic() < enough:
            new = request(f"S{len(jobs)}")
            work(new)
            jobs += new
        backlog = request_queued(len(jobs), 250)
        wait_until(lambda: len(unpublished(backlog)) < 500, "the first events of the backlog")
        new_deployed.kill()
        assert unpublished(backlog)
        new_deployed.start()
        jobs += backlog
        wait_until_all_is_published(jobs)
        with watcher:
            assert watcher.wait_for(arrived(jobs), PATIENCE)
        check_nothing_was_lost(watcher.messages, jobs)


def test_a_new_password_counts_after_a_reload_and_connections_stay(new_deployed):
    with MqttClient(new_deployed.address("watcher")) as watcher:
        new_deployed.set_password("bridge", "changed")
        new_deployed.reload()
        wait_until(lambda: connects(new_deployed.address("bridge", password="changed")), "the new password")
        assert not connects(new_deployed.address("bridge"))
        assert watcher.subscribe("stock/+/+") == "Granted QoS 1"


def connects(url: str) -> bool:
    try:
        with MqttClient(url):
            return True
    except ConnectionRefusedError:
        return False


def test_clients_may_be_asked_for_a_certificate(new_deployed):
    new_deployed.run("Encryption", "Certificates for clients")
    tls = new_deployed.folder / "etc" / "conf.d" / "tls.conf"
    tls.write_text(re.sub(r"^#(?=cafile|require)", "", tls.read_text(), flags=re.MULTILINE))
    new_deployed.stop()
    new_deployed.start()
    wait_until(lambda: is_listening("localhost", new_deployed.tls_port), "the listener for TLS")

    url, authority = new_deployed.tls_address("bridge"), new_deployed.folder / "authority"
    with MqttClient(f"{url}&cert={authority}/bridge.crt&key={authority}/bridge.key") as bridge:
        assert bridge.publish("stock/fetch/AAPL", "{}") == "No matching subscribers"
    with pytest.raises(OSError):  # noqa: PT011  (the broker hangs up, early or late)
        MqttClient(url).__enter__()
