"""The deployment files: what systemd and Kubernetes say of them, and what our own limits say."""

import subprocess
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest

from ipc.messages import Backlog
from supervisor.cli.commands import docket_supervisor
from supervisor.config import Address, SupervisorConfig
from supervisor.errors import InvalidOption
from supervisor.exit_codes import ExitCode
from supervisor.monitoring.handlers import handlers_of
from supervisor.monitoring.metrics import registry_of, render
from supervisor.systemd.messages import OVERTIME_SECONDS
from supervisor.text import sizes
from tests.support import systemd
from tests.support.deploy import (
    FOLDER,
    Instruction,
    comments_of,
    config_of,
    dockerfile,
    manifests,
    seconds,
    the,
    unit,
    value,
)
from tests.support.exposition import labels_by_name
from tests.support.promql import faults
from tests.support.recording_process_control import Rig

RELOADING = FOLDER / "docket-supervisor.service"
PLAIN = FOLDER / "docket-supervisor-notify.service"
UNITS = pytest.mark.parametrize("path", [RELOADING, PLAIN], ids=lambda path: path.stem)
#: Where the units have the program; it stands in for nothing there on the machine of a test.
PROGRAM = "/opt/app/venv/bin/docket-supervisor"
#: The first that looks at the security of a file rather than of a loaded unit.
OFFLINE = 250
#: The Kubernetes that is supported and oldest here, and the latest whose schemas are known.
RELEASES = ("1.29", kubernetes_validate.latest_version())
DEFAULTS = SupervisorConfig()


# systemd.


def systemd_version() -> int:
    found = systemd.version()
    if found is None:
        pytest.skip("there is no systemd-analyze here")
    return found


def installed(path: Path, folder: Path) -> Path:
    """A copy of the unit whose program is there."""
    program = folder / "docket-supervisor"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = folder / path.name
    copy.write_text(path.read_text("utf-8").replace(PROGRAM, str(program)), "utf-8")
    return copy


def analyze(*arguments: str) -> tuple[int, set[str]]:
    """Exit code, and what it complains of (it says some things twice)."""
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=50, check=False
    )
    return done.returncode, {line for line in done.stderr.splitlines() if line}


def verify(path: Path) -> tuple[int, set[str]]:
    return analyze("verify", "--man=no", "--recursive-errors=no", str(path))


@UNITS
def test_systemd_has_nothing_to_say_about_a_unit(path: Path, tmp_path: Path) -> None:
    version = systemd_version()
    copy = installed(path, tmp_path)
    code, complaints = verify(copy)
    if path == RELOADING and version < systemd.NOTIFY_RELOAD:
        # It says so of the one line that the other unit is there for, and of no other.
        (complaint,) = complaints
        assert complaint.endswith("Failed to parse service type, ignoring: notify-reload")
        copy.write_text(copy.read_text("utf-8").replace("Type=notify-reload", "Type=notify"))
        code, complaints = verify(copy)
    assert (code, complaints) == (0, set())


@pytest.mark.parametrize(
    ("line", "wrong"),
    [("KillMode=mixed", "KillMode=gently"), ("OOMPolicy=continue", "OomPolicy=continue")],
)
def test_systemd_would_object_to_a_line_that_is_wrong(
    line: str, wrong: str, tmp_path: Path
) -> None:
    systemd_version()
    copy = installed(PLAIN, tmp_path)
    text = copy.read_text("utf-8")
    assert line in text
    copy.write_text(text.replace(line, wrong), "utf-8")
    assert verify(copy)[1] != set()


def test_what_a_unit_leaves_to_the_program_is_little(tmp_path: Path) -> None:
    if systemd_version() < OFFLINE:
        pytest.skip("this systemd-analyze judges no file")
    copy = installed(PLAIN, tmp_path)
    judge = ("security", "--offline=yes", "--no-pager")
    # 20 is "OK"; a unit without any hardening is judged 95.
    assert analyze(*judge, "--threshold=20", str(copy))[0] == 0
    hardened = ("NoNewPriv", "Capab", "Ambient", "Protect", "Private", "Restrict", "SystemCall")
    kept = [each for each in copy.read_text().splitlines() if not each.startswith(hardened)]
    copy.write_text("\n".join(kept))
    assert analyze(*judge, "--threshold=20", str(copy))[0] != 0


def test_the_units_differ_in_how_they_reload_and_in_nothing_else() -> None:
    with_signal, with_command = unit(RELOADING), unit(PLAIN)
    assert with_signal.pop(("Service", "Type")) == ["notify-reload"]
    assert with_command.pop(("Service", "Type")) == ["notify"]
    assert len(with_command.pop(("Service", "ExecReload"))) == 1
    assert with_signal == with_command


