"""Which installed versions may stay: by policy, within a budget of disk, and never without those in use. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from edge_runtime.config import BundlesConfig

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Held:
    """One installed version."""

    name: str
    version: int
    size_bytes: int
    installed_wall_s: float

    @property
    def id(self) -> str:
        """Name and version, e.g. ``parts/4``."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class Keep:
    """The rules; the default keeps everything."""

    latest: int | None = None
    """That many of the highest numbers of each name; None: no such rule."""
    specific: frozenset[int] | None = None
    """These numbers of each name; None: no such rule."""
    max_bytes: int | None = None
    """Of all versions together; None: no limit."""

    @classmethod
    def from_config(cls, config: BundlesConfig) -> "Keep":
        """The rules of the section ``bundles``."""
        max_bytes = None if config.max_mib is None else config.max_mib * MIB
        policy = config.version_policy
        if policy == "all":
            return cls(max_bytes=max_bytes)
        latest = None if policy.latest is None else policy.latest.num_versions
        specific = None if policy.specific is None else frozenset(policy.specific.versions)
        return cls(latest, specific, max_bytes)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the rules say."""

    removed: tuple[Held, ...]
    """Oldest first."""
    kept_bytes: int
    over_bytes: int
    """Bytes above the budget that nothing can be removed for; 0 within it."""


def choose_removals(held: Iterable[Held], keep: Keep, spared: Collection[str]) -> Choice:
    """Choose what goes: first what the policy does not keep, then for the budget the oldest.

    Args:
        held: All versions.
        keep: The rules.
        spared: Ids that never go: those in use, and one that is just being installed.

    Returns:
        The choice. For the budget the highest version of each name is spared as well: a daemon that is told
        ``version: latest`` starts with it.
    """
    oldest_first = sorted(held, key=lambda one: (one.installed_wall_s, one.name, one.version))
    by_policy = _list_kept(oldest_first, keep)
    removed = [one for one in oldest_first if one.id not in spared and one.id not in by_policy]
    rest = [one for one in oldest_first if one not in removed]
    newest = {one.name: one.id for one in sorted(rest, key=lambda one: one.version)}
    total = sum(one.size_bytes for one in rest)
    for one in rest:
        if keep.max_bytes is None or total <= keep.max_bytes:
            break
        if one.id not in spared and one.id != newest[one.name]:
            removed.append(one)
            total -= one.size_bytes
    over = 0 if keep.max_bytes is None else max(0, total - keep.max_bytes)
    return Choice(tuple(removed), total, over)


def _list_kept(held: Sequence[Held], keep: Keep) -> set[str]:
    kept = held if keep.specific is None else [one for one in held if one.version in keep.specific]
    if keep.latest is None:
        return {one.id for one in kept}
    numbers: dict[str, list[int]] = {}
    for one in kept:
        numbers.setdefault(one.name, []).append(one.version)
    highest = {name: sorted(versions)[-keep.latest :] for name, versions in numbers.items()}
    return {one.id for one in kept if one.version in highest[one.name]}
