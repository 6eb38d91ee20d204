"""The samples of a run, their medians, and the file that they are kept in."""

import json
import statistics
from pathlib import Path

from tests.bench.workshop import Plan, Table

Medians = dict[str, dict[str, float]]


class Result:
    def __init__(self, machine: dict[str, str], plan: Plan) -> None:
        self.machine = machine
        self.plan = plan
        self.tables: dict[str, Table] = {}
        self.failures: list[str] = []  # of whole parts

    def table(self, name: str) -> Table:
        return self.tables.setdefault(name, Table())

    def medians(self) -> dict[str, Medians]:
        return {name: medians(table) for name, table in self.tables.items()}


def medians(table: Table) -> Medians:
    return {
        program: {metric: statistics.median(values) for metric, values in metrics.items()}
        for program, metrics in table.samples.items()
    }


def write_json(result: Result, file: Path) -> None:
    tables = {
        name: {"samples": table.samples, "medians": medians(table), "missing": table.missing, "failures": table.failures}
        for name, table in result.tables.items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": result.machine, "plan": result.plan._asdict(), "failures": result.failures, "tables": tables}
    file.write_text(json.dumps(content, indent=1) + "\n")


def read_json(file: Path) -> Result:
    content = json.loads(file.read_text())
    result = Result(content["machine"], Plan(**content["plan"]))
    result.failures = content["failures"]
    for name, kept in content["tables"].items():
        table = result.table(name)
        table.samples, table.missing, table.failures = kept["samples"], kept["missing"], kept["failures"]
    return result
