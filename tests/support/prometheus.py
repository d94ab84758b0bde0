"""A real Prometheus for tests: scrapes one daemon, with the alert rules that the project ships.

Independent of pytest: ``with Prometheus(folder, port) as prometheus: ...``.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.mosquitto import free_port
from tests.support.paths import ROOT
from tests.support.programs import find_program, kill, wait_until_it_answers
from tests.support.waiting import WAIT_S, until

RULES = ROOT / "deploy" / "prometheus" / "edge-runtime.rules.yml"


class Prometheus:
    """Looks twice a second. An alert that lasts for minutes in the rules is one at once here."""

    def __init__(self, folder: Path, target_port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        rules, changed = re.subn(r"\bfor: \w+", "for: 0s", RULES.read_text())
        assert changed
        (folder / "rules.yml").write_text(rules)
        settings = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(folder / "rules.yml")],
            "scrape_configs": [
                {
                    "job_name": "edge-runtime",
                    "static_configs": [{"targets": [f"127.0.0.1:{target_port}"]}],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(settings))
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{self._port}", timeout=WAIT_S, trust_env=False
        )

    def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        alerts = self._ask("/alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def query(self, query: str) -> list[float]:
        """The values of a query, as of now."""
        found = self._ask("/query", query=query)["result"]
        return [float(one["value"][1]) for one in found]

    def _ask(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(f"/api/v1{path}", params=parameters)
        answer.raise_for_status()
        return answer.json()["data"]

    def __enter__(self) -> Self:
        command = [
            find_program("prometheus"),
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        is_up = wait_until_it_answers(self._process, self._port, WAIT_S)
        if not (is_up and until(lambda: self._client.get("/-/ready").status_code == 200)):
            self.__exit__()
            raise RuntimeError(f"prometheus did not start:\n{(self._folder / 'log').read_text()[-2000:]}")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        kill(self._process)
