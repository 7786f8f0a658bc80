"""A connection to the MQTT broker: publishes messages, and collects the broker's answers."""

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from stockqueue.config.addresses import MqttAddress
from tasks.wakeup import HasFileno

CONNECT_TIMEOUT = 5.0
GOODBYE_TIMEOUT = 1.0
WINDOW = 100
"""Messages in flight (without an answer), if the broker accepts as many."""
UNTOLD = 20
"""Messages in flight if the broker cannot tell its limit (MQTT 3.1.1): mosquitto's `max_inflight_messages`. Beyond its
limit, mosquitto silently loses some QoS 2 messages."""
MOST_RECEIVED = 100
"""Received messages kept until they are taken; beyond the limit, the oldest are dropped."""

_PROTOCOLS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}


class MqttError(Exception):
    """The broker cannot be reached or refuses the connection, or the connection was lost."""


class Received(NamedTuple):
    """A message on a subscribed topic."""

    topic: str
    payload: bytes


class MqttConnection:
    """A connection without automatic reconnects, used until it breaks. The outbox has the events to publish again.

    After a reconnect, paho would resend its own messages, without our window and only within this process. Nothing
    happens between two calls: a network thread would compete with the caller for the interpreter.
    """

    def __init__(self, address: MqttAddress, client_id: str, *, keepalive: int = 60) -> None:
        self._address = address
        self._keepalive = keepalive
        self._connack: ReasonCode | None = None
        self._lost: str | None = None
        self._answers: dict[int, ReasonCode] = {}
        self._received: deque[Received] = deque(maxlen=MOST_RECEIVED)
        self.window = WINDOW
        """The most messages in flight."""
        self.largest: int | None = None
        """The largest packet that the broker accepts, in bytes; None: no limit announced."""
        self._client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=_PROTOCOLS[address.protocol],
            reconnect_on_failure=False,
        )
        self._client.connect_timeout = CONNECT_TIMEOUT
        self._client.max_inflight_messages_set(0)  # with a limit, paho scans all messages at each answer
        if address.username is not None:
            self._client.username_pw_set(address.username, address.password)
        self._client.on_socket_open = _send_at_once
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message

    def set_will(self, topic: str, payload: bytes) -> None:
        """Set the last will, a retained message for an end of the connection without a goodbye. Call before `open`."""
        self._client.will_set(topic, payload, qos=1, retain=True)

    def open(self) -> None:
        """Connect, and wait until the broker has accepted the connection. MqttError says why not."""
        try:
            if self._address.tls:
                files = self._address.ca_file, self._address.certificate_file, self._address.key_file
                self._client.tls_set(*files)
            self._client.connect(self._address.host, self._address.port, keepalive=self._keepalive)
        except (OSError, ValueError) as error:
            raise MqttError(f"{self._address}: {_reason(error)}") from None
        deadline = time.monotonic() + CONNECT_TIMEOUT
        while self._connack is None and self._lost is None and time.monotonic() < deadline:
            self._exchange(deadline - time.monotonic())
        if self._connack is None or self._connack.is_failure:
            raise MqttError(f"{self._address}: {self._connack or self._why_not_accepted()}")

    def close(self) -> None:
        """Disconnect cleanly, without a will, and wait a moment until the broker has received the goodbye."""
        if self._client.disconnect() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return  # there is no connection
        deadline = time.monotonic() + GOODBYE_TIMEOUT
        while self._client.want_write() and time.monotonic() < deadline:
            self._exchange(deadline - time.monotonic())

    def hang_up(self) -> None:
        """Close the socket if it is open."""
        ours = self._client.socket()
        if ours is not None:
            with suppress(OSError):
                ours.close()

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool = False) -> int:
        """Hand a message to the broker. Return its id, for the answer. MqttError if the connection is lost."""
        sent = self._client.publish(topic, payload, qos, retain)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise MqttError(f"{self._address}: {self._lost or mqtt.error_string(sent.rc)}")
        return sent.mid

    def subscribe(self, topic: str) -> None:
        """Subscribe to `topic`; `take_received` returns its messages."""
        self._client.subscribe(topic, qos=1)

    def exchange(self, timeout: float, others: Sequence[HasFileno] = ()) -> dict[int, ReasonCode]:
        """Write and read pending packets. Return the broker's answers since the last call, by message.

        Waits up to `timeout` seconds for the broker, or until an object in `others` is readable. Raise MqttError after
        a lost connection, when all answers have been returned.
        """
        if self._lost is None:
            self._exchange(timeout, others)
        answers, self._answers = self._answers, {}
        if self._lost is not None and not answers:
            raise MqttError(f"{self._address}: the connection was lost ({self._lost})")
        return answers

    @property
    def has_received(self) -> bool:
        """Whether `take_received` would return a message."""
        return bool(self._received)

    def take_received(self) -> list[Received]:
        """The messages on subscribed topics since the last call."""
        messages = list(self._received)
        self._received.clear()
        return messages

    def __str__(self) -> str:
        return str(self._address)

    def _exchange(self, timeout: float, others: Sequence[HasFileno] = ()) -> None:
        ours = self._client.socket()
        if ours is None:
            self._lost = self._lost or "the connection is closed"
            return
        # TLS may have decrypted more bytes than were read; then the socket itself does not become readable.
        waits_in_tls = isinstance(ours, ssl.SSLSocket) and ours.pending() > 0
        wants_to_write = [ours] if self._client.want_write() else []
        readable, writable, _ = select.select([ours, *others], wants_to_write, [], 0 if waits_in_tls else timeout)
        if writable:
            self._client.loop_write()
        if ours in readable or waits_in_tls:
            self._client.loop_read()
            with suppress(OSError):  # `loop_read` may close the socket
                _acknowledge_at_once(ours)
        self._client.loop_misc()  # sends pings, and closes a dead connection

    def _why_not_accepted(self) -> str:
        if self._lost is None:
            return f"no answer in {CONNECT_TIMEOUT:.0f} s"
        if self._lost == "Protocol error":
            return "the server there does not speak MQTT"
        hint = "; does it require a client certificate?" if self._address.tls else ""
        return f"the connection was closed before it was accepted{hint}"

    def _on_connect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, more: Properties | None
    ) -> None:
        self._connack = reason
        untold = WINDOW if self._address.protocol == "5" else UNTOLD
        self.window = min(WINDOW, getattr(more, "ReceiveMaximum", untold))
        self.largest = getattr(more, "MaximumPacketSize", None)

    def _on_disconnect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _more: Properties | None
    ) -> None:
        self._lost = str(reason)

    def _on_publish(self, _client: mqtt.Client, _data: Any, mid: int, reason: ReasonCode, _more: Properties) -> None:
        self._answers[mid] = reason

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._received.append(Received(message.topic, bytes(message.payload)))