@UNITS
def test_a_unit_keeps_what_operators_were_promised(path: Path) -> None:
    given = unit(path)
    assert value(given, "KillMode") == "mixed"
    assert value(given, "Restart") == "always"
    assert value(given, "RestartPreventExitStatus") == str(int(ExitCode.USAGE))
    assert value(given, "OOMPolicy") == "continue"
    # Else a service that cannot boot would be given up by systemd: five starts in ten seconds.
    assert seconds(value(given, "RestartSec")) > 10 / 5


@UNITS
def test_the_times_of_a_unit_fit_those_of_the_program(path: Path) -> None:
    given = unit(path)
    drain = DEFAULTS.drain_timeout.total_seconds() + OVERTIME_SECONDS
    assert seconds(value(given, "TimeoutStopSec")) > drain
    assert seconds(value(given, "TimeoutStartSec")) > DEFAULTS.boot_timeout.total_seconds()
    # Its last sign of life may be half of this old when the workers hang; then they are killed
    # after the stall timeout, and their successors are a sign of life.
    stalled = DEFAULTS.stall_timeout.total_seconds() + 5
    assert seconds(value(given, "WatchdogSec")) / 2 > stalled


@UNITS
def test_the_commands_of_a_unit_exist_and_agree_on_the_control_socket(path: Path) -> None:
    given = unit(path)
    start = value(given, "ExecStart").split()
    assert start[0] == PROGRAM
    socket = config_of(start[1:]).control
    assert socket == f"%t/{value(given, 'RuntimeDirectory')}/control.sock"
    for command in given.get(("Service", "ExecReload"), []):
        program, *words = command.split()
        assert program == PROGRAM
        assert words == ["ctl", "--control", socket, "reload"]
        assert docket_supervisor.main([*words, "--help"], standalone_mode=False) == 0


@UNITS
def test_a_reload_finds_the_directory_by_the_name_that_a_deploy_moves(path: Path) -> None:
    given = unit(path)
    assert f"PWD={value(given, 'WorkingDirectory')}" in given["Service", "Environment"]


@UNITS
def test_a_unit_does_without_no_file_that_it_names(path: Path) -> None:
    file = value(unit(path), "EnvironmentFile")
    assert file.startswith("/"), "with a dash a missing file would be no error"
    assert file in (FOLDER.parent / "deploy.md").read_text("utf-8")
    assert file in comments_of(RELOADING)


# Kubernetes.


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    "name",
    [
        "deployment.yaml",
        "poddisruptionbudget.yaml",
        "networkpolicy.yaml",
        "horizontalpodautoscaler.yaml",
    ],
)
def test_a_manifest_is_of_the_schema(name: str, release: str) -> None:
    for manifest in manifests(name):
        assert kubernetes_validate.validate(manifest, release, strict=True) in release


@pytest.mark.parametrize("release", RELEASES)
def test_a_field_that_does_not_exist_would_be_found(release: str) -> None:
    (manifest,) = manifests("deployment.yaml")
    pod(manifest)["terminationGraceSeconds"] = 90
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, release, strict=True)


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]


@pytest.fixture
def deployment() -> dict[str, Any]:
    (only,) = manifests("deployment.yaml")
    return only


