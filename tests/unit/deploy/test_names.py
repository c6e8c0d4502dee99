"""Whatever deploy/, the compose file and the example DAGs name, the program has.

Metrics, their labels and the values of labels, finding codes, exit codes, commands, flags and the
parameters of operators. `test_monitoring.py` holds each expression of rules and dashboard in more detail.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from metaferry import errors
from metaferry.cli.main import app
from metaferry.findings import Code
from metaferry.planning.formats import Action
from unit.deploy.test_monitoring import labels, values

ROOT = Path(__file__).parents[3]
DAGS = ROOT / "service/metaferry/airflow/example_dags"
OPERATORS = ROOT / "service/metaferry/airflow/operators"
FILES = sorted(
    path
    for path in (*(ROOT / "deploy").rglob("*"), ROOT / "docker-compose.yml", *DAGS.glob("*.py"))
    if path.is_file() and path.suffix in (".yaml", ".yml", ".json", ".py", ".sh", ".md", ".tpl", ".txt", "")
)
#: Names of ours that look like metrics: the label of the job, and the ids of the DAGs.
NO_METRICS = {"metaferry_job", *(path.stem for path in DAGS.glob("*.py"))}
#: What Airflow's own operators take.
OF_AIRFLOW = {"task_id", "retries", "retry_delay", "outlets", "trigger_rule"}
#: Of the system, as Kubernetes and shells show them: killed, and the exit codes of signals.
OF_THE_SYSTEM = {0, 3, 4, 130, 137, 143}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands() -> dict[str, set[str]]:
    """The flags of each command."""
    group: Any = typer.main.get_command(app)
    return {
        name: {flag for option in command.params for flag in option.opts} | {"--help"}
        for name, command in group.commands.items()
    }


def exit_codes() -> set[int]:
    kinds = (each for each in vars(errors).values() if isinstance(each, type))
    return {each.exit_code for each in kinds if issubclass(each, errors.MetaferryError)} | OF_THE_SYSTEM


def check(words: list[str]) -> None:
    """That a call is one: its command, and the flags of it."""
    flags = commands()
    command, *rest = words
    assert command in flags
    unknown = {word.partition("=")[0] for word in rest if word.startswith("--")} - flags[command]
    assert not unknown, f"{command} has no {unknown}"


def pieces(value: Any, key: str) -> Iterator[Any]:
    """The values of a key, wherever it stands."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from pieces(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from pieces(inner, key)


def manifests() -> Iterator[tuple[Path, Any]]:
    """What is YAML as it stands; `test_helm.py` looks at what the chart's templates make."""
    for path in FILES:
        if path.suffix in (".yaml", ".yml") and path.parent.name != "templates":
            for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
                yield path, document


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_metric_is_one(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"\bmetaferry_[a-z_]+", text)) - NO_METRICS <= set(labels())


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_label_and_its_values_are_the_metrics_own(path: Path) -> None:
    metrics, possible = labels(), values()
    text = path.read_text(encoding="utf-8").replace('\\"', '"')
    for metric, matchers in re.findall(r"\b(metaferry_(?!job)[a-z_]+)\{([^{}]*)\}", text):
        for label, value in re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"', matchers):
            if label in ("metaferry_job", "version", "instance", "job"):  # of any value; of the scrape
                continue
            assert label in metrics[metric], f"{metric} has no label {label}"
            assert set(value.split("|")) <= possible.get(label, {value}), f"{label} of {metric}"
    # Legends and texts take a label by name; of other targets Prometheus knows job and instance.
    named = set(re.findall(r"\$labels\.(\w+)", text))
    assert named <= {label for had in metrics.values() for label in had} | {"metaferry_job"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_finding_and_action_is_one(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r'code[:=]~?\s*\\*"?([a-z]+\.[a-z_]+)', text)) <= set(Code)
    gone = {"leave", "postponed", "document.foreign"} - set(Action)
    assert not gone & set(re.findall(r'"([a-z.]+)"', text))
    assert "document.foreign" not in text


def test_every_exit_code_is_one() -> None:
    found = {
        code
        for _, document in manifests()
        for rule in pieces(document, "onExitCodes")
        for code in rule["values"]
    }
    assert found
    for path in FILES:
        found |= {int(code) for code in re.findall(r"exit code (\d+)", path.read_text(encoding="utf-8"))}
    assert found <= exit_codes()


def test_every_command_of_a_container_is_one() -> None:
    found = 0
    for path, document in manifests():
        for key in ("args", "command"):
            for words in pieces(document, key):
                ours = path.parts[-2:] != ("deploy", "monitoring") and isinstance(words, list)
                if ours and words[0] in ("finish", "frames", "init", "plan", "serve", "sync", "unlock"):
                    check([str(word) for word in words])
                    found += 1
    assert found >= 5


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_command_in_a_text_is_one(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    calls = re.findall(r"`metaferry ([a-z][^`]*)`|\(metaferry ([a-z][^)]*)\)", text)
    for call in ("".join(call) for call in calls):
        check(call.split())
    for call in re.findall(rf"`((?:{'|'.join(commands())}) --[^`]*)`", text):
        check(call.split())


def operator_arguments() -> dict[str, set[str]]:
    """What each operator takes, with what those take that it is derived from."""
    kinds = {
        kind.name: kind
        for module in OPERATORS.glob("*.py")
        for kind in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(kind, ast.ClassDef)
    }

    def takes(name: str) -> set[str]:
        if name not in kinds:
            return set()
        body, bases = kinds[name].body, kinds[name].bases
        own = [each for each in body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
        inherited = (takes(each.id) for each in bases if isinstance(each, ast.Name))
        return {given.arg for each in own for given in each.args.kwonlyargs}.union(*inherited)

    return {name: takes(name) for name in kinds}


@pytest.mark.parametrize("path", sorted(DAGS.glob("metaferry_*.py")), ids=name_of)
def test_an_example_gives_operators_what_they_take(path: Path) -> None:
    takes = operator_arguments()
    calls = 0
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            named = node.func.value if isinstance(node.func, ast.Attribute) else node.func
            if isinstance(named, ast.Name) and named.id.startswith("Metaferry"):
                given = {each.arg for each in node.keywords}
                assert given <= takes[named.id] | OF_AIRFLOW
                calls += 1
            if isinstance(node.func, ast.Name) and node.func.id == "DAG":
                for each in node.keywords:
                    if each.arg == "default_args" and isinstance(each.value, ast.Dict):
                        names = {ast.literal_eval(key) for key in each.value.keys if key is not None}
                        assert names <= takes["JobOperator"] | OF_AIRFLOW
    assert calls