_ACCEPTED = ReasonCode(PacketTypes.PUBACK, identifier=0)
_NO_PROPERTIES = Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call]
_REFUSED = 0x80
"""The lowest reason code of a refusal."""


class _Client(mqtt.Client):
    """paho with a correction: paho mistakes a refused QoS 2 message for an accepted message.

    An answer that accepts a message is read without paho's objects, which take an eighth of the bridge's time.
    """

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        is_plain = len(packet) == 2 or (len(packet) in (3, 4) and packet[2] < _REFUSED)
        if not is_plain:
            return super()._handle_pubackcomp(cmd)
        mid = int.from_bytes(packet[:2], "big")
        with self._out_message_mutex:
            if mid in self._out_messages:
                return self._do_on_publish(mid, _ACCEPTED, _NO_PROPERTIES)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _handle_pubrec(self) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        refused = self._protocol == MQTTProtocolVersion.MQTTv5 and len(packet) > 2 and packet[2] >= _REFUSED
        if not refused:
            return super()._handle_pubrec()
        mid = int.from_bytes(packet[:2], "big")
        reason = ReasonCode(PacketTypes.PUBREC, identifier=packet[2])
        with self._out_message_mutex:
            if mid in self._out_messages:
                return self._do_on_publish(mid, reason, Properties(PacketTypes.PUBREC))  # type: ignore[no-untyped-call]
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def _send_at_once(_client: mqtt.Client, _data: Any, opened: Any) -> None:
    """Disable Nagle's algorithm, which delays small messages by up to 40 ms, until earlier acknowledgements."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _acknowledge_at_once(ours: Any) -> None:
    """Acknowledge TCP packets at once, for brokers with Nagle's algorithm. The kernel resets this option by itself."""
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _reason(error: Exception) -> str:
    """The error in words, or its type: some errors have no words."""
    return str(error) or type(error).__name__
