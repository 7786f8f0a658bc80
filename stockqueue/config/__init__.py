"""Loads job_processor.yml into the models of `sections`, and describes errors in the file.

`python -m stockqueue.config` prints the JSON Schema of the file, for editors.
"""

import copy
import datetime
import difflib
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, core_schema

from stockqueue.config.queues import MEANS_CELERY
from stockqueue.config.sections import JobProcessor
from stockqueue.config.values import Section
from stockqueue.config.yaml_file import YamlFileError, cut, read_yaml, show

ENVIRONMENTS = ("development", "production")
BASE = "job_processor"


class ConfigError(Exception):
    """The configuration is invalid; the message is a single line with the file, key, value and rule."""


class _Layer(NamedTuple):
    """A part of the file with the same keys as JobProcessor, and the dotted path to this part."""

    path: str
    content: Any


def load_config(path: Path, environment: str) -> JobProcessor:
    """The settings of a file in an environment, `development` or `production`.

    The environment's section is merged over `job_processor:`: mappings key by key, other values replace. The other
    environment's section is checked too. Raises ConfigError, and nothing else, for any bad file.
    """
    if environment not in ENVIRONMENTS:
        words = f"unknown environment {show(environment)}; expected {' or '.join(ENVIRONMENTS)}"
        raise _error(path, [words])
    try:
        content = read_yaml(path)
    except YamlFileError as error:
        raise _error(path, [str(error)]) from error
    problems = _check_top(content)
    if problems:
        raise _error(path, problems)

    base = _Layer(BASE, content[BASE])
    config, errors = _validate(base.content)
    places = {error["loc"] for error in errors}
    problems = [_describe(error, base.path) for error in errors]
    layers = [base]
    for name in ENVIRONMENTS:
        override = _find_override(content, name)
        if override is None:
            continue
        merged, errors = _validate(_merge(base.content, override.content))
        # Errors of the base section are already in the list.
        problems += [_describe(error, override.path) for error in errors if error["loc"] not in places]
        if name == environment:
            config, layers = merged, [base, override]
    if config is None or problems:
        raise _error(path, problems)

    ignored = dict(sorted(_find_ignored(layers)))
    config._ignored = tuple(ignored)
    config._notes = (*(f"{key} is {why}" for key, why in ignored.items()), *_explain_backend(layers))
    return config


def _check_top(content: Any) -> list[str]:
    """The errors in the file's outermost keys."""
    if content is None:
        return [f"the file is empty; expected the key {BASE}"]
    if not isinstance(content, dict):
        return [f"{show(content)} at the top; expected a mapping with the key {BASE}"]
    names = (BASE, *ENVIRONMENTS)
    problems = [] if BASE in content else [f"{BASE}: the key is missing at the top of the file"]
    problems += [_describe_unknown(str(key), names, "") for key in content if key not in names]
    for name in ENVIRONMENTS:
        section = content.get(name)
        if isinstance(section, dict) and BASE in section:
            beside = (str(key) for key in section if key != BASE)
            problems += [f"{name}.{cut(key)}: does not belong beside {name}.{BASE}" for key in beside]
    return problems


def _find_override(content: dict[str, Any], name: str) -> _Layer | None:
    section = content.get(name)
    if section is None:
        return None
    if isinstance(section, dict) and BASE in section:
        return _Layer(f"{name}.{BASE}", section[BASE])
    return _Layer(name, section)


def _merge(base: Any, override: Any) -> Any:
    if isinstance(base, dict) and isinstance(override, dict):
        return base | {key: _merge(base.get(key), value) for key, value in override.items()}
    # An empty section, for example with all keys commented out, changes nothing.
    return base if isinstance(base, dict) and override is None else override


def _validate(content: Any) -> tuple[JobProcessor | None, list[ErrorDetails]]:
    try:
        return JobProcessor.model_validate(content), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _error(path: Path, problems: list[str]) -> ConfigError:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    message = f"{path.name or path}: {problems[0]}{more}"
    return ConfigError("".join(part if part.isprintable() else repr(part)[1:-1] for part in message))


def _describe(error: ErrorDetails, prefix: str) -> str:
    """An error in plain words. The expected value comes from the schema, or from the validator."""
    loc = error["loc"]
    if error["type"] in ("extra_forbidden", "invalid_key"):
        known = tuple(_find_node(loc[:-1])["properties"])
        return _describe_unknown(str(loc[-1]), known, ".".join((prefix, *map(str, loc[:-1]), "")))
    key = ".".join((prefix, *map(str, loc)))
    value = "the value (not shown)" if "password" in loc else show(error["input"])
    if error["type"] == "value_error":
        return f"{key}: {value} {error['ctx']['error']}"
    return f"{key}: {value} is not {_describe_expected(_find_node(loc), error['input'])}"


