"""`airflow standalone`: scheduler, triggerer, web server and, in Airflow 3, the DAG processor as processes.

It has a home folder and a SQLite database of its own. What it did is read from that database through
Airflow's models, since each call of its command line takes seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import airflow

from servers.process import free_port, server, wait_until

IN_2 = airflow.__version__.startswith("2.")
COMMAND = Path(sys.executable).parent / "airflow"
#: Seconds for a step that waits for Airflow: a busy machine takes a minute to start a task.
PATIENCE = 420.0


@dataclass
class Standalone:
    """One that is up."""

    home: Path
    env: dict[str, str]
    process: subprocess.Popen[bytes]

    def cli(self, *words: str) -> str:
        """What `airflow …` prints; it must end with 0."""
        done = subprocess.run(
            [str(COMMAND), *words],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, (words[:2], (done.stdout + done.stderr)[-3000:])
        return done.stdout

    def add_dag(self, dag_id: str, text: str) -> None:
        """Puts the file into the folder of DAGs; returns when the DAG is known, and switched on."""
        from airflow.models.dag import DagModel

        (self.home / "dags" / f"{dag_id}.py").write_text(text)
        self.until(lambda: self.rows(DagModel, dag_id=dag_id))
        self.cli("dags", "unpause", dag_id)

    def until(self, condition: Callable[[], Any]) -> None:
        wait_until(lambda: bool(condition()), self.process, seconds=PATIENCE, pause=0.25)

    def rows(self, model: Any, **named: Any) -> list[Any]:
        """The rows of the database with those values, detached."""
        from sqlalchemy import create_engine, select
        from sqlalchemy.orm import Session

        engine = create_engine(f"sqlite:///{self.home / 'airflow.db'}")
        try:
            with Session(engine, expire_on_commit=False) as session:
                found = list(session.scalars(select(model).filter_by(**named)))
                session.expunge_all()
                return found
        finally:
            engine.dispose()

    def heartbeat(self) -> datetime:
        """When the scheduler last came to the end of a round."""
        from airflow.jobs.job import Job

        beats: list[datetime] = [row.latest_heartbeat for row in self.rows(Job, job_type="SchedulerJob")]
        return max(beats)

    def tasks(self, dag_id: str) -> list[tuple[str, str]]:
        """The tasks of all runs of the DAG, each with its state."""
        from airflow.models.taskinstance import TaskInstance

        rows = self.rows(TaskInstance, dag_id=dag_id)
        return sorted((row.task_id, str(getattr(row.state, "value", row.state))) for row in rows)

    def ended(self, dag_id: str) -> str:
        """The state in which the newest run of the DAG ended; waits for it."""
        from airflow.models.dagrun import DagRun

        def state() -> str:
            runs = sorted(self.rows(DagRun, dag_id=dag_id), key=lambda run: run.id)
            return str(getattr(runs[-1].state, "value", runs[-1].state)) if runs else ""

        self.until(lambda: state() in ("success", "failed"))
        return state()

    def log(self, dag_id: str) -> str:
        """What the tasks of the DAG logged."""
        files = sorted((self.home / "logs").glob(f"dag_id={dag_id}/**/*.log*"))
        return "\n".join(file.read_text(errors="replace") for file in files)


@contextlib.contextmanager
def standalone(home: Path) -> Iterator[Standalone]:
    """Starts it, and ends it with all its processes."""
    web, logs, trigger_logs = free_port(), free_port(), free_port()
    dags = home / "dags"
    dags.mkdir(parents=True)
    here = Path(__file__).resolve().parents[2]
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(logs),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "NO_PROXY": "127.0.0.1,localhost",
        "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(here / "service"), os.environ.get("PYTHONPATH")])),
        **(
            {
                "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": str(web),
                "AIRFLOW__WEBSERVER__WORKERS": "1",
                "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "3",
                "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "3",
            }
            if IN_2
            else {
                "AIRFLOW__API__PORT": str(web),
                "AIRFLOW__API__WORKERS": "1",
                "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{web}/execution/",
                "AIRFLOW__CORE__PARALLELISM": "4",
                "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "3",
                "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3",
            }
        ),
    }
    health = f"http://127.0.0.1:{web}{'/health' if IN_2 else '/api/v2/monitor/health'}"
    command = [str(COMMAND), "standalone"]
    with server(command, ready=lambda: _healthy(health), cwd=home, env=env, deadline=PATIENCE) as process:
        try:
            yield Standalone(home, env, process)
        finally:
            # The process that reads DAGs for Airflow 2 has a group of its own, and would outlive the others.
            for one in _descendants(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    if os.getpgid(one) != process.pid:
                        os.kill(one, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """The processes that it started, and those that they started."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, file.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _healthy(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            parts = json.load(answer)
    except (OSError, ValueError):
        return False
    wanted = ("scheduler", "triggerer") if IN_2 else ("scheduler", "triggerer", "dag_processor")
    return all(parts[part]["status"] == "healthy" for part in wanted)
