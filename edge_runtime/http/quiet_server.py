"""uvicorn's server without its ten wake-ups a second, which look whether it shall end."""

import asyncio
from contextlib import suppress

import uvicorn

TICK_S = 1.0
"""The header ``Date`` counts seconds."""


class QuietServer(uvicorn.Server):
    """To be ended by :meth:`stop`, not by ``should_exit`` alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopped = asyncio.Event()

    def stop(self) -> None:
        """End in good order; from any thread, at any time."""
        self.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._is_stopped.set)

    async def main_loop(self) -> None:
        """Until :meth:`stop`; replaces uvicorn's."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._is_stopped.wait()
