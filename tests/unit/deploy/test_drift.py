"""Chart and kustomize overlays say the same: what both make is compared, object by object."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from unit.deploy import helm

ROOT = Path(__file__).parents[3]
OVERLAYS = ROOT / "deploy/kustomize/overlays"
#: Identity and image as the overlays name them.
CLOUDS = {
    "aws": (
        "arn:aws:iam::123456789012:role/metaferry",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/metaferry",
    ),
    "gcp": (
        "metaferry@fleet-project.iam.gserviceaccount.com",
        "europe-west3-docker.pkg.dev/fleet-project/tools/metaferry",
    ),
    "azure": ("00000000-0000-0000-0000-000000000000", "fleet.azurecr.io/metaferry"),
}
SCHEMES = {"aws": "s3", "gcp": "gs", "azure": "az"}
#: Labels by which Helm knows what is a release's.
OF_HELM = {
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
}


def by_kustomize(cloud: str, what: str, folder: Path) -> list[dict[str, Any]]:
    """What an overlay makes with the monitoring component in it, from a copy of deploy/."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not here to build the overlays")
    copy = folder / "deploy"
    shutil.copytree(ROOT / "deploy", copy)
    overlay = copy / f"kustomize/overlays/{cloud}/{what}"
    content = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    content["components"].append("../../../../monitoring")
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(content))
    done = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def by_helm(cloud: str, what: str) -> list[dict[str, Any]]:
    identity, repository = CLOUDS[cloud]
    values: dict[str, Any] = {
        "job": (OVERLAYS / cloud / "cloud/job.yaml").read_text(encoding="utf-8"),
        "cloud": cloud,
        "identity": identity,
        "image": {"repository": repository},
        "mode": "serve" if what == "serve" else "schedule",
        "monitoring": {
            "podMonitor": {"enabled": what == "serve"},
            "rules": {"enabled": True},
            "dashboard": {"enabled": True},
        },
    }
    if what == "backfill":
        plan = f"{SCHEMES[cloud]}://fleet-lightly/2026/.metaferry/plans/backfill"
        values["backfill"] = {"enabled": True, "planUrl": plan}
    return helm.render(values)


def plain(value: Any) -> Any:
    """Without what one of the two adds of itself: hashes in names, labels of Helm, a default."""
    if isinstance(value, dict):
        return {
            key: plain(inner)
            for key, inner in value.items()
            if key not in OF_HELM and not (key == "imagePullPolicy" and inner == "IfNotPresent")
        }
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, str):
        return re.sub(r"^(metaferry-(?:job|backfill))-[a-z0-9]{10}$", r"\1", value)
    return value


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("what", ["schedule", "serve", "backfill"])
def test_both_make_the_same(cloud: str, what: str, tmp_path: Path) -> None:
    kustomize, chart = (
        {(each["kind"], plain(each["metadata"]["name"])): plain(each) for each in documents}
        for documents in (by_kustomize(cloud, what, tmp_path), by_helm(cloud, what))
    )
    # The namespace is Helm's own affair; the monitor of pods that are not there does no harm in a component.
    alone = {("Namespace", "metaferry")} | (set() if what == "serve" else {("PodMonitor", "metaferry")})
    assert set(kustomize) - set(chart) == alone
    assert set(chart) <= set(kustomize)
    for key, document in chart.items():
        # Kustomize gives a label to everything, and only pods need this one.
        for labels in (each["labels"] for each in metadata_of(kustomize[key]) if "labels" in each):
            labels.pop("azure.workload.identity/use", None)
        assert document == kustomize[key], key
        if cloud == "azure" and (template := helm.template_of(document)):
            assert template["metadata"]["labels"]["azure.workload.identity/use"] == "true"


def metadata_of(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Of the object and of the job that a CronJob makes; not of pods."""
    yield document["metadata"]
    yield document.get("spec", {}).get("jobTemplate", {}).get("metadata", {})


def test_what_is_compared_has_pods_with_probes_and_limits() -> None:
    """That the comparison above compares something."""
    documents = by_helm("aws", "serve")
    kinds = {document["kind"] for document in documents}
    assert {"CronJob", "Deployment", "NetworkPolicy", "PodMonitor", "PrometheusRule"} <= kinds
    (serve,) = [document for document in documents if document["kind"] == "Deployment"]
    (container,) = serve["spec"]["template"]["spec"]["containers"]
    assert {"livenessProbe", "readinessProbe", "startupProbe", "resources", "securityContext"} <= set(
        container
    )
