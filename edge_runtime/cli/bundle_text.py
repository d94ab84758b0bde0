"""A bundle in words, as ``edge-runtime bundle inspect`` shows it."""

from collections.abc import Iterator, Mapping
from typing import Any

from edge_runtime.cli.table import format_table

_BYTES_A_MIB = 2**20
_CHANNEL = ("name", "unit", "scale", "offset", "mean", "std", "low", "high")


def describe_bundle(report: Mapping[str, Any]) -> str:
    """What :func:`~edge_runtime.cli.offline.inspect_bundle` found, for a person: a line for each matter.

    The layers that can be corrected are only counted, those that cannot are named.
    """
    manifest = report["manifest"]
    lines = [
        f"{report['bundle']}: {manifest['format']}, {_describe_sizes(report)}",
        f"preprocess     {_list_values(manifest['preprocess'], leave_out=('channels',))}",
        *_list_channels(manifest["preprocess"].get("channels") or ()),
        f"postprocess    {_list_values(manifest['postprocess'])}",
        f"golden         {len(manifest['golden'])} with a difference of at most {manifest['tolerance']:g}",
        *(f"measured       {_list_values(one)}" for one in manifest["provenance"]["measured"]),
        f"made from      {manifest['provenance']['source']}, by: {manifest['provenance']['command']}",
        *_describe_recalibration(report["calibration"]),
    ]
    return "\n".join(lines)


def _describe_sizes(report: Mapping[str, Any]) -> str:
    sizes, model = report["size_bytes"], report["manifest"]["model"]
    return f"{model} {_mib(sizes[model])}, all files {_mib(sum(sizes.values()))}"


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _BYTES_A_MIB:.1f} MiB"


def _list_values(values: Mapping[str, Any], leave_out: tuple[str, ...] = ()) -> str:
    return ", ".join(
        f"{key} {_write(value)}"
        for key, value in values.items()
        if value is not None and key not in leave_out
    )


def _write(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({_list_values(value)})"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_write, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _list_channels(channels: tuple[Mapping[str, Any], ...]) -> Iterator[str]:
    """A table of a signal's channels, with the columns that any of them fills."""
    columns = [key for key in _CHANNEL if any(one.get(key) is not None for one in channels)]
    if columns:
        rows = [["" if one.get(key) is None else _write(one[key]) for key in columns] for one in channels]
        table = format_table(columns, rows)
        yield from (f"  {line}" for line in table.splitlines())


def _describe_recalibration(found: Mapping[str, Any]) -> Iterator[str]:
    if "recalibration" in found:
        yield f"recalibration  {found['recalibration']}"
        return
    yield f"recalibration  {len(found['taps'])} layers with {found['channels']} channels can be corrected"
    yield from (f"  not {one['name']}: {one['reason']}" for one in found["skipped"])
