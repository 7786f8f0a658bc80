"""The keys of the configuration are read from its schema.

`configuration.py` is loaded before the environment of the tests is set, and imports nothing of `stockqueue`.
"""

from collections.abc import Iterator
from typing import Any

from stockqueue.config import json_schema


def walk_keys(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The dotted path and schema of every key below a node that is no section."""
    for key, child in node["properties"].items():
        choices = [child, *child.get("anyOf", [])]
        reference = next((choice["$ref"] for choice in choices if "$ref" in choice), None)
        if reference:
            yield from walk_keys(json_schema()["$defs"][reference.rpartition("/")[2]], f"{path}{key}.")
        else:
            yield f"{path}{key}", child


KEYS = dict(walk_keys(json_schema()["$defs"]["JobProcessor"]))
