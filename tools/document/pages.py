"""The pages of metrics, configuration keys and exit codes, and the first page."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edge_runtime.config.json_schema import config_schema
from edge_runtime.daemon.metric_table import METRICS
from edge_runtime.errors import GRAVEST_FIRST, ExitCode
from edge_runtime.http.metric_samples import Metric
from tools.document.fields import Field, find_unit, list_fields, name_range, name_type
from tools.document.markdown import code, page, prose, table
from tools.document.since import Since

_METRIC_UNITS = ("seconds", "bytes")


def make_metrics_page(since: Since) -> str:
    """All metrics."""
    rows = [
        (
            code(one.name),
            one.kind,
            _unit_of(one),
            " ".join(code(label) for label in one.labels),
            prose(one.text),
            since.of(f"metric {one.name}"),
        )
        for one in METRICS
    ]
    return page(
        "Metrics",
        "metrics",
        table(("metric", "kind", "unit", "labels", "", "since"), rows),
    )


def _unit_of(metric: Metric) -> str:
    words = metric.base_name.split("_")
    return next((unit for unit in _METRIC_UNITS if unit in words), "")


def make_configuration_page(since: Since) -> str:
    """All keys of the YAML file."""
    schema = config_schema()
    rows = [
        (
            code(key),
            name_type(field),
            find_unit(field),
            name_range(field.schema),
            _show_default(field),
            prose(str(field.schema.get("description", ""))),
            since.of(f"key {key}"),
        )
        for key, field in _list_keys(schema)
    ]
    return page(
        "Configuration keys",
        "configuration",
        table(("key", "type", "unit", "range", "default", "", "since"), rows),
    )


def _list_keys(schema: Mapping[str, Any]) -> Iterator[tuple[str, Field]]:
    """Sections are no keys: their keys are."""
    found = list(list_fields(_open_names(schema), _definitions(schema)))
    names = [field.name for field in found]
    for field in found:
        if not any(name.startswith((f"{field.name}.", f"{field.name}[")) for name in names):
            yield field.name.replace(".*", ".NAME"), field


def _definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _open_names(one) for name, one in schema["$defs"].items()}


def _open_names(value: Any) -> Any:
    """Sections by names, which the schema has as patterns of names, as sections by any name."""
    if isinstance(value, list):
        return [_open_names(one) for one in value]
    if not isinstance(value, dict):
        return value
    opened = {key: _open_names(one) for key, one in value.items() if key != "patternProperties"}
    for inner in value.get("patternProperties", {}).values():
        opened["additionalProperties"] = _open_names(inner)
    return opened


def _show_default(field: Field) -> str:
    if field.is_required:
        return "required"
    default = field.schema.get("default")
    text = default if isinstance(default, str) else re.sub(r"\bnull\b", "", json.dumps(default))
    return code(text) if text else ""


def make_exit_codes_page(since: Since) -> str:
    """All exit codes, with the errors that lead to them."""
    rows = [(str(int(one)), one.name, prose(one.meaning), since.of(f"exit {one:d}")) for one in ExitCode]
    return page(
        "Exit codes",
        "exit-codes",
        table(("code", "name", "when", "since"), rows),
        "When `check` or `doctor` finds several problems, the first code in this order is used: "
        + ", ".join(str(int(code)) for code in GRAVEST_FIRST)
        + ".",
    )


def make_first_page(pages: Iterable[tuple[str, str]], documents: Iterable[tuple[str, str]]) -> str:
    """What there is."""
    return page(
        "Reference",
        "README",
        table(("page", ""), [(f"[{name}]({name}.md)", text) for name, text in pages]),
        "For machines:",
        table(("document", ""), [(f"[{name.rsplit('/', 1)[-1]}]({name})", text) for name, text in documents]),
    )
