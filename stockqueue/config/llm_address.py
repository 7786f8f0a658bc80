"""The address of the LLM server, and forbidden addresses: OPENAI_BASE_URL has a name, which may lead anywhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from stockqueue.config import ConfigError
from stockqueue.config.integration import OpenAI

OPENAI_URL = "https://api.openai.com/v1"
"""The address if a key is set without OPENAI_BASE_URL."""

# Metadata services, from which a cloud machine gets its secrets, besides the link-local addresses.
_METADATA = frozenset(map(ip_address, ("100.100.100.200", "fd00:ec2::254")))
# The last four bytes are an IPv4 address.
_NAT64 = IPv6Network("64:ff9b::/96")
_IN_THE_OPEN = (
    "http:// would send the key unencrypted; use https://, "
    "or OPENAI_ALLOW_PRIVATE_HOST=1 for a host on a private address"
)

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class LlmServer:
    """A server that speaks OpenAI's protocol, and the model to ask. The key never appears in the representation."""

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    allow_private: bool = False
    """Whether a private address is allowed, also without TLS."""

    @property
    def is_encrypted(self) -> bool:
        return self.base_url.startswith("https:")

    def why_not(self, address: Address) -> str:
        """The reason against calling the server at this resolved address; empty if the address is allowed."""
        return _why_not(address, encrypted=self.is_encrypted, allow_private=self.allow_private)


def llm_server(openai: OpenAI, environ: Mapping[str, str], *, allow_private: bool) -> LlmServer | None:
    """The server of OPENAI_BASE_URL, or OpenAI's own if only OPENAI_API_KEY is set. None without a server or a model.

    Raise ConfigError for a forbidden address, as far as the URL shows it without name resolution. `LlmServer.why_not`
    checks the resolved address at each call.
    """
    url = environ.get("OPENAI_BASE_URL", "").strip()
    key = environ.get("OPENAI_API_KEY", "").strip() or None
    if url and (problem := _problem_with(url, allow_private=allow_private)):
        raise ConfigError(f"OPENAI_BASE_URL: {problem}")
    if key and not (key.isascii() and key.isprintable()):
        raise ConfigError("OPENAI_API_KEY: contains control or non-ASCII characters")
    model = environ.get("OPENAI_MODEL", "").strip() or openai.model
    if model is None or not (url or key):
        return None
    return LlmServer((url or OPENAI_URL).rstrip("/"), model, key, allow_private)


def _problem_with(url: str, *, allow_private: bool) -> str:
    expected = "expected https://host/v1"
    if not url.isprintable() or " " in url:
        return f"contains a space or a control character; {expected}"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return f"{error}; {expected}"
    if "@" in parts.netloc:
        return f"contains a user or a password; put the key into OPENAI_API_KEY; {expected}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"{_shown(parts)!r}: {expected}"
    if parts.query or parts.fragment:
        return f"{_shown(parts)!r}: contains a query or a fragment; {expected}"
    encrypted = parts.scheme == "https"
    address = _literal(parts.hostname)
    if address is not None:
        reason = _why_not(address, encrypted=encrypted, allow_private=allow_private)
    else:
        reason = "" if encrypted or allow_private else _IN_THE_OPEN
    return f"{_shown(parts)!r}: {reason}" if reason else ""


def _shown(parts: SplitResult) -> str:
    """The URL without the part after the host, which may be a secret."""
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else parts.scheme


def _literal(host: str) -> Address | None:
    """The address written as the host; None for a name that needs name resolution."""
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return ip_address(host)
    except ValueError:
        return None


def _why_not(address: Address, *, encrypted: bool, allow_private: bool) -> str:
    real = _embedded(address)
    if real.is_link_local or real in _METADATA:
        return f"{address} is link-local or a cloud's metadata service, which is never allowed"
    if not real.is_loopback and (real.is_unspecified or real.is_multicast or real.is_reserved):
        return f"{address} is not the address of a host"
    if real.is_global:
        return "" if encrypted else f"{address} is public, and http:// would send the key unencrypted; use https://"
    if not allow_private:
        return f"{address} is private; OPENAI_ALLOW_PRIVATE_HOST=1 allows it"
    return ""


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 address embeds, if any; otherwise the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address
