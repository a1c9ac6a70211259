"""The manifest in docs/kubernetes is a Job as Kubernetes 1.37 takes it, and its command is one of ours.

kubernetes_job_schema.json is the strict schema of a Job in the package kubernetes-validate 1.37.0, made from the
OpenAPI document of Kubernetes, with the definitions that it refers to and without their descriptions.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ddpo_bench import cli

HERE = Path(__file__).parent
MANIFEST = HERE.parent / "docs" / "kubernetes" / "job.yaml"


@pytest.fixture
def job() -> dict[str, Any]:
    return yaml.safe_load(MANIFEST.read_text())


def mistakes(job: dict[str, Any]) -> list[str]:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((HERE / "kubernetes_job_schema.json").read_text())
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(job)]


def test_kubernetes_takes_the_job(job: dict[str, Any]) -> None:
    assert mistakes(job) == []


def test_the_schema_sees_a_wrong_key_and_a_wrong_type(job: dict[str, Any]) -> None:
    misspelt, wrong = copy.deepcopy(job), copy.deepcopy(job)
    misspelt["spec"]["template"]["spec"]["restartpolicy"] = "Never"
    wrong["spec"]["parallelism"] = "eight"
    assert "restartpolicy" in mistakes(misspelt)[0]
    assert "eight" in mistakes(wrong)[0]


def test_the_database_of_the_comments_is_taken_too() -> None:
    lines = MANIFEST.read_text().replace("# - --storage", "- --storage").replace("# env:", "env:")
    lines = lines.replace("#   - name: PG", "  - name: PG").replace("#     valueFrom", "    valueFrom")
    job = yaml.safe_load(lines)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["env"][0]["name"] == "PGPASSWORD"
    assert mistakes(job) == []


def test_its_command_is_one_of_ours_and_exit_codes_that_repeat_end_the_job(job: dict[str, Any]) -> None:
    spec = job["spec"]["template"]["spec"]
    program, *words = spec["containers"][0]["command"]
    args = cli.build_parser(cli.load_commands()).parse_args(words)
    assert (program, args.verb, args.results) == ("ddpo-bench", "work", Path("/results"))
    (codes,) = [rule["onExitCodes"] for rule in job["spec"]["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert codes["containerName"] == spec["containers"][0]["name"]
    assert cli.INTERRUPTED not in codes["values"]
    assert spec["restartPolicy"] == "Never"  # the only one that a podFailurePolicy allows
