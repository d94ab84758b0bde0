"""How much a box may recalibrate by itself: words that configuration and bundles share."""

from typing import Literal, get_args

Autonomy = Literal["observe", "propose", "auto"]
"""observe: drift is reported, a recalibration on command is judged and reported, and no patch is used. propose: an
accepted patch waits for a person. auto: it is used."""
AUTONOMIES: tuple[Autonomy, ...] = get_args(Autonomy)
"""The strictest first."""
