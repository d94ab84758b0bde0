"""A Home Assistant core that is asked over its standard input; run by the Python that has it installed, without ours.

Each line of input is a JSON object: ``{"call": [domain, service, entity]}`` or ``{}``, which asks for the states. Each
is answered with one line of JSON.
"""

import asyncio
import json
import sys
from typing import Any

from homeassistant import bootstrap, const, runner


async def serve(folder: str) -> None:
    """Until the end of the input."""
    hass = await bootstrap.async_setup_hass(runner.RuntimeConfig(config_dir=folder, skip_pip=False))
    await hass.async_start()
    _say({"version": const.__version__})
    while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        if "call" in asked:
            domain, service, entity = asked["call"]
            await hass.services.async_call(domain, service, {"entity_id": entity}, blocking=True)
            _say({})
        else:
            _say({one.entity_id: {"state": one.state, **one.attributes} for one in hass.states.async_all()})
    await hass.async_stop()


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
