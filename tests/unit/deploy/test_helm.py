"""The chart of deploy/helm: valid, explained, and careful about the values that it is given."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from unit.deploy import helm
from unit.deploy.schemas import VERSIONS, validate_manifest
from unit.deploy.test_names import check

ROOT = Path(__file__).parents[3]
VALUES: dict[str, Any] = yaml.safe_load((helm.CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA: dict[str, Any] = json.loads((helm.CHART / "values.schema.json").read_text(encoding="utf-8"))
PLAN_URL = "s3://fleet-lightly/2026/.metaferry/plans/backfill"
SERVE = {
    "mode": "serve",
    "monitoring": {
        "podMonitor": {"enabled": True},
        "rules": {"enabled": True},
        "dashboard": {"enabled": True},
    },
}
EVERYTHING = {
    **SERVE,
    "cloud": "azure",
    "identity": "00000000-0000-0000-0000-000000000000",
    "image": {"repository": "registry.example.com/metaferry", "digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "serviceAccount": {"annotations": {"example.com/owner": "data"}},
    "env": [{"name": "AWS_REGION", "value": "eu-central-1"}],
    "envFrom": [{"configMapRef": {"name": "proxies"}}],
    "serve": {"cron": "30 2 * * *", "timeZone": "Europe/Berlin", "report": True},
    "backfill": {"enabled": True, "planUrl": PLAN_URL, "pods": 16, "shards": 128},
    "podAnnotations": {"example.com/team": "data"},
    "podLabels": {"team": "data"},
    "nodeSelector": {"kubernetes.io/arch": "arm64"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "batch",
    "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "volumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
    "networkPolicy": {"egress": [{"ports": [{"protocol": "TCP", "port": 9000}]}]},
}
RELEASES: dict[str, dict[str, Any]] = {
    "schedule": {},
    "serve": SERVE,
    "backfill": {"backfill": {"enabled": True, "planUrl": PLAN_URL}},
    "aws": {"cloud": "aws", "identity": "arn:aws:iam::123456789012:role/metaferry"},
    "gcp": {"cloud": "gcp", "identity": "metaferry@fleet-project.iam.gserviceaccount.com"},
    "everything": EVERYTHING,
}


def leaves(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys of the chart's values, down to what a user gives: a map without known keys is one."""
    for key, value in values.items():
        place = (*above, key)
        if isinstance(value, dict) and key != "resources" and schema_of(place).get("properties"):
            yield from leaves(value, place)
        else:
            yield place


def schema_of(place: tuple[str, ...]) -> dict[str, Any]:
    found = SCHEMA
    for key in place:
        found = found["properties"][key]
    return found


