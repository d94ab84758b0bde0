"""Section ``commands``: who may command this box over the broker."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge_runtime.config.section import Section
from edge_runtime.config.values import FilePath, Name

RoleName = Literal["viewer", "operator", "owner"]
_RIGHTS = ("none", "viewer", "operator", "owner")
MAX_KEYS, MAX_GROUPS = 64, 16


class CommandKeyConfig(Section):
    """One caller, known by a key."""

    file: FilePath = Field(examples=["/etc/edge-runtime/anna.pub"])
    """Public key, Ed25519: PEM (edge-runtime keys make --for commands), or a JSON Web Key."""
    role: RoleName = "operator"
    """viewer: ask; operator: also recalibrate, roll back, approve, promote; owner: everything."""


class CommandsConfig(Section):
    """Who may command this box; whether it obeys commands at all says mqtt.commands."""

    keys: dict[Name, CommandKeyConfig] = Field(default_factory=dict, max_length=MAX_KEYS)
    """Callers by name. With one of them here, commands are signed (JWS, Ed25519)."""
    unsigned: RoleName | Literal["none"] | None = None
    """What may be commanded without a signature; null: nothing with keys, as an operator without."""
    groups: Annotated[tuple[Name, ...], Field(max_length=MAX_GROUPS)] = Field(
        default=(), examples=[["line-3"]]
    )
    """Groups of boxes that this one belongs to: it also obeys requests on <prefix>/groups/<group>/request/<verb>."""

    @property
    def unsigned_role(self) -> RoleName | None:
        """The role of a caller without a signature; None refuses it."""
        if self.unsigned is None:
            return None if self.keys else "operator"
        return None if self.unsigned == "none" else self.unsigned

    @model_validator(mode="after")
    def _check_anyone(self) -> Self:
        self.require(self.unsigned != "none" or bool(self.keys), "keys", "a key, since unsigned is none")
        return self


def restrict(in_force: CommandsConfig, wanted: CommandsConfig) -> CommandsConfig:
    """What is in force without the rights that ``wanted`` takes away; none that it gives.

    For a file that is refused for something else: a revoked key must not wait for its correction.
    """
    both = in_force.keys.keys() & wanted.keys.keys()
    kept = {
        name: one.model_copy(update={"role": _lesser(one.role, wanted.keys[name].role)})
        for name, one in in_force.keys.items()
        if name in both and one.file == wanted.keys[name].file
    }
    groups = tuple(group for group in in_force.groups if group in wanted.groups)
    if kept == in_force.keys and groups == in_force.groups and in_force.unsigned_role == wanted.unsigned_role:
        return in_force
    unsigned = _lesser(in_force.unsigned_role or "none", wanted.unsigned_role or "none")
    return in_force.model_copy(update={"keys": kept, "groups": groups, "unsigned": unsigned})


def _lesser(one: str, other: str) -> str:
    return min(one, other, key=_RIGHTS.index)
