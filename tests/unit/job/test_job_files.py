"""Secrets that a job file takes from files: `${file:/run/secrets/x}`."""

from __future__ import annotations

import errno
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from metaferry import Job
from metaferry.errors import JobError
from metaferry.job.serialize import keep_job, restore_job
from metaferry.masking import mask, mask_foreign, showable
from metaferry.secret_files import FileText, has_changed, read_again

SECRET = "canary-secret-0815"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    return path


def job_with(text: str, **more: Any) -> Job:
    options = {"secret": text, "client_kwargs": {"region_name": "eu-west-1"}}
    return Job.from_mapping(
        {"input": "s3://b/x", "sources": [{"table": "/t.csv"}], "storage": {"s3": options}, **more}
    )


def secret_of(job: Job) -> str:
    text: str = job.storage["s3"]["secret"]
    return text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"canary-a", "canary-a"),
        (b"canary-a\n", "canary-a"),
        (b"canary-a\r\n", "canary-a"),
        (b"canary-a\n\n", "canary-a\n"),
        (b" canary-a ", " canary-a "),
        (b"${HOME} $${x}", "${HOME} $${x}"),
        ("canary-ü".encode(), "canary-ü"),
    ],
)
def test_one_line_break_at_the_end_is_cut_and_nothing_else(secret: Path, content: bytes, text: str) -> None:
    secret.write_bytes(content)
    assert secret_of(job_with(f"${{file:{secret}}}")) == text


def test_a_file_stands_beside_text_variables_and_other_files(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFERRY_PART", "part")
    (tmp_path / "other").write_text("other")
    text = f"a=${{METAFERRY_PART}};b=${{file:{secret}}};c=${{file:{tmp_path}/other}};d=$${{x}}"
    assert secret_of(job_with(text)) == f"a=part;b={SECRET};c=other;d=${{x}}"


def test_flags_name_files_too(secret: Path) -> None:
    job = Job.from_mapping(
        {"input": "s3://b/x", "sources": [{"table": "/t.csv"}]},
        overrides=[f"storage.s3.secret=${{file:{secret}}}"],
    )
    assert secret_of(job) == SECRET


def faults_of(text: str) -> str:
    with pytest.raises(JobError) as caught:
        job_with(text)
    return str(caught.value)


def test_a_file_that_gives_no_secret_is_one_fault_with_its_place(tmp_path: Path, secret: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * (1 << 20) + b"xx")
    os.mkfifo(tmp_path / "pipe")
    for name, reason in {
        "missing": "does not exist",
        "secret/below": "does not exist",
        "empty": "is empty",
        "binary": "is not UTF-8 text (byte 0)",
        "large": "has more than 1,048,576 bytes, which is no secret",
        "pipe": "is no regular file",
        "": "is a folder",
    }.items():
        fault = faults_of(f"${{file:{tmp_path}/{name}}}")
        assert fault == f"storage.s3.secret: the file {tmp_path}/{name} {reason}"
    assert faults_of("${file:key}") == (
        "storage.s3.secret: the file key should be an absolute path, such as /run/secrets/key"
    )
    assert "${file:} names no file" in faults_of("${file:}")
    assert "names no environment variable and no file" in faults_of("${file:/x")


def test_a_file_without_the_right_to_read_it_names_the_user(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:  # root may read every file
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("metaferry.secret_files.os.open", refuse)
    assert f"cannot be read: this process (user {os.geteuid()}) has no right to" in faults_of(
        f"${{file:{secret}}}"
    )


def test_the_fault_names_the_line_of_the_job_file(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text('input: data\nsources: [{table: t.csv}]\nstorage:\n  s3: {key: "${file:/not/there}"}\n')
    with pytest.raises(JobError) as caught:
        Job.load(job)
    assert str(caught.value) == f"{job}:4: storage.s3.key: the file /not/there does not exist"


def test_what_it_holds_is_masked_wherever_it_stands(secret: Path) -> None:
    secret.write_text("canary/from file+1")
    job = job_with(
        "x", lightly={"url": f"https://host/${{file:{secret}}}/y"}, metrics={"job": f"${{file:{secret}}}"}
    )
    for form in ("canary/from file+1", "canary%2Ffrom%20file%2B1"):
        assert "canary" not in mask(f"said {form}")
        assert "canary" not in mask_foreign(f"said {form}")
        assert "canary" not in showable(f"https://host/{form}/y")
    assert "canary" not in repr(job.storage_options(job.lightly_location)) + repr(job.lightly_location)


def test_a_fault_of_another_kind_shows_the_text_as_written(secret: Path) -> None:
    with pytest.raises(JobError) as caught:
        Job.from_mapping(
            {"input": "s3://b/x", "sources": [{"table": "/t.csv"}], "concurrency": f"${{file:{secret}}}"}
        )
    assert SECRET not in str(caught.value)
    assert f"is '${{file:{secret}}}"[:40] in str(caught.value)


def test_a_kept_job_has_the_name_of_the_file(secret: Path) -> None:
    job = job_with(f"${{file:{secret}}}")
    kept, left_out = keep_job(job)
    assert left_out == ""
    assert kept is not None
    assert kept["storage"]["s3"]["secret"] == f"${{file:{secret}}}"
    assert SECRET not in json.dumps(kept)
    assert restore_job(json.loads(json.dumps(kept))) == job
    secret.write_text("canary-of-tomorrow")
    assert secret_of(restore_job(kept)) == "canary-of-tomorrow"
    assert restore_job(kept).digest() == job.digest()
    # A file that was replaced since the job was read, or taken away, changes nothing in that.
    assert keep_job(job) == (kept, "")
    secret.unlink()
    changed, left_out = keep_job(job)
    assert changed is not None
    assert changed["storage"]["s3"]["secret"] == f"${{file:{secret}}}"
    with pytest.raises(JobError, match="does not exist"):
        restore_job(kept)


def test_a_job_that_a_program_changed_keeps_the_name_too(secret: Path) -> None:
    job = job_with(f"${{file:{secret}}}").model_copy(update={"concurrency": 3})
    kept, _ = keep_job(job)
    assert kept is not None
    assert (kept["storage"]["s3"]["secret"], kept["concurrency"]) == (f"${{file:{secret}}}", 3)


def test_options_are_read_again(secret: Path) -> None:
    options = {"token": job_with(f"a-${{file:{secret}}}").storage["s3"]["secret"], "anon": False}
    nested = {"client_kwargs": options, "list": [options["token"]]}
    assert not has_changed(nested)
    secret.write_text("canary-new\r\n")
    sent = pickle.loads(pickle.dumps(nested))  # as a worker of another process gets them
    assert isinstance(sent["list"][0], FileText)
    assert has_changed(sent)
    again = read_again(sent)
    assert again == {"client_kwargs": {"token": "a-canary-new", "anon": False}, "list": ["a-canary-new"]}
    assert not has_changed(again)
    secret.unlink()
    assert not has_changed(again)  # what is in use may still be good