def _describe_unknown(key: str, known: tuple[str, ...], prefix: str) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}"
    return f"{prefix}{cut(key)}: unknown key; {hint}"


def _describe_expected(node: dict[str, Any], value: object) -> str:
    if "enum" in node:
        return " or ".join(dict.fromkeys(str(choice) for choice in node["enum"]))
    low, high = node.get("minimum"), node.get("maximum")
    span = f" between {low} and {high}" if low is not None else ""
    match node.get("type"):
        case "integer" if isinstance(value, int) and not isinstance(value, bool):
            return span.strip()
        case "number" if isinstance(value, int | float) and not isinstance(value, bool):
            # A whole number may be too large to be a float.
            return span.strip() if isinstance(value, int) or math.isfinite(value) else f"a number{span}"
        case "integer":
            return f"a whole number{span}"
        case "number":
            return f"a number{span}"
        case "boolean":
            return "true or false"
        case "string" if isinstance(value, str):
            return f"text of {node['minLength']} to {node['maxLength']} characters"
        case "string":
            quoted = isinstance(value, bool | int | float | datetime.date)
            return "text; put it in quotes" if quoted else "text"
        case "array" if isinstance(value, list):
            return f"a list of {node['minItems']} to {node['maxItems']} entries"
        case "array":
            return "a list"
        case _:
            return "a mapping of keys"


def _find_ignored(layers: list[_Layer]) -> Iterator[tuple[str, str]]:
    """The path of each ignored key, in the first layer that sets the key, and the reason for ignoring it."""
    found: set[str] = set()
    for layer in layers:
        for key, reason in _walk_ignored(layer.content, _find_node(()), ""):
            if key not in found:
                found.add(key)
                yield f"{layer.path}{key}", reason


def _walk_ignored(content: Any, node: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    if node.get("deprecated"):
        reason = node["description"]
        yield path, reason[0].lower() + reason[1:]
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _walk_ignored(value, _step(node, key), f"{path}.{key}")
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _walk_ignored(value, _step(node, index), f"{path}.{index}")


def _explain_backend(layers: list[_Layer]) -> Iterator[str]:
    for path, content in reversed(layers):
        queue = (content or {}).get("queue") or {}
        if "backend" in queue:
            if queue["backend"] in MEANS_CELERY:
                meaning = "means celery here; MQTT carries events, not jobs"
                yield f"{path}.queue.backend: {queue['backend']} {meaning}"
            return


class _SchemaWriter(GenerateJsonSchema):
    """Omits titles made from keys, and defaults of whole sections: the keys have the defaults."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        return {**super().model_schema(schema), "type": ["object", "null"]}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if isinstance(schema.get("default"), Section):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


@cache
def _settings_schema() -> dict[str, Any]:
    return JobProcessor.model_json_schema(schema_generator=_SchemaWriter)


def _find_node(loc: tuple[int | str, ...]) -> dict[str, Any]:
    node = _settings_schema()
    for part in loc:
        node = _step(node, part)
    return node


def _step(node: dict[str, Any], part: int | str) -> dict[str, Any]:
    child = node["items"] if isinstance(part, int) else node["properties"][part]
    own = child
    while "$ref" in child or "anyOf" in child:
        # The first choice describes the value: the other choices are null, or another notation.
        target = child.get("anyOf", [child])[0]
        child = _settings_schema()["$defs"][target["$ref"].rpartition("/")[2]] if "$ref" in target else target
    return {**child, **{key: value for key, value in own.items() if key not in ("$ref", "anyOf")}}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 7, for editors) of the whole file."""
    settings = copy.deepcopy(_settings_schema())
    definitions = settings.pop("$defs")
    reference = {"$ref": f"#/$defs/{JobProcessor.__name__}"}
    override = {
        "description": "Overrides of job_processor for this environment, inside job_processor or directly.",
        "type": ["object", "null"],
        "properties": {BASE: reference, **settings["properties"]},
        "additionalProperties": False,
        "if": {"required": [BASE]},
        "then": {"maxProperties": 1},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "job_processor.yml",
        "description": "Settings of stockqueue.",
        "type": "object",
        "properties": {BASE: reference, **dict.fromkeys(ENVIRONMENTS, override)},
        "required": [BASE],
        "additionalProperties": False,
        "$defs": {**definitions, JobProcessor.__name__: settings},
    }
