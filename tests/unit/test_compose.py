"""Is compose.yaml a compose file, and does it keep its promises? No container engine is needed to tell."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker import parent
from worker.__main__ import main

COMPOSE = Path(__file__).resolve().parents[2] / "compose.yaml"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    found: dict[str, dict[str, Any]] = document["services"]
    return found


def check_against_schema(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_it_follows_the_published_compose_schema() -> None:
    """The schema comes with check-jsonschema, so nothing is fetched."""
    checked = check_against_schema(COMPOSE)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_schema_would_refuse_a_misspelt_key(tmp_path: Path) -> None:
    """The check above does check something."""
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text(encoding="utf-8").replace("healthcheck:", "health_check:"), encoding="utf-8")
    checked = check_against_schema(broken)
    assert checked.returncode != 0
    assert "health_check" in checked.stdout + checked.stderr


def test_redis_is_reachable_by_the_other_services_only(services: dict[str, dict[str, Any]]) -> None:
    """Whoever writes to Redis decides what workers do."""
    assert not any("ports" in service or "network_mode" in service for service in services.values())


def test_the_password_is_mandatory_and_on_no_command_line(services: dict[str, dict[str, Any]]) -> None:
    """Command lines are readable by everybody on the host."""
    for name, service in services.items():
        shown = str(service.get("command", "")) + str(service.get("healthcheck", ""))
        assert "${REDIS_PASSWORD" not in shown, name
    assert services["redis"]["environment"]["REDISCLI_AUTH"].startswith("${REDIS_PASSWORD:?")
    for name in ("orchestrator", "worker"):
        assert ":${REDIS_PASSWORD:?" in services[name]["environment"]["WORKFLOWS_REDIS_URL"]


def test_redis_keeps_what_it_acknowledged(services: dict[str, dict[str, Any]]) -> None:
    """What `workflows doctor` would ask for."""
    command = services["redis"]["command"][-1]
    for line in ("appendonly yes", "maxmemory-policy noeviction", "dir /data", 'requirepass "$$REDISCLI_AUTH"'):
        assert line in command.splitlines()
    assert "redis:/data" in services["redis"]["volumes"]


@pytest.mark.parametrize("name", ["redis", "orchestrator", "worker"])
def test_every_service_runs_with_as_little_as_possible(services: dict[str, dict[str, Any]], name: str) -> None:
    """A break-in finds nothing to write to and no rights to raise."""
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ["orchestrator", "worker"])
def test_processes_wait_for_a_healthy_redis(services: dict[str, dict[str, Any]], name: str) -> None:
    """Not merely for one that was started."""
    assert services[name]["depends_on"] == {"redis": {"condition": "service_healthy"}}


def test_workers_can_be_scaled_and_orchestrators_come_in_pairs(services: dict[str, dict[str, Any]]) -> None:
    """`--scale worker=8` needs a service without a fixed name."""
    assert services["orchestrator"]["deploy"]["replicas"] == 2
    assert "container_name" not in services["worker"]


@pytest.mark.parametrize("page", [COMPOSE, COMPOSE.parent / "docs" / "operations.md"], ids=lambda path: path.name)
def test_what_is_printed_exports_every_variable_that_has_to_be_set(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    needed = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text(encoding="utf-8")))
    exported = {
        name for line in re.findall(r"^(?:# +)?export (.*)$", text, re.M) for name in re.findall(r"(\w+)=", line)
    }
    assert needed <= exported
    assert not re.search(r"\$\{\w+(?!:\?)\b[^:]*\}", COMPOSE.read_text(encoding="utf-8")), "a default that may be wrong"


@pytest.mark.parametrize("page", [COMPOSE, COMPOSE.parent / "docs" / "operations.md"], ids=lambda path: path.name)
def test_the_folder_that_is_printed_is_not_the_clone(page: Path) -> None:
    """Its packages would be taken for the app's, and refused."""
    folders = re.findall(r"APP_DIRECTORY=(\S+)", page.read_text(encoding="utf-8"))
    assert folders
    assert "." not in folders


@pytest.mark.parametrize("name", ["redis", "orchestrator", "worker"])
def test_every_service_says_how_it_is_watched(services: dict[str, dict[str, Any]], name: str) -> None:
    """What the commands are worth is seen in tests/integration/test_health.py."""
    assert services[name]["healthcheck"]["test"]


def test_a_worker_may_take_its_whole_grace_and_more(services: dict[str, dict[str, Any]]) -> None:
    default = next(option for option in main.params if option.name == "grace").default
    assert services["worker"]["stop_grace_period"] == "2m"
    assert default + parent.DRAIN_MARGIN_SECONDS < 120
