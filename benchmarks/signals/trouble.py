"""Troubled streams of every payload format on a real daemon and broker: ``benchmarks run signals-trouble``.

The same samples are sent with 5 % of the values missing, or 10 % of the messages late, cut off or in another encoding.
Each answer is compared with what the model makes of the samples that did arrive; each refusal has to be counted by its
reason. At last only rubbish comes: the box must say that it is not ready, and be ready again when samples do.
"""

import sys

import click

from benchmarks.signals.payloads import WRITERS
from benchmarks.signals.troubled_box import try_format


@click.command()
@click.option("--formats", default=",".join(WRITERS), show_default=True, help="Those to try.")
@click.option("--seed", default=1, show_default=True)
def main(formats: str, seed: int) -> None:
    """Streams of six payload formats with four kinds of trouble, then rubbish alone."""
    rows = [row for name in formats.split(",") for row in try_format(name, seed)]
    columns = list(rows[0].cells)
    click.echo(f"| format | trouble | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    for row in rows:
        click.echo(f"| {row.name} | {row.trouble} | {' | '.join(map(str, row.cells.values()))} |")
    faults = [fault for row in rows for fault in row.faults]
    click.echo(f"\n{len(faults)} faults" + "".join(f"\n- {fault}" for fault in faults))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
