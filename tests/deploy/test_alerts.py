"""Alerts ask for metrics that exist, in files that both kinds of Prometheus take."""

import re

import yaml
from tests.deploy.manifests import DEPLOY, ROOT, compose, found
from tests.servers.prometheus import documented

_OWN_OF_PROMETHEUS = {"up"}
_WORDS_OF_THE_LANGUAGE = {
    "absent",
    "and",
    "by",
    "count",
    "histogram_quantile",
    "max",
    "min",
    "on",
    "rate",
    "scalar",
    "sum",
}


def _groups():
    return yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text("utf-8"))["groups"]


def _unknown(expression):
    """What an expression names that is no metric, no label of one and no word of PromQL."""
    known = documented("Front", "Jobs", "Model server")
    bare = re.sub(r'"[^"]*"|\[\w+\]', "", expression)
    found_names = set(re.findall(r":?[a-z_][\w:]*", bare)) - _WORDS_OF_THE_LANGUAGE - _OWN_OF_PROMETHEUS
    labels = {label for _, its in known.values() for label in its} | {"le", "instance", "job"}
    return {name for name in found_names if re.sub("_(bucket|count|sum)$", "", name) not in known} - labels


def test_every_metric_of_an_alert_is_documented():
    rules = [rule for group in _groups() for rule in group["rules"]]
    assert len(rules) > 6
    assert {rule["alert"]: _unknown(rule["expr"]) for rule in rules} == {rule["alert"]: set() for rule in rules}
    assert _unknown("rate(tastemaker_front_call_total[5m])") == {"tastemaker_front_call_total"}


def test_every_query_of_the_page_of_metrics_is_about_documented_ones():
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    queries = [
        line.partition("#")[0] for line in page.splitlines() if line.startswith("    ") and "tastemaker_" in line
    ]
    assert len(queries) > 3
    assert {query: _unknown(query) for query in queries} == {query: set() for query in queries}


def test_every_alert_says_how_bad_it_is_and_what_to_do():
    for group in _groups():
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
            assert {"summary", "description"} <= rule["annotations"].keys(), rule["alert"]
            assert rule["for"], rule["alert"]


def test_the_operators_alerts_are_those_of_the_file():
    assert found("prod", "PrometheusRule", "tastemaker")["spec"]["groups"] == _groups()


def test_prometheus_of_the_compose_file_reads_the_alerts():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    mounts = dict(volume.split(":")[:2] for volume in compose()["services"]["prometheus"]["volumes"])
    places = {place: source for source, place in mounts.items()}
    (rules,) = config["rule_files"]
    assert (DEPLOY / places[f"/etc/prometheus/{rules}"]).is_file()
