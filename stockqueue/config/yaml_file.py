"""Reads a handwritten YAML file, and refuses constructs that only accidents and attacks contain."""

import datetime
import json
import math
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

MAX_BYTES = 1024 * 1024
MAX_ALIASES = 8
MAX_DEPTH = 20
SHOWN_CHARACTERS = 60


class YamlFileError(Exception):
    """The file is not readable as YAML; the message names the line and quotes no value."""


def read_yaml(path: Path) -> Any:
    """The file's content as plain mappings, lists and scalars; None for an empty file.

    Raises YamlFileError for a file that is missing, not a regular file, unreadable, too large, not UTF-8 or not YAML,
    and for tags, duplicate keys, too many aliases and too deep nesting.
    """
    text = _read_text(path)
    try:
        _check_events(text)
        loader = _StrictLoader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlFileError(f"line {line}: a character that YAML does not allow") from error
    except yaml.MarkedYAMLError as error:
        words = ": ".join(part for part in (error.context, error.problem) if part)
        raise _refusal(error.problem_mark or error.context_mark, words) from error


def show(value: object) -> str:
    """A value in YAML notation, in a short line. The content of containers is omitted, because it may be secret."""
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    return cut(str(value) if isinstance(value, datetime.date) else repr(value))


def cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            raise YamlFileError(f"{path} is a folder, not a file")
        if not path.exists():
            raise YamlFileError(f"no such file: {path}")
        # A pipe or a device would be read for ever.
        if not path.is_file():
            raise YamlFileError(f"{path} is not a file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise YamlFileError(f"cannot be read: {error.strerror} ({path})") from error
    if len(content) > MAX_BYTES:
        raise YamlFileError(f"larger than {MAX_BYTES // 1024} KiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YamlFileError(f"line {line}: not UTF-8 text") from error


def _refusal(mark: Any, words: str) -> YamlFileError:
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return YamlFileError(place + words)


def _check_events(text: str) -> None:
    """Refuse growing or recursive structures before building any value from them."""
    aliases = 0
    anchors: set[str] = set()
    open_anchors: list[str | None] = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        problem = None
        if isinstance(event, yaml.AliasEvent):
            aliases += 1
            if event.anchor not in anchors:
                problem = "an alias without an anchor; put text that starts with * in quotes"
            elif event.anchor in open_anchors:
                problem = "an alias that contains itself"
            elif aliases > MAX_ALIASES:
                problem = f"more than {MAX_ALIASES} aliases"
        elif isinstance(event, yaml.CollectionEndEvent):
            open_anchors.pop()
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            if event.anchor is not None:
                anchors.add(event.anchor)
            if isinstance(event, yaml.CollectionStartEvent):
                open_anchors.append(event.anchor)
            elif any("\ud800" <= part <= "\udfff" for part in event.value):
                problem = "an incomplete character (a lone surrogate)"
            if event.tag is not None:
                problem = "a tag is not allowed; put text that starts with ! in quotes"
            elif len(open_anchors) > MAX_DEPTH:
                problem = f"more than {MAX_DEPTH} levels of nesting"
        if problem:
            raise _refusal(event.start_mark, problem)


class _StrictLoader(yaml.SafeLoader):
    """A SafeLoader that refuses duplicate keys, and scalars with an impossible value."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                words = f"the key {cut(repr(key.value))} is on line {lines[name]} already"
                raise _refusal(key.start_mark, words)
            lines[name] = line
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            # YAML's own patterns match impossible dates and numbers: 2024-02-31, 0b_.
            raise _refusal(node.start_mark, "an impossible date or number") from error
