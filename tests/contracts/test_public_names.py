"""The names that other programs, scripts and people rely on stay as `public_names.json` lists them.

A name that the product gains is added to the list; a name that it loses breaks somebody's subscriber, script or link.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery import current_app
from django.apps import apps
from django.core.management import get_commands
from django.urls import URLPattern, URLResolver, get_resolver
from prometheus_client.parser import text_string_to_metric_families

from stockqueue.config import json_schema
from tests.conftest import ROOT

LIST = Path(__file__).with_name("public_names.json")
ROOMS = {"stockqueue", "tasks", "market", "portfolio", "mqtt_bridge", "operations", "console"}


def configuration_keys(schema: dict[str, Any], node: dict[str, Any], path: str = "") -> Iterator[str]:
    """`worker.max_concurrent_jobs: 5` for each key, with its default."""
    child = node
    while "$ref" in child or "anyOf" in child:
        child = child.get("anyOf", [child])[0]
        child = schema["$defs"][child["$ref"].rpartition("/")[2]] if "$ref" in child else child
    if "properties" in child:
        for name, below in child["properties"].items():
            yield from configuration_keys(schema, below, f"{path}.{name}" if path else name)
    else:
        yield f"{path}: {json.dumps(node.get('default'))}"


def addresses(patterns: list[Any], route: str = "", namespace: str = "") -> Iterator[str]:
    """`portfolio/<int:pk>/ portfolio` for each page: its route and its name."""
    for pattern in patterns:
        whole = route + re.sub(r"\^\(\?P<app_label>.*?\)/\$", "<app_label>/", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from addresses(pattern.url_patterns, whole, inner)
        elif isinstance(pattern, URLPattern):
            yield f"{whole} {namespace}{pattern.name or ''}".strip()


def message_fields() -> Iterator[str]:
    """`job.started.worker_id` for each field of each message on MQTT."""
    document = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())
    for name, schema in document["components"]["schemas"].items():
        for part in (schema, *schema.get("allOf", ())):
            yield from (f"{name}.{field}" for field in part.get("properties", {}))


def permissions() -> Iterator[str]:
    for model in apps.get_models():
        if model._meta.app_label in ROOMS:
            defaults = (f"{action}_{model._meta.model_name}" for action in model._meta.default_permissions)
            for codename in (*defaults, *(codename for codename, _ in model._meta.permissions)):
                yield f"{model._meta.app_label}.{codename}"


def of_the_product(client) -> dict[str, list[str]]:
    """The product's names as they are, by kind."""
    schema = json_schema()
    current_app.loader.import_default_modules()
    names = {
        "Celery tasks": (name for name in current_app.tasks if name.startswith("stockqueue.")),
        "MQTT message fields": message_fields(),
        "configuration keys": configuration_keys(schema, schema["properties"]["job_processor"]),
        "commands": (name for name, app in get_commands().items() if app in ROOMS),
        "permissions": permissions(),
        "addresses": addresses(get_resolver().url_patterns),
        "metrics": (family.name for family in text_string_to_metric_families(client.get("/metrics").content.decode())),
    }
    return {kind: sorted(set(found)) for kind, found in names.items()}


@pytest.mark.django_db
def test_every_public_name_is_as_it_is_listed(client):
    listed = json.loads(LIST.read_text())
    found = of_the_product(client)
    lost = {kind: sorted(set(listed[kind]) - set(found[kind])) for kind in listed}
    new = {kind: sorted(set(found[kind]) - set(listed[kind])) for kind in listed}
    assert not any(lost.values()), f"somebody may rely on these: {lost}"
    assert not any(new.values()), f"these are to be added to {LIST.name}: {new}"
