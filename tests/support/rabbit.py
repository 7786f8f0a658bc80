"""A real RabbitMQ for tests and benchmarks: private, on 127.0.0.1, with a folder that is thrown away."""

import os
import socket
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from kombu.connection import Connection

from operations.local.child_processes import free_port, spawn
from tests.support.servers import MissingServer, Server

# Debian's commands on PATH become another user and use the system's folders; these are what they start.
PROGRAMS = Path("/usr/lib/rabbitmq/bin")


class RabbitServer(Server):
    """RabbitMQ. What is durable is kept over stop, kill and start. It takes five seconds to start."""

    program = "rabbitmq-server"

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{self.host}:{self.port}//"

    @cached_property
    def distribution_port(self) -> int:
        """Where rabbitmqctl reaches it, on 127.0.0.1 alone."""
        return free_port()

    def empty(self, queues: Iterable[str]) -> None:
        """Forget what waits in these queues, if they are there."""
        with Connection(self.url) as connection:
            for queue in queues:
                with suppress(*connection.channel_errors), connection.channel() as channel:
                    channel.queue_purge(queue)

    def url_of_quorum_host(self, name: str) -> str:
        """The URL of a new virtual host, whose queues are quorum queues unless a client asks for another type."""
        self._control("add_vhost", name, "--default-queue-type", "quorum")
        self._control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return f"amqp://guest:guest@{self.host}:{self.port}/{name}"

    def block_publishers(self) -> None:
        """A memory alarm: connections that publish are not read any more."""
        self._control("set_vm_memory_high_watermark", "0.0000001")

    def unblock_publishers(self) -> None:
        """The alarm is over."""
        self._control("set_vm_memory_high_watermark", "0.9")

    def heartbeats(self) -> list[int]:
        """The seconds between two heartbeats that each connection to it has agreed on; 0: none."""
        return [int(line) for line in self._control("list_connections", "--silent", "timeout").split()]

    def _control(self, *words: str) -> str:
        command = [_find("rabbitmqctl"), "--node", self._environment["RABBITMQ_NODENAME"], *words]
        ended = subprocess.run(
            command, env=self._environment, check=True, stdout=subprocess.PIPE, text=True, timeout=60
        )
        return ended.stdout

    @cached_property
    def _environment(self) -> dict[str, str]:
        folder = str(self.folder)
        node = f"rabbit{self.port}@localhost"
        # No epmd, which would outlive everybody: both sides know the port.
        distribution = f"-erl_epmd_port {self.distribution_port}"
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": folder,
            "RABBITMQ_NODENAME": node,
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_GENERATED_CONFIG_DIR": folder,
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            # It has its name from the start: otherwise RabbitMQ looks for an epmd, and starts one.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-sname {node} {distribution} -kernel inet_dist_use_interface {{127,0,0,1}}"
            ),
            # RabbitMQ looks after epmd each minute, by an `erl` that would start one. Nothing listens at this port.
            "ERL_FLAGS": "-start_epmd false",
            "ERL_EPMD_ADDRESS": self.host,
            "ERL_EPMD_PORT": "1",
            "RABBITMQ_CTL_ERL_ARGS": f"{distribution} -dist_listen false",
            # Its script becomes the server, instead of waiting for it: so they end together.
            "RUNNING_UNDER_SYSTEMD": "1",
        }

    def _prepare(self) -> None:
        lines = [
            f"listeners.tcp.1 = {self.host}:{self.port}",
            "vm_memory_high_watermark.relative = 0.9",
            "disk_free_limit.absolute = 1MB",
            "log.file = false",
            "log.console = true",
            "log.console.level = warning",
        ]
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "plugins").write_text("[].\n")
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(os.urandom(16).hex())
            cookie.chmod(0o400)

    def _command(self) -> list[str]:
        return [_find("rabbitmq-server")]

    def _spawn(self, log: int) -> "subprocess.Popen[bytes]":
        return spawn(self._command(), cwd=self.folder, env=self._environment, output=log)

    def _answers(self) -> bool:
        """Whether it greets: it listens before it takes connections."""
        with suppress(OSError), socket.create_connection((self.host, self.port), 1) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(7)[:1] == b"\x01"
        return False


def _find(name: str) -> str:
    if not (PROGRAMS / name).exists():
        raise MissingServer("rabbitmq-server is not installed: run `make servers`")
    return str(PROGRAMS / name)
