"""The docs say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import metaferry
from metaferry.findings import Code
from metaferry.job.yaml_text import read_yaml

ROOT = Path(__file__).parents[2]


def test_the_job_files_page_is_what_the_model_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(metaferry.__file__).parent.parent)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_finding_is_documented_and_no_other() -> None:
    text = (ROOT / "docs/findings.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE)
    assert sorted(documented) == sorted(set(documented)) == sorted(Code)


def test_the_complete_job_of_the_page_is_one() -> None:
    text = (ROOT / "docs/job-file.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    tree = read_yaml(example.replace("${S3_ENDPOINT}", "http://127.0.0.1"))
    assert tree.faults == []
    job = metaferry.Job.from_mapping(tree.value)
    assert len(job.sources) == 1


def test_links_between_the_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []
