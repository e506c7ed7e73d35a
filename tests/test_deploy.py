"""What lies under deploy/, looked at by the programs that would use it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.gpus import Gpu
from bot.metrics import Metrics
from bot.settings import NAMES
from tests.until import PROCESS_S

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE = sorted((DEPLOY / "compose").glob("*.yaml"))
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.stem != "kustomization")
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "bot.json"
SCRIPTS = Path(sys.executable).parent

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def passes(*command: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=PROCESS_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def documents(*files: Path) -> list[dict[str, Any]]:
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


def test_the_dockerfile_has_no_bad_habits() -> None:
    passes(SCRIPTS / "hadolint", DEPLOY / "Dockerfile")


def test_one_command_pins_every_image_that_is_not_built_here(tmp_path: Path) -> None:
    """No registry can be had here: what stands in for `docker buildx imagetools inspect` makes digests up."""
    copy = tmp_path / "deploy"
    shutil.copytree(DEPLOY, copy)
    registry = tmp_path / "registry"
    registry.write_text('#!/bin/sh\nprintf \'sha256:%s\' "$(printf %s "$1" | sha256sum | cut -c1-64)"\n')
    registry.chmod(0o755)
    with_registry = os.environ | {"PIN_WITH": str(registry)}

    def pin() -> str:
        command = ["sh", str(copy / "pin")]
        return subprocess.run(command, env=with_registry, capture_output=True, text=True, check=True).stdout

    assert "python:3.12-slim-bookworm@sha256:" in pin()
    loose = re.compile(r"(?:image: |FROM |PYTHON=)([a-z0-9./-]+:.*)$", re.MULTILINE)
    files = [copy / "Dockerfile", *copy.glob("compose/*.yaml"), *copy.glob("kubernetes/*.yaml")]
    named = [image for file in files for image in loose.findall(file.read_text())]
    ours = [image for image in named if image.startswith("photo-support-bot")]
    pinned = [image for image in named if re.search(r":.+@sha256:[0-9a-f]{64}\}?$", image)]
    assert len(pinned) == len(named) - len(ours) >= 10
    assert pin() == "", "a second time there is nothing to do"
    assert documents(*files[1:]), "still YAML"


def test_compose_files_are_compose_files() -> None:
    passes(SCRIPTS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *COMPOSE)


def test_manifests_are_what_a_cluster_takes() -> None:
    passes(SCRIPTS / "kubernetes-validate", "--strict", "-k", "1.34", *MANIFESTS)


def test_every_manifest_is_in_the_kustomization() -> None:
    (kustomization,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    there = {path.name.replace("secret.example", "secret") for path in MANIFESTS}
    assert set(kustomization["resources"]) == there


@needs_systemd
def test_the_units_are_units(tmp_path: Path) -> None:
    for unit in (DEPLOY / "systemd").iterdir():
        text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    passes("systemd-analyze", "verify", *tmp_path.iterdir())


def test_settings_that_the_files_name_are_settings() -> None:
    named = set()
    for compose in documents(*COMPOSE):
        for name, service in compose["services"].items():
            named |= set(service.get("environment", {})) if name == "bot" else set()
    for manifest in documents(*MANIFESTS):
        named |= set(manifest.get("data", {})) | set(manifest.get("stringData", {}))
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    named |= set(re.findall(r"^ +([A-Z_]+)=\S+ ?\\?$", dockerfile, re.MULTILINE)) & set(NAMES)
    assert {"DATA_DIR", "HTTP_HOST", "TELEGRAM_BOT_TOKEN", "DATABASE_URL"} <= named
    assert named - {"POSTGRES_PASSWORD"} <= set(NAMES)


# --- Alerts and the dashboard


def alerts() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from group["rules"]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def dashboard_expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def test_every_alert_has_its_page_and_no_page_is_left_over() -> None:
    text = (ROOT / "docs" / "runbooks.md").read_text()
    pages = re.findall(r"^## (\w+)$", text, re.MULTILINE)
    assert pages == [alert["alert"] for alert in alerts()]
    for alert in alerts():
        assert alert["annotations"]["runbook"] == f"docs/runbooks.md#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in {"page", "ticket"}


def test_alerts_and_dashboard_name_metrics_that_the_bot_has() -> None:
    metrics = Metrics(version="1")
    metrics.watch_gpus(lambda: [Gpu(0, 1, 2, 0.5)])
    known = {"up"}
    for family in metrics.registry.collect():
        known |= {family.name, f"{family.name}_total", f"{family.name}_bucket", f"{family.name}_count"}
    named = set()
    for expression in [*(alert["expr"] for alert in alerts()), *dashboard_expressions()]:
        named |= set(re.findall(r"\b(?:bot|process)_\w+", expression))
    assert named - known == set()
    ours = {family.name for family in metrics.registry.collect() if family.name.startswith("bot_")}
    shown = {re.sub(r"_(total|bucket|count)$", "", name) for name in named}
    assert ours - shown == set(), "nobody would see them"


def test_the_dashboard_is_the_one_that_its_script_draws() -> None:
    drawn = passes(
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, sys.argv[1]); import draw; sys.stdout.write(draw.text())",
        DASHBOARD.parent,
    )
    assert json.loads(drawn) == json.loads(DASHBOARD.read_text())
    assert len(panels()) > 15
    assert len({panel["id"] for panel in panels()}) == len(panels())


@needs_promtool
def test_prometheus_takes_the_files() -> None:
    passes("promtool", "check", "rules", ALERTS)
    passes("promtool", "check", "config", "--syntax-only", DEPLOY / "prometheus" / "prometheus.yaml")


@needs_promtool
def test_every_expression_of_the_dashboard_is_one(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(dashboard_expressions())
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    passes("promtool", "check", "rules", file)


@needs_promtool
def test_alerts_fire_on_recorded_failures_and_on_nothing_else() -> None:
    passes("promtool", "test", "rules", DEPLOY / "prometheus" / "alerts_test.yaml")
    played = (DEPLOY / "prometheus" / "alerts_test.yaml").read_text()
    for alert in alerts():
        assert played.count(f"alertname: {alert['alert']}") >= 2, "once silent, once firing"
