"""The effect of an edited configuration on a running daemon: which parts it keeps and which it rebuilds.

Pure. The table below is the whole policy.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from edge_runtime.config.shape import Config


class Effect(StrEnum):
    """The step after which a changed key counts."""

    LIVE = "live"
    """Read the new value from now on."""
    REOPEN_CAMERA = "reopen_camera"
    REOPEN_SENSOR = "reopen_sensor"
    RECONNECT = "reconnect"
    """Leave the broker and connect with the new settings; what waits in the outbox goes there."""
    REBUILD_MODEL = "rebuild_model"
    """Load the bundle again while the old one runs, then swap."""
    RESTART = "restart"
    """Only a new process can use it."""


EFFECTS: tuple[tuple[str, Effect], ...] = (
    # The first pattern that fits counts; '*' is one name.
    # What is not here (device, state_dir, pictures, http, outbox, sink, telemetry) needs a restart.
    ("models.*.batch", Effect.LIVE),
    ("models.*.max_age_ms", Effect.LIVE),
    ("models.*.queue_frames", Effect.LIVE),
    ("models.*.rollout.*", Effect.LIVE),  # whether there is one decides how the model is opened
    ("models", Effect.REBUILD_MODEL),
    ("cameras.*.priority", Effect.LIVE),
    ("cameras.*.snapshots", Effect.LIVE),
    ("cameras.*.recordings", Effect.LIVE),
    ("cameras.*.tracking", Effect.LIVE),
    ("cameras", Effect.REOPEN_CAMERA),
    ("sensors.*.priority", Effect.LIVE),
    ("sensors.*.recordings", Effect.LIVE),
    ("sensors", Effect.REOPEN_SENSOR),
    ("mqtt.home_assistant", Effect.LIVE),
    ("mqtt", Effect.RECONNECT),
    ("commands", Effect.RECONNECT),
    ("recalibration", Effect.LIVE),
    ("drift", Effect.LIVE),
    ("bundles", Effect.LIVE),
    ("trust", Effect.LIVE),  # a bundle that is open stays so
    ("log", Effect.LIVE),
)


class Changes(dict[str, Effect]):
    """The effect of every key that differs between two configurations, by its dotted path.

    A camera, sensor, model or section that came or went is one change at its own path.
    """

    def paths(self, effect: Effect) -> tuple[str, ...]:
        """The changed keys with this effect."""
        return tuple(path for path, its_effect in self.items() if its_effect is effect)

    @property
    def streams(self) -> frozenset[str]:
        """Streams to close (if they ran) and to open again (if the new configuration has them enabled)."""
        paths = (*self.paths(Effect.REOPEN_CAMERA), *self.paths(Effect.REOPEN_SENSOR))
        return frozenset(path.split(".")[1] for path in paths if "." in path)

    @property
    def models(self) -> frozenset[str]:
        """Models to load anew, or to drop when the new configuration no longer has them."""
        return frozenset(path.split(".")[1] for path in self.paths(Effect.REBUILD_MODEL))

    @property
    def needs_restart(self) -> tuple[str, ...]:
        """Keys whose new values wait for the next start."""
        return self.paths(Effect.RESTART)


def changes(old: Config, new: Config) -> Changes:
    """Compare two configurations key by key."""
    return Changes({path: effect_of(path) for path in _differences(old, new, "")})


def merge_in_force(old: Config, new: Config) -> Config:
    """The new configuration with every key that waits for a restart as it was: what counts while this process runs.

    Without it, a later edit of a model would open that model in a state directory this process has not locked.
    """
    merged = _merge(old, new, "")
    assert isinstance(merged, Config)
    return merged


def must_start_anew(in_force: Config, plan: Changes) -> bool:
    """Whether an edit ends safe mode by a start only: something was another there than the file says now.

    Nothing is opened before: the models might lie in another state directory.
    """
    return in_force.is_safe_mode and bool(plan.needs_restart)


def _merge(old: Any, new: Any, path: str) -> Any:
    before, after = _parts(old), _parts(new)
    if before is None or after is None:
        return old if effect_of(path) is Effect.RESTART else new
    merged = {
        name: _merge(before[name], value, _below(path, name)) if name in before else value
        for name, value in after.items()
    }
    return new.model_copy(update=merged) if isinstance(new, BaseModel) else merged


def _parts(value: Any) -> Mapping[str, Any] | None:
    """The values below a section or a mapping by name; None below a single value."""
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return value if isinstance(value, dict) else None


def _below(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def effect_of(path: str) -> Effect:
    """The effect of a changed key by the table; a key that is not listed needs a restart."""
    parts = path.split(".")
    for pattern, effect in EFFECTS:
        wanted = pattern.split(".")
        if len(wanted) <= len(parts) and all(w in ("*", p) for w, p in zip(wanted, parts, strict=False)):
            return effect
    return Effect.RESTART


def _differences(old: Any, new: Any, path: str) -> list[str]:
    before, after = _parts(old), _parts(new)
    if before is None or after is None:
        return [] if old == new else [path]
    found: list[str] = []
    for name in dict.fromkeys((*before, *after)):
        here = _below(path, name)
        if (name in before) != (name in after):
            found.append(here)
        else:
            found.extend(_differences(before[name], after[name], here))
    return found
