"""Alert rules and dashboard use metrics that exist, with labels that they have; each rule fires and resolves."""

import json
import re
import subprocess
from itertools import combinations

import pytest
import yaml

from edge_runtime.daemon.metric_table import METRICS
from edge_runtime.http.metric_samples import Buckets
from edge_runtime.http.prometheus import Exposition
from tests.support.paths import ROOT
from tests.support.programs import find_program
from tests.support.waiting import WAIT_S

RULES = ROOT / "deploy" / "prometheus" / "edge-runtime.rules.yml"
RULE_TESTS = RULES.with_suffix(".test.yml")
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "edge-runtime.json").read_text())
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
"""Of prometheus_client; ``test_prometheus`` sees them on the page."""
SERIES = {
    name: {*metric.labels, "le", "job", "instance"}
    for metric in METRICS
    for name in (
        [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
        if metric.kind == "histogram"
        else [metric.name]
    )
}


def alerts():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def dashboard_queries():
    panels = DASHBOARD["panels"]
    yield from (target["expr"] for panel in panels for target in panel["targets"])
    yield from (one["expr"] for one in DASHBOARD["annotations"]["list"])
    yield from (one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query")


@pytest.mark.parametrize("query", [*(rule["expr"] for rule in alerts().values()), *dashboard_queries()])
def test_every_query_names_metrics_that_exist_with_labels_that_they_have(query):
    used = re.findall(r"\b((?:edge_runtime|process)_\w+|up)(?:\{([^}]*)\})?", query)
    assert used
    for name, selector in used:
        assert name in SERIES or name in PROCESS or name == "up"
        labels = set(re.findall(r"(\w+)\s*=~?", selector))
        assert labels <= SERIES.get(name, {"job", "instance"}), (name, labels)
    grouped = {
        label for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for label in group.split(", ")
    }
    common = set.intersection(*(SERIES.get(name, {"job", "instance"}) for name, _ in used))
    assert grouped <= common


@pytest.mark.parametrize("name", alerts())
def test_what_an_alert_says_names_labels_that_it_has(name):
    rule = alerts()[name]
    grouped = re.search(r"\bby \(([^)]*)\)", rule["expr"])
    used = re.findall(r"\b(edge_runtime_\w+|up)\b", rule["expr"])[0]
    known = set(grouped[1].split(", ")) if grouped else SERIES.get(used, {"job", "instance"})
    assert set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"]))) <= known
    assert rule["labels"]["severity"] in ("critical", "warning", "info")


@pytest.mark.integration
def test_each_rule_fires_alone_and_resolves():
    done = subprocess.run(
        [find_program("promtool"), "test", "rules", RULE_TESTS.name],
        cwd=RULES.parent, capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.integration
def test_the_page_is_as_the_checker_of_prometheus_wants_it():
    buckets = Buckets((0.1, 1.0), (1, 0, 2), 3.5)
    samples = [metric.of(buckets if metric.kind == "histogram" else 1, *metric.labels) for metric in METRICS]
    page, _ = Exposition(lambda: samples).render("")
    done = subprocess.run(
        [find_program("promtool"), "check", "metrics"],
        input=page, capture_output=True, timeout=WAIT_S,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.integration
def test_prometheus_can_read_every_query_of_the_dashboard(tmp_path):
    queries = [query for query in dashboard_queries() if not query.startswith("label_values")]
    rules = [
        {"record": f"panel:query:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [find_program("promtool"), "check", "rules", path], capture_output=True, text=True, timeout=WAIT_S
    )
    assert done.returncode == 0, done.stderr


def test_every_rule_has_a_test_in_which_it_fires_and_one_later_in_which_it_does_not():
    fired = set()
    for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]:
        looks = [
            "".join(
                re.findall(
                    r'alertname="(\w+)"',
                    json.dumps(look.get("exp_samples", []), ensure_ascii=False).replace('\\"', '"'),
                )
            )
            for look in test.get("promql_expr_test", ())
        ] + [look["alertname"] if look["exp_alerts"] else "" for look in test.get("alert_rule_test", ())]
        found = set(filter(None, looks))
        assert len(found) == 1, test["name"]
        assert (looks[0], looks[-1]) == ("", ""), test["name"]
        fired |= found
    assert fired == alerts().keys()


def test_panels_of_the_dashboard_do_not_overlap():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    for a, b in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
