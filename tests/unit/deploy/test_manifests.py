"""The Kubernetes manifests: whole, valid, and as careful as they say.

What `kubectl kustomize` makes of each overlay is validated against the schemas of Kubernetes, and against
ours for kinds that are not its own. Where there is no kubectl the files themselves are, which leaves out
what the overlays change.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from metaferry.job.model import Job
from unit.deploy.schemas import validate_manifest

ROOT = Path(__file__).parents[3]
KUSTOMIZE = ROOT / "deploy/kustomize"
MONITORING = ROOT / "deploy/monitoring"
OVERLAYS = sorted(
    path.parent for path in KUSTOMIZE.glob("overlays/*/*/kustomization.yaml") if path.parent.name != "cloud"
)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def kustomizations() -> Iterator[Path]:
    yield from KUSTOMIZE.rglob("kustomization.yaml")
    yield MONITORING / "kustomization.yaml"


def named(kustomization: Path) -> set[Path]:
    """Files and folders that a kustomization names."""
    content = read(kustomization)
    names = [*content.get("resources", ()), *content.get("components", ())]
    for generator in content.get("configMapGenerator", ()):
        names += generator.get("files", ())
    return {(kustomization.parent / name).resolve() for name in names}


def built(overlay: Path) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not here to build the overlays")
    command = ["kubectl", "kustomize", str(overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def pods(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, spec of the Job or Deployment, and template of the pod, of every one that makes pods."""
    for document in documents:
        if document["kind"] in ("Job", "CronJob", "Deployment"):
            spec = document["spec"]
            job = spec["jobTemplate"]["spec"] if document["kind"] == "CronJob" else spec
            yield document["metadata"]["name"], job, job["template"]


def test_every_file_is_named_and_every_name_is_a_file() -> None:
    every = set().union(*map(named, kustomizations()))
    assert [path for path in every if not path.exists()] == []
    files = {path.resolve() for path in KUSTOMIZE.rglob("*.yaml") if path.name != "kustomization.yaml"}
    assert files - every == set()


def test_the_files_are_valid() -> None:
    files = [path for part in ("base", "backfill", "serve") for path in KUSTOMIZE.glob(f"{part}/*.yaml")]
    for path in (*files, MONITORING / "prometheus-rule.yaml", MONITORING / "pod-monitor.yaml"):
        if path.name not in ("kustomization.yaml", "job.yaml"):
            validate_manifest(read(path))


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.relative_to(KUSTOMIZE).as_posix())
def test_what_an_overlay_builds_is_valid_and_its_parts_fit(overlay: Path) -> None:
    documents = built(overlay)
    for document in documents:
        validate_manifest(document)
    there = {(document["kind"], document["metadata"]["name"]) for document in documents}
    assert len(there) == len(documents)
    for document in documents:
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "metaferry"
    (policy,) = [document["spec"] for document in documents if document["kind"] == "NetworkPolicy"]
    for _, _, template in pods(documents):
        assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        spec = template["spec"]
        assert ("ServiceAccount", spec["serviceAccountName"]) in there
        for volume in spec["volumes"]:
            assert "configMap" not in volume or ("ConfigMap", volume["configMap"]["name"]) in there
        (container,) = spec["containers"]
        *others, secret = container["envFrom"]
        assert secret == {"secretRef": {"name": "metaferry", "optional": True}}
        for source in others:
            assert ("ConfigMap", source["configMapRef"]["name"]) in there
        assert re.fullmatch(r"[a-z0-9.-]+/[a-z0-9/-]*metaferry:0\.1\.0", container["image"])


def test_the_monitoring_component_fits_an_overlay(tmp_path: Path) -> None:
    copy = tmp_path / "deploy"
    shutil.copytree(ROOT / "deploy", copy)
    overlay = copy / "kustomize/overlays/aws/schedule"
    content = read(overlay / "kustomization.yaml")
    content["components"].append("../../../../monitoring")
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(content))
    documents = built(overlay)
    for document in documents:
        validate_manifest(document)
    assert ("ConfigMap", "metaferry-dashboard") in {
        (document["kind"], document["metadata"]["name"]) for document in documents
    }
    labels = {document["kind"]: document["metadata"]["labels"] for document in documents}
    # By these the Prometheus of kube-prometheus-stack and that of kube-prometheus pick what is theirs.
    assert labels["PodMonitor"]["release"] == labels["PrometheusRule"]["release"] == "kube-prometheus-stack"
    assert labels["PrometheusRule"].items() >= {"prometheus": "k8s", "role": "alert-rules"}.items()


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.relative_to(KUSTOMIZE).as_posix())
def test_the_component_of_databases_opens_the_way_to_one(overlay: Path, tmp_path: Path) -> None:
    copy = tmp_path / "deploy"
    shutil.copytree(ROOT / "deploy", copy)
    mine = copy / "kustomize" / overlay.relative_to(KUSTOMIZE)
    content = read(mine / "kustomization.yaml")
    content["components"].append("../../../components/database")
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(content))
    documents = built(mine)
    (policy,) = [document["spec"] for document in documents if document["kind"] == "NetworkPolicy"]
    assert {"protocol": "TCP", "port": 5432} in [port for rule in policy["egress"] for port in rule["ports"]]


