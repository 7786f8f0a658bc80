"""What docs/asyncapi.yaml says about messages, to hold real ones against it."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import yaml

DOCUMENT = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"

Json = dict[str, Any]


class Channel(NamedTuple):
    """A channel's name, and how its messages are sent."""

    name: str
    qos: int
    retain: bool


def check(topic: str, payload: bytes) -> Channel:
    """The channel that `topic` belongs to. AssertionError where there is none, ValidationError where `payload` is not
    what the channel carries."""
    name = _channel_of(topic)
    document = load()
    (message,) = (resolve(reference) for reference in document["channels"][name]["messages"].values())
    text = payload.decode()
    content_type = message.get("contentType", document["defaultContentType"])
    _validator(message["payload"]).validate(json.loads(text) if content_type == "application/json" else text)
    (operation,) = (
        operation
        for operation in document["operations"].values()
        if operation["channel"]["$ref"] == f"#/channels/{name}"
    )
    binding = resolve(operation["bindings"])["mqtt"]
    return Channel(name, binding["qos"], binding["retain"])


@cache
def load() -> Json:
    """The document. Callers do not change it."""
    return yaml.safe_load(DOCUMENT.read_text())


def resolve(node: Json) -> Json:
    """What `node` refers to, or itself where it is no reference. KeyError where that is not in the document."""
    while "$ref" in node:
        found = load()
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def _channel_of(topic: str) -> str:
    """The channel with the fewest parameters whose address is like `topic`."""
    names = [name for name, channel in load()["channels"].items() if _pattern(channel).fullmatch(topic)]
    assert names, f"{topic} is no channel's address"
    return min(names, key=lambda name: load()["channels"][name]["address"].count("{"))


def _pattern(channel: Json) -> re.Pattern[str]:
    levels = []
    for level in channel["address"].split("/"):
        if not level.startswith("{"):
            levels.append(re.escape(level))
        elif choices := resolve(channel["parameters"][level[1:-1]]).get("enum"):
            levels.append("|".join(map(re.escape, choices)))
        else:
            levels.append("[^/+#]+")
    return re.compile("/".join(f"(?:{level})" for level in levels))


def _validator(schema: Json) -> jsonschema.Draft7Validator:
    """For a schema that refers to others in the document."""
    document = {"components": load()["components"], "allOf": [schema]}
    return jsonschema.Draft7Validator(document, format_checker=jsonschema.FormatChecker())
