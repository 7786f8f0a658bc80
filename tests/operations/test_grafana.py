"""The dashboard in deploy/grafana: it asks for what there is, in a language that Prometheus reads."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from operations.monitoring import health
from tests.conftest import ROOT
from tests.support.prometheus import OF_PROMETHEUS, Told, fill, metrics_in, promtool, told, what_is_not_there

FOLDER = ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((FOLDER / "stockqueue.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = [target["expr"] for _, target in TARGETS]
OF_GRAFANA = {"$job": "stockqueue"}
"""Its variables, and what they may stand for."""


def without_variables(expression: str) -> str:
    for name, value in OF_GRAFANA.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def data_sources(part: Any) -> Iterator[Any]:
    """Every data source that is named anywhere."""
    if isinstance(part, dict):
        if "datasource" in part:
            yield part["datasource"]
        for inner in part.values():
            yield from data_sources(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from data_sources(inner)


@pytest.fixture
def everything_told(client, monkeypatch, user, hold) -> Told:
    monkeypatch.setattr(health, "database", lambda: health.OK)
    fill(user, hold)
    return told(client)


@pytest.mark.django_db
def test_it_asks_for_metrics_labels_and_values_that_there_are(everything_told):
    found = {
        expression: what_is_not_there(without_variables(expression), everything_told) for expression in EXPRESSIONS
    }
    assert {expression: wrong for expression, wrong in found.items() if wrong} == {}


@pytest.mark.django_db
def test_it_shows_every_metric_and_every_threshold(everything_told):
    assert metrics_in(EXPRESSIONS) == set(everything_told)
    thresholds = set(re.findall(r'stockqueue_threshold\{[^}]*name="(\w+)"', "\n".join(EXPRESSIONS)))
    assert thresholds == everything_told["stockqueue_threshold"]["name"]


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("max(stockqueue_nothing)", ["stockqueue_nothing"]),
        ('stockqueue_jobs{colour="red"}', ['stockqueue_jobs{colour="red"}']),
        ('stockqueue_jobs{state!="asleep"}', ['stockqueue_jobs{state="asleep"}']),
        ("sum by (colour) (stockqueue_jobs)", ["colour"]),
        ('sum by (job, queue) (stockqueue_jobs{job="stockqueue", state="running"})', []),
    ],
)
@pytest.mark.django_db
def test_the_check_sees_what_is_not_there(everything_told, expression, wrong):
    assert what_is_not_there(expression, everything_told) == wrong


def test_prometheus_reads_each_expression(tmp_path):
    rules = [
        {"record": f"panel:number:{number}", "expr": without_variables(expression)}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(EXPRESSIONS)} rules found" in promtool("check", "rules", "panels.yml", cwd=tmp_path)


def test_each_expression_is_of_the_chosen_job_and_counts_no_web_server_twice():
    for expression in EXPRESSIONS:
        assert expression.count('job="$job"') == len(re.findall(r"\bstockqueue_\w+", expression)), expression
        for aggregation in re.findall(r"(\w+)(?: by \([^)]*\))? \(?stockqueue_|(\w+)\(stockqueue_", expression):
            assert "".join(aggregation) == "max", expression


def test_names_of_lines_are_made_of_labels_that_they_have():
    for title, target in TARGETS:
        names = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        outermost = re.match(r"(?:clamp_min\()?(?:max|sum)(?: by \(([^)]*)\))?", target["expr"])
        assert outermost, title
        labels = set(re.findall(r"\w+", outermost.group(1) or ""))
        assert names == labels - OF_PROMETHEUS, title


def test_the_data_source_is_chosen_in_the_dashboard_and_none_is_built_in():
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    found = list(data_sources(DASHBOARD))
    assert len(found) > len(PANELS)
    assert all(one == chosen for one in found)
    variables = {variable["name"]: variable["type"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource": "datasource", "job": "query"}
    assert "uid" not in DASHBOARD
    assert "id" not in DASHBOARD


def test_panels_have_a_unit_a_description_and_a_place_of_their_own():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        unit = panel["fieldConfig"]["defaults"]["unit"]
        seconds = all("_seconds" in target["expr"] for target in panel["targets"] if "threshold" not in target["expr"])
        ratios = all("_ratio" in target["expr"] for target in panel["targets"] if "threshold" not in target["expr"])
        assert unit == ("s" if seconds else "percentunit" if ratios else "short"), panel["title"]


def test_the_files_that_the_readme_shows_are_yaml_for_grafana():
    dashboards, sources = re.findall(r"```yaml\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert yaml.safe_load(dashboards)["providers"][0]["options"]["path"]
    assert yaml.safe_load(sources)["datasources"][0]["type"] == "prometheus"