def raw_pods() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Of the jobs, and of `serve`."""
    return [*raw_jobs(), *pods([read(KUSTOMIZE / "serve/deployment.yaml")])]


def raw_jobs() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    return list(pods([read(KUSTOMIZE / "base/cronjob.yaml"), *map(read, backfill_files())]))


def backfill_files() -> list[Path]:
    return [KUSTOMIZE / f"backfill/{name}.yaml" for name in ("plan", "shards", "finish")]


@pytest.mark.parametrize(("name", "job", "template"), raw_pods(), ids=lambda value: str(value)[:20])
def test_a_pod_may_do_nothing_it_does_not_need(
    name: str, job: dict[str, Any], template: dict[str, Any]
) -> None:
    spec = template["spec"]
    assert spec["automountServiceAccountToken"] is False
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    resources = container["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    writable = [mount for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert [mount["mountPath"] for mount in writable] == ["/tmp"]
    (scratch,) = [volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume]
    limit = resources["limits"]["ephemeral-storage"]
    assert int(scratch["sizeLimit"].removesuffix("Gi")) < int(limit.removesuffix("Gi"))
    (spread,) = spec["topologySpreadConstraints"]
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway", "a cluster of one node runs them too"


@pytest.mark.parametrize(("name", "job", "template"), raw_jobs(), ids=lambda value: str(value)[:20])
def test_a_job_ends_and_nodes_wait_for_it(name: str, job: dict[str, Any], template: dict[str, Any]) -> None:
    assert job["activeDeadlineSeconds"]
    assert job["ttlSecondsAfterFinished"]
    assert template["spec"]["restartPolicy"] == "Never"
    annotations = template["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert annotations["karpenter.sh/do-not-disrupt"] == "true"


def test_serve_is_one_pod_that_is_asked_for_its_health() -> None:
    deployment = read(KUSTOMIZE / "serve/deployment.yaml")
    spec = deployment["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    labels = spec["template"]["metadata"]["labels"] | {"app.kubernetes.io/name": "metaferry"}
    assert spec["selector"]["matchLabels"] == labels
    assert "annotations" not in spec["template"]["metadata"], (
        "a pod that never ends would keep its node for ever"
    )
    (container,) = spec["template"]["spec"]["containers"]
    (port,) = container["ports"]
    asked = {
        probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert {get["path"] for get in asked.values()} == {"/healthz/live", "/healthz/ready"}
    assert asked["livenessProbe"]["path"] == "/healthz/live", "a restart mends no job that fails"
    monitor = read(MONITORING / "pod-monitor.yaml")["spec"]
    assert monitor["selector"]["matchLabels"] == labels
    assert {get["port"] for get in asked.values()} == {
        port["name"],
        *(endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]),
    }
    documents = built(KUSTOMIZE / "overlays/aws/serve")
    (policy,) = [document["spec"] for document in documents if document["kind"] == "NetworkPolicy"]
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port["containerPort"]}]
    (schedule,) = [document["spec"] for document in documents if document["kind"] == "CronJob"]
    assert schedule["suspend"] is True


def test_what_gives_tokens_can_be_reached_and_nothing_else_of_a_node() -> None:
    """Each cloud's own addresses, and those of no other."""
    wanted = {
        "aws": {("169.254.170.23/32", 80), ("fd00:ec2::23/128", 80)},
        "gcp": {(f"169.254.169.{last}/32", port) for last in (252, 254) for port in (80, 988)},
        "azure": set(),
    }
    for cloud, addresses in wanted.items():
        documents = built(KUSTOMIZE / f"overlays/{cloud}/schedule")
        (policy,) = [document["spec"] for document in documents if document["kind"] == "NetworkPolicy"]
        opened = {
            (peer["ipBlock"]["cidr"], port["port"])
            for rule in policy["egress"]
            for peer in rule["to"]
            for port in rule["ports"]
            if "ipBlock" in peer and port["port"] not in (443, 53)
        }
        assert opened == addresses, cloud


