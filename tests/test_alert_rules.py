"""The alert rules in deploy/prometheus: Prometheus' own tool reads them, and they fire when they should."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from operations import health
from tests.conftest import ROOT
from tests.servers import find_server

FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "stockqueue.rules.yml"
CASES = ROOT / "tests" / "data" / "stockqueue.rules.test.yml"


def promtool(*words: str, cwd: Path) -> str:
    """What it says; it has to be content."""
    ended = subprocess.run(
        [find_server("promtool"), *words], cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def test_promtool_reads_the_rules():
    assert "SUCCESS" in promtool("check", "rules", RULES.name, cwd=FOLDER)


def test_alerts_are_raised_when_they_should_be(tmp_path):
    for file in (RULES, CASES):
        shutil.copy(file, tmp_path)
    assert "SUCCESS" in promtool("test", "rules", CASES.name, cwd=tmp_path)


def test_the_scrape_configurations_of_the_readme_are_ones(tmp_path):
    shutil.copy(RULES, tmp_path)
    found = re.findall(r"```yaml\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert len(found) == 2
    for number, text in enumerate(found):
        file = tmp_path / f"prometheus{number}.yml"
        file.write_text(text.replace("/etc/prometheus/stockqueue.token", str(tmp_path / "token")))
        (tmp_path / "token").write_text("secret")
        promtool("check", "config", file.name, cwd=tmp_path)


@pytest.mark.django_db
def test_rules_ask_for_metrics_labels_and_thresholds_that_there_are(client, monkeypatch):
    monkeypatch.setattr(health, "database", lambda: health.OK)
    families = list(text_string_to_metric_families(client.get("/metrics").content.decode()))
    thresholds = {
        sample.labels["name"]
        for family in families
        for sample in family.samples
        if family.name == "stockqueue_threshold"
    }
    text = "\n".join(rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"])
    assert set(re.findall(r"stockqueue_\w+", text)) <= {family.name for family in families}
    assert set(re.findall(r'stockqueue_threshold\{name="(\w+)"', text)) == thresholds
