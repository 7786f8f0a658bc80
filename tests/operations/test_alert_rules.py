"""The alert rules in deploy/prometheus: Prometheus' own tool reads them, and they fire when they should."""

import re
import shutil

import pytest
import yaml

from operations.monitoring import health
from tests.conftest import ROOT
from tests.support.prometheus import fill, promtool, told, what_is_not_there

FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "stockqueue.rules.yml"
CASES = ROOT / "tests" / "support" / "data" / "stockqueue.rules.test.yml"


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
def test_rules_ask_for_metrics_labels_and_thresholds_that_there_are(client, monkeypatch, user, hold):
    monkeypatch.setattr(health, "database", lambda: health.OK)
    fill(user, hold)
    found = told(client)
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert {rule: wrong for rule in rules if (wrong := what_is_not_there(rule, found))} == {}
    thresholds = set(re.findall(r'stockqueue_threshold\{name="(\w+)"', "\n".join(rules)))
    assert thresholds == found["stockqueue_threshold"]["name"]
