"""A broker that is none, or that does not let the bridge in: one clear line, pauses between attempts, no flood."""

import socket
import threading
from collections.abc import Callable

import pytest

from operations.local.child_processes import wait_until
from tests.conftest import BRIDGE, output_of
from tests.support.certificates import EXPIRED, Authority
from tests.support.outbox import wait_until_all_is_published, worked
from tests.support.servers import MosquittoServer

pytestmark = pytest.mark.django_db(transaction=True)


class Stranger:
    """A server that is no MQTT broker: it answers what each client sends first with `answer`, and hangs up."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.visits = 0
        self.url = f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self._listener.accept()
            except OSError:
                return
            with visitor:
                visitor.recv(1000)
                visitor.sendall(self._answer)
                self.visits += 1


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path / "ca.crt")


@pytest.fixture
def one_line(start) -> Callable[[str, Callable[[], int]], str]:
    """one_line(url, seen): what the bridge says while `seen()` attempts are made, which must be one line."""

    def one_line(url: str, attempts: Callable[[], int]) -> str:
        with start(*BRIDGE, ready="waiting: ", MQTT_URL=url) as bridge:
            before = attempts()
            wait_until(lambda: attempts() >= before + 2, "further attempts", timeout=30)
            assert bridge.poll() is None
            (line,) = [line for line in output_of(bridge).splitlines() if line]
        return line

    return one_line


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n400 Bad Request"
        + b"x" * 200,
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        b"\x00" * 50,
        b"\xff" * 50,
        b"",
        b"\x20\x02\x00",
        b"\x20\x03\x00\x00\xff",
        b"\x40\x02\x00\x01" * 20,
    ],
    ids=["HTTP", "SSH", "zeros", "ones", "nothing", "half a CONNACK", "a CONNACK that lies", "answers to nothing"],
)
def test_a_server_that_is_no_mqtt_broker(answer, protocol, one_line):
    stranger = Stranger(answer)
    try:
        line = one_line(f"{stranger.url}?protocol={protocol}", lambda: stranger.visits)
    finally:
        stranger.close()
    told, reason = line.split(f" waiting: {stranger.url}: ")
    assert reason in ("the server there does not speak MQTT", "the connection was closed before it was accepted"), told


def test_the_bridge_publishes_over_tls_with_a_certificate_of_its_own(authority, start):
    server_certificate = authority.issue("server", "127.0.0.1")
    ours = authority.issue("bridge")
    with MosquittoServer(certificate=server_certificate, clients=authority) as server:
        url = f"{server.url}?ca={authority.file}&cert={ours.file}&key={ours.key_file}"
        with start(*BRIDGE, ready="connected to", MQTT_URL=url):
            wait_until_all_is_published(worked(3))


def test_an_authority_that_is_not_known(authority, tmp_path, one_line):
    other = Authority(tmp_path / "other.crt")
    with MosquittoServer(certificate=authority.issue("server", "127.0.0.1")) as server:
        line = one_line(f"{server.url}?ca={other.file}", lambda: server.log.count("New connection"))
    assert "certificate verify failed" in line
    assert "unable to get local issuer certificate" in line


def test_an_expired_certificate(authority, one_line):
    with MosquittoServer(certificate=authority.issue("server", "127.0.0.1", end=EXPIRED)) as server:
        line = one_line(f"{server.url}?ca={authority.file}", lambda: server.log.count("New connection"))
    assert "certificate has expired" in line


def test_a_certificate_for_another_host(authority, one_line):
    with MosquittoServer(certificate=authority.issue("server", "mqtt.example.com")) as server:
        line = one_line(f"{server.url}?ca={authority.file}", lambda: server.log.count("New connection"))
    assert "certificate is not valid for '127.0.0.1'" in line


def test_a_broker_that_asks_for_a_certificate_the_bridge_does_not_have(authority, one_line):
    with MosquittoServer(certificate=authority.issue("server", "127.0.0.1"), clients=authority) as server:
        line = one_line(f"{server.url}?ca={authority.file}", lambda: server.log.count("New connection"))
    assert line.endswith("the connection was closed before it was accepted; does it require a client certificate?")