def of(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


@pytest.mark.parametrize("release", RELEASES)
def test_what_it_makes_is_valid_and_its_parts_fit(release: str) -> None:
    documents = helm.render(RELEASES[release])
    for document in documents:
        validate_manifest(document)
        assert document["metadata"]["namespace"] == "metaferry"
        assert document["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    there = {(document["kind"], document["metadata"]["name"]) for document in documents}
    assert len(there) == len(documents)
    policy = of(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    pods = [template for document in documents if (template := helm.template_of(document))]
    assert pods
    for template in pods:
        assert policy.items() <= template["metadata"]["labels"].items()
        spec = template["spec"]
        assert ("ServiceAccount", spec["serviceAccountName"]) in there
        (container,) = spec["containers"]
        check([str(word) for word in container["args"]])
        for volume in spec["volumes"]:
            assert (
                volume["name"] == "ca"
                or "emptyDir" in volume
                or volume["configMap"]["name"] in {name for kind, name in there if kind == "ConfigMap"}
            )


@pytest.mark.parametrize("release", RELEASES)
def test_helm_finds_nothing_to_complain_about(release: str) -> None:
    # Of information there is one: a chart may have an icon.
    assert [message for message in helm.lint(RELEASES[release]) if message["severity"] > 1] == []


def test_every_value_is_explained_and_checked() -> None:
    places = list(leaves(VALUES))
    assert len(places) > 50
    text = (helm.CHART / "values.yaml").read_text(encoding="utf-8")
    page = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([A-Za-z.]+)` \| `?([^|`]*)`? \|", page, re.MULTILINE))
    for place in places:
        assert schema_of(place)["description"], place
        name = ".".join(place)
        assert name in listed, f"docs/kubernetes.md does not list {name}"
        value = VALUES
        for key in place:
            value = value[key]
        assert yaml.safe_load(listed[name]) == value, name
        assert re.search(rf"^ *{place[-1]}:", text, re.MULTILINE)
    assert set(listed) <= {".".join(place) for place in places}
    known = {
        ".".join((*above, key)) for above, schema in schemas(SCHEMA) for key in schema.get("properties", {})
    }
    given = {".".join(place[:depth]) for place in places for depth in range(1, len(place) + 1)}
    # Helm's own, and what resources hold is that of Kubernetes.
    assert {name for name in known - given if ".resources." not in f".{name}"} == {"global"}


def schemas(
    schema: dict[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    yield above, schema
    for key, inner in schema.get("properties", {}).items():
        yield from schemas(inner, (*above, key))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mdoe": "serve"}, "mdoe"),
        ({"mode": "cron"}, "mode"),
        ({"job": {"input": "s3://fleet/"}}, "job"),
        ({"image": {"digest": "latest"}}, "image/digest"),
        ({"schedule": {"corn": "* * * * *"}}, "corn"),
        ({"schedule": {"startingDeadlineSeconds": 10}}, "startingDeadlineSeconds"),
        ({"backfill": {"enabled": True, "planUrl": "fleet/plans"}}, "planUrl"),
        ({"scratch": "20 GB"}, "scratch"),
        ({"job": ""}, "there is no job file: --set-file job=job.yaml, or jobConfigMap"),
        ({"jobConfigMap": "other"}, "job and jobConfigMap are both set"),
        ({"identity": "metaferry@example.com"}, "identity is set and cloud is not"),
        ({"backfill": {"enabled": True}}, "backfill.planUrl says where the plan of a backfill is kept"),
        ({"monitoring": {"podMonitor": {"enabled": True}}}, "set mode to serve"),
        ({"fullnameOverride": "a" * 44}, "longer than 43 characters"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.Refused, match=re.escape(said)):
        helm.render(values)


def test_the_job_file_gets_there_as_it_was_written() -> None:
    text = 'input: "s3://fleet/"  # {{ not a template }} ${PASSWORD}\nmax: 100000000\n# ä \\n "quoted"\n'
    document = of(helm.render({"job": text}), "ConfigMap")
    assert document["data"] == {"job.yaml": text}
    documents = helm.render({"job": "", "jobConfigMap": "kept-by-others"})
    assert [document["kind"] for document in documents if document["kind"] == "ConfigMap"] == []
    template = helm.template_of(of(documents, "CronJob"))
    assert template
    assert {"name": "job", "configMap": {"name": "kept-by-others"}} in template["spec"]["volumes"]


def test_releases_of_one_namespace_share_nothing() -> None:
    releases = [
        helm.render({**SERVE, "backfill": {"enabled": True, "planUrl": PLAN_URL}}, name=name)
        for name in ("fleet", "lab")
    ]
    first, second = (
        {(document["kind"], document["metadata"]["name"]) for document in documents} for documents in releases
    )
    assert len(first) == len(second) > 8
    assert not first & second
    fleet, lab = (of(documents, "Deployment") for documents in releases)
    selector = fleet["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= lab["spec"]["template"]["metadata"]["labels"].items()
    assert selector.items() <= fleet["spec"]["template"]["metadata"]["labels"].items()
    # Pods of jobs are not the Deployment's.
    for document in releases[0]:
        if document["kind"] in ("Job", "CronJob"):
            template = helm.template_of(document)
            assert template
            assert not selector.items() <= template["metadata"]["labels"].items()
    monitor = of(releases[0], "PodMonitor")["spec"]["selector"]["matchLabels"]
    assert monitor.items() <= fleet["spec"]["template"]["metadata"]["labels"].items()


def test_how_late_alerts_are_is_a_value_and_the_rest_is_not() -> None:
    given = {"monitoring": {"rules": {"enabled": True, "late": 2_000_000}}}
    (group,) = of(helm.render(given), "PrometheusRule")["spec"]["groups"]
    rules = yaml.safe_load((ROOT / "deploy/monitoring/rules.yaml").read_text(encoding="utf-8"))
    (before,) = rules["groups"]
    changed = [
        (rule["alert"], rule["expr"])
        for rule, old in zip(group["rules"], before["rules"], strict=True)
        if rule != old
    ]
    assert [alert for alert, _ in changed] == [
        "MetaferryNotSucceeding",
        "MetaferrySilent",
        "MetaferryRunHangs",
    ]
    assert all(expression.endswith(" > 2000000") for _, expression in changed)


def test_it_is_of_the_version_that_the_program_is() -> None:
    chart = yaml.safe_load((helm.CHART / "Chart.yaml").read_text(encoding="utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert chart["appVersion"] == chart["version"] == version
    assert chart["kubeVersion"] == f">={VERSIONS[0]}.0-0"


def test_serve_is_given_its_times_and_a_large_number_stays_one() -> None:
    documents = helm.render({**EVERYTHING, "schedule": {"activeDeadlineSeconds": 3_000_000}})
    template = helm.template_of(of(documents, "Deployment"))
    assert template
    (container,) = template["spec"]["containers"]
    assert container["args"][:7] == [
        *("serve", "/etc/metaferry/job.yaml", "--cron", "30 2 * * *"),
        *("--timezone", "Europe/Berlin", "--report"),
    ]
    assert container["image"] == f"registry.example.com/metaferry@sha256:{'0' * 64}"
    schedule = of(documents, "CronJob")["spec"]
    assert schedule["suspend"] is True, "one-off jobs are made from it, and it starts none itself"
    assert schedule["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 3_000_000
    shards = [document for document in documents if document["metadata"]["name"].endswith("-shards")]
    assert shards[0]["spec"]["completions"] == shards[0]["spec"]["maxFailedIndexes"] == 16
    notes = helm.manifests(EVERYTHING)["metaferry/templates/NOTES.txt"]
    assert "logs -f deployment/metaferry" in notes