@pytest.mark.parametrize(("name", "job", "template"), raw_jobs(), ids=lambda value: str(value)[:20])
def test_what_a_pod_ends_with_decides_what_happens_next(
    name: str, job: dict[str, Any], template: dict[str, Any]
) -> None:
    """What cannot get better is not tried again; an eviction and a held lease are no failures."""
    first, *others = job["podFailurePolicy"]["rules"]
    assert first["action"] == "Ignore"
    assert first["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    actions = {}
    for rule in others:
        assert rule["onExitCodes"]["containerName"] == "metaferry"
        actions |= dict.fromkeys(rule["onExitCodes"]["values"], rule["action"])
    assert {actions[code] for code in (2, 5)} == {"FailJob"}
    assert actions.get(3) == (None if "shards" in name else "FailJob"), (
        "failed documents are worth another try"
    )
    assert actions.get(11) == (None if "plan" in name else "Ignore"), "a plan takes no lease"
    assert {1, 130, 137, 143} & set(actions) == set(), "these are tried again, so many times"
    assert template["spec"]["terminationGracePeriodSeconds"] >= 60


def test_the_schedule_never_runs_twice_at_once() -> None:
    spec = read(KUSTOMIZE / "base/cronjob.yaml")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["timeZone"]
    assert spec["startingDeadlineSeconds"] >= 100, "below 100 s a late controller skips runs for ever"


def test_the_backfill_waits_and_counts_alike() -> None:
    plan, shards, finish = map(read, backfill_files())
    assert "suspend" not in plan["spec"]
    assert shards["spec"]["suspend"] is finish["spec"]["suspend"] is True
    assert shards["spec"]["completionMode"] == "Indexed"
    (container,) = shards["spec"]["template"]["spec"]["containers"]
    words = container["args"]
    assert words[words.index("--num-shards") + 1] == str(shards["spec"]["completions"])
    assert shards["spec"]["backoffLimitPerIndex"] >= 1
    assert shards["spec"]["maxFailedIndexes"] == shards["spec"]["completions"]


@pytest.mark.parametrize(
    "path", sorted(KUSTOMIZE.rglob("job.yaml")), ids=lambda path: path.parent.parent.name
)
def test_a_job_file_is_one_and_drains_in_time(path: Path) -> None:
    job = Job.load(path)
    for _, _, template in raw_pods():
        assert job.grace + 15 <= template["spec"]["terminationGracePeriodSeconds"]
    scheme = {"base": "s3", "aws": "s3", "gcp": "gs", "azure": "az"}[
        "base" if path.parent.name == "base" else path.parent.parent.name
    ]
    assert job.input.scheme == job.lightly_location.scheme == scheme


def test_every_command_of_a_pod_is_one() -> None:
    """Each argument is an option that the command has, so far as its help tells."""
    for name, _, template in raw_pods():
        (container,) = template["spec"]["containers"]
        command, *words = container["args"]
        told = help_of(command)
        for word in words:
            assert not word.startswith("--") or word in told, f"{name}: {command} knows no {word}"


def help_of(command: str) -> str:
    import contextlib
    import io

    from metaferry.cli.main import app

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        app([command, "--help"], prog_name="metaferry", standalone_mode=True)
    return out.getvalue()


def test_the_namespace_and_the_identity_of_each_cloud() -> None:
    annotations = {}
    for cloud in ("aws", "gcp", "azure"):
        for document in built(KUSTOMIZE / f"overlays/{cloud}/schedule"):
            if document["kind"] == "ServiceAccount":
                annotations[cloud] = set(document["metadata"]["annotations"])
            if document["kind"] == "CronJob":
                labels = document["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
                assert ("azure.workload.identity/use" in labels) == (cloud == "azure")
    assert annotations == {
        "aws": {"eks.amazonaws.com/role-arn"},
        "gcp": {"iam.gke.io/gcp-service-account"},
        "azure": {"azure.workload.identity/client-id"},
    }
    trust = json.loads((ROOT / "deploy/policies/aws/trust.json").read_text())
    (statement,) = trust["Statement"]
    accounts = [
        value for value in statement["Condition"]["StringEquals"].values() if value.startswith("system:")
    ]
    assert accounts == ["system:serviceaccount:metaferry:metaferry"]
    agent = json.loads((ROOT / "deploy/policies/aws/trust-pod-identity.json").read_text())
    (statement,) = agent["Statement"]
    assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert set(statement["Action"]) == {"sts:AssumeRole", "sts:TagSession"}
    assert set(statement["Condition"]["StringEquals"].values()) == {"metaferry"}
