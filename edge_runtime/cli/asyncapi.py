"""``edge-runtime asyncapi``: topics, commands and payloads of a box, for machines."""

import os
from pathlib import Path

import click

from edge_runtime.cli.options import CONFIG, ONLY_JSON, print_indented


@click.command("asyncapi")
@CONFIG
@ONLY_JSON
def asyncapi(config: Path) -> int:
    """Print topics, commands and payloads of a box as AsyncAPI 3.0.

    CONFIG describes the box.

    A running daemon serves it at /asyncapi.json.
    """
    from edge_runtime.config import load_config
    from edge_runtime.daemon.health import Health
    from edge_runtime.daemon.status import DaemonStatus
    from edge_runtime.messaging.asyncapi import DaemonTypes, describe

    print_indented(describe(load_config(config, os.environ), DaemonTypes(DaemonStatus, Health)))
    return 0
