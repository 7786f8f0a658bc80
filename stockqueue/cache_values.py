"""Cached values as bytes: compressed JSON. Whoever can write into a shared Redis could run code through a pickle."""

import json
import zlib
from typing import Any

LARGEST_VALUE = 4 * 2**20
"""Bytes of JSON; the chart of two years takes 100 kB. Larger values are neither stored nor read."""


def dump(value: Any) -> bytes:
    """A value of JSON's types as bytes, and a whole number as Redis's INCR reads it; ValueError if it is too large."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > LARGEST_VALUE:
        raise ValueError(f"{len(text)} bytes are too many for the cache")
    return text if type(value) is int else zlib.compress(text, 1)


def load(data: bytes) -> Any:
    """The value of the bytes; None for anything that `dump` did not write."""
    try:
        if data[:20].isdigit():
            return int(data)
        decompressor = zlib.decompressobj()
        text = decompressor.decompress(data, LARGEST_VALUE + 1)
        return json.loads(text) if decompressor.eof else None
    except (ValueError, zlib.error, RecursionError):
        return None


class JsonSerializer:
    """The form of values for Django's Redis cache."""

    def dumps(self, value: Any) -> bytes:
        return dump(value)

    def loads(self, data: bytes) -> Any:
        return load(data)