@pytest.fixture
def container(deployment: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(deployment)["containers"]
    return only


@pytest.fixture
def config(container: dict[str, Any]) -> SupervisorConfig:
    return config_of(container["args"])


def test_the_pod_has_longer_than_its_drain_may_take(
    deployment: dict[str, Any], container: dict[str, Any], config: SupervisorConfig
) -> None:
    drain = config.drain_timeout.total_seconds() + OVERTIME_SECONDS
    assert pod(deployment)["terminationGracePeriodSeconds"] > drain
    assert "lifecycle" not in container


def test_an_argument_that_is_no_option_or_has_no_value_would_be_found(
    container: dict[str, Any],
) -> None:
    with pytest.raises(click.NoSuchOption):
        config_of([*container["args"], "--proceses=4"])
    with pytest.raises(InvalidOption):
        config_of([*container["args"], "--max-rss=plenty"])


def test_the_size_of_the_pool_is_said_and_not_taken_from_the_node(
    container: dict[str, Any],
) -> None:
    assert any(each.startswith("--processes=") for each in container["args"])


def test_the_probes_ask_what_is_answered_on_the_port_that_is_open(
    container: dict[str, Any], config: SupervisorConfig
) -> None:
    answered = handlers_of(Rig().pool_state).keys()
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert config.http == Address("0.0.0.0", ports["http"])
    asked = {
        kind: container[kind]["httpGet"]
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert {each["path"] for each in asked.values()} <= answered
    assert {each["port"] for each in asked.values()} == {"http"}
    assert asked["livenessProbe"]["path"] == "/livez"
    assert asked["readinessProbe"]["path"] == "/readyz"


def test_the_start_may_take_as_long_as_the_program_gives_itself(
    container: dict[str, Any], config: SupervisorConfig
) -> None:
    probe = container["startupProbe"]
    allowed = probe["periodSeconds"] * probe["failureThreshold"]
    assert allowed > 2 * config.boot_timeout.total_seconds()


def test_the_memory_is_enough_for_every_worker_at_its_most_and_a_successor(
    container: dict[str, Any], config: SupervisorConfig
) -> None:
    assert config.max_rss is not None
    most = config.max_rss * (config.bounds.most + 1)
    assert sizes.parse(container["resources"]["limits"]["memory"]) > most
    assert sizes.parse(container["resources"]["requests"]["memory"]) >= most
    assert "cpu" not in container["resources"]["limits"]


def test_the_container_may_write_to_tmp_and_nowhere_else(
    deployment: dict[str, Any], container: dict[str, Any]
) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(deployment)["securityContext"]["runAsNonRoot"] is True
    (mount,) = container["volumeMounts"]
    (volume,) = pod(deployment)["volumes"]
    assert (mount["mountPath"], mount["name"]) == ("/tmp", volume["name"])
    assert "emptyDir" in volume


@pytest.mark.parametrize("name", ["deployment.yaml", "poddisruptionbudget.yaml", "podmonitor.yaml"])
def test_every_manifest_selects_the_pods_of_the_deployment(
    name: str, deployment: dict[str, Any]
) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for manifest in manifests(name):
        selected = manifest["spec"]["selector"]["matchLabels"]
        assert selected
        assert selected.items() <= labels.items()


def test_the_monitor_scrapes_a_path_that_is_answered(container: dict[str, Any]) -> None:
    (monitor,) = manifests("podmonitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {each["name"] for each in container["ports"]}
    assert endpoint["path"] in handlers_of(Rig().pool_state)


def test_the_network_lets_only_the_monitoring_ask_and_the_pods_reach_the_server(
    deployment: dict[str, Any], container: dict[str, Any]
) -> None:
    (policy,) = manifests("networkpolicy.yaml")
    spec = policy["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= labels.items()
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (ingress,) = spec["ingress"]
    assert all("namespaceSelector" in each for each in ingress["from"])
    opened = {each["port"] for each in ingress["ports"]}
    assert opened == {each["name"] for each in container["ports"]}
    called = {each["port"] for rule in spec["egress"] for each in rule["ports"]}
    assert called == {53, 6379}
    assert all(rule["to"] for rule in spec["egress"])


# Scaling. The schemas of KEDA and of the adapter are not part of Kubernetes.


@pytest.fixture
def scaled_object() -> dict[str, Any]:
    (only,) = manifests("scaledobject.yaml")
    return only


@pytest.fixture
def autoscaler() -> dict[str, Any]:
    (only,) = manifests("horizontalpodautoscaler.yaml")
    return only


@pytest.fixture
def rules() -> dict[str, str]:
    """Name -> query of the metrics that the adapter serves."""
    (values,) = manifests("prometheus-adapter-values.yaml")
    external = values["rules"]["external"]
    for rule in external:
        assert rule["seriesQuery"] in rule["metricsQuery"]
    return {rule["name"]["as"]: rule["metricsQuery"] for rule in external}


@pytest.fixture
def scraped() -> dict[str, frozenset[str]]:
    rig = Rig(1).boot()
    rig.beat(rig.first)
    rig.say(rig.first, Backlog(queued=1, oldest_ready_seconds=1.0, lateness_seconds=1.0))
    return labels_by_name(render(registry_of(rig.pool_state, lambda: rig.now)).decode())


def queries(scaled_object: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["metadata"]["query"] for each in scaled_object["spec"]["triggers"]}


def test_a_scaled_object_has_the_fields_of_its_kind(scaled_object: dict[str, Any]) -> None:
    assert (scaled_object["apiVersion"], scaled_object["kind"]) == (
        "keda.sh/v1alpha1",
        "ScaledObject",
    )
    spec = scaled_object["spec"]
    assert spec.keys() == {
        "scaleTargetRef",
        "pollingInterval",
        "minReplicaCount",
        "maxReplicaCount",
        "advanced",
        "triggers",
    }
    assert spec["advanced"].keys() == {"horizontalPodAutoscalerConfig"}
    for trigger in spec["triggers"]:
        assert trigger.keys() == {"type", "name", "metricType", "metadata"}
        assert trigger["metadata"].keys() == {"serverAddress", "query", "threshold"}
        # KEDA takes text only.
        assert all(isinstance(each, str) for each in trigger["metadata"].values())
        assert float(trigger["metadata"]["threshold"]) > 0


def test_what_scales_the_pods_names_their_deployment_and_leaves_some(
    scaled_object: dict[str, Any], autoscaler: dict[str, Any], deployment: dict[str, Any]
) -> None:
    keda, hpa = scaled_object["spec"], autoscaler["spec"]
    named = {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        "name": deployment["metadata"]["name"],
    }
    assert keda["scaleTargetRef"] == hpa["scaleTargetRef"] == named
    # None would tell nobody that a task waits.
    assert keda["minReplicaCount"] == hpa["minReplicas"] == deployment["spec"]["replicas"] >= 1
    assert keda["maxReplicaCount"] == hpa["maxReplicas"]
    assert keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == hpa["behavior"]


def test_a_scaled_object_without_its_query_around_it_would_be_an_autoscaler_of_the_schema(
    scaled_object: dict[str, Any], autoscaler: dict[str, Any]
) -> None:
    autoscaler["spec"]["behavior"] = scaled_object["spec"]["advanced"][
        "horizontalPodAutoscalerConfig"
    ]["behavior"]
    for release in RELEASES:
        kubernetes_validate.validate(autoscaler, release, strict=True)
    autoscaler["spec"]["behavior"]["scaleDown"]["stabilisationWindowSeconds"] = 300
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(autoscaler, RELEASES[0], strict=True)


def test_what_scales_the_pods_asks_for_what_a_scrape_has(
    scaled_object: dict[str, Any], rules: dict[str, str], scraped: dict[str, frozenset[str]]
) -> None:
    asked = [*queries(scaled_object).values(), *rules.values()]
    assert len(asked) == 4
    for query in asked:
        assert faults(query, scraped) == []
    assert set(queries(scaled_object).values()) == set(rules.values())


def test_the_autoscaler_scales_by_the_metrics_of_the_adapter_as_keda_does(
    scaled_object: dict[str, Any], autoscaler: dict[str, Any], rules: dict[str, str]
) -> None:
    metrics = {
        rules[each["external"]["metric"]["name"]]: each["external"]["target"]
        for each in autoscaler["spec"]["metrics"]
    }
    for trigger in scaled_object["spec"]["triggers"]:
        target = metrics.pop(trigger["metadata"]["query"])
        assert target.pop("type") == trigger["metricType"]
        (value,) = target.values()
        threshold = float(trigger["metadata"]["threshold"])
        assert float(value.removesuffix("m")) == threshold * (1000 if "m" in value else 1)
    assert metrics == {}


# The Dockerfile. tests/slow/test_image.py builds it.


@pytest.fixture
def stages() -> list[list[Instruction]]:
    return dockerfile((FOLDER / "Dockerfile").read_text("utf-8"))


def test_the_image_starts_the_program_itself(stages: list[list[Instruction]]) -> None:
    final = stages[-1]
    assert the("ENTRYPOINT", final).words == ["docket-supervisor"]
    assert config_of(the("CMD", final).words).http is not None
    assert the("STOPSIGNAL", final).given == "SIGTERM"


def test_the_image_runs_as_the_user_of_the_pod_who_is_not_root(
    stages: list[list[Instruction]], deployment: dict[str, Any]
) -> None:
    user, _, group = the("USER", stages[-1]).given.partition(":")
    assert int(user) > 0
    security = pod(deployment)["securityContext"]
    assert (int(user), int(group)) == (security["runAsUser"], security["runAsGroup"])
    last_words = [each.name for each in stages[-1]]
    assert last_words.index("USER") > last_words.index("RUN"), "it could not make its user"


def test_the_image_has_what_a_stage_that_exists_built_and_nothing_of_the_build(
    stages: list[list[Instruction]],
) -> None:
    names = [stage[0].given.partition(" AS ")[2] for stage in stages[1:]]
    bases = {stage[0].given.partition(" AS ")[0] for stage in stages[1:]}
    copies = [each.given for each in stages[-1] if each.name == "COPY"]
    assert names == ["build", ""]
    assert len(bases) == 1, "a virtual environment works with the Python that made it"
    assert copies == ["--from=build /opt/venv /opt/venv"]
    assert not any("pip" in each.given for each in stages[-1])


def test_the_port_of_the_image_is_that_of_its_command(stages: list[list[Instruction]]) -> None:
    http = config_of(the("CMD", stages[-1]).words).http
    assert http == Address("0.0.0.0", int(the("EXPOSE", stages[-1]).given))


def test_a_shell_form_and_a_misspelt_instruction_would_be_found() -> None:
    (shell,) = dockerfile("ENTRYPOINT docket-supervisor")[0]
    with pytest.raises(ValueError, match="Expecting value"):
        _ = shell.words
    with pytest.raises(ValueError, match="'ENTRYPIONT' is no instruction"):
        dockerfile('ENTRYPIONT ["docket-supervisor"]')
