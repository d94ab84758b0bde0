"""The section of the configuration about installed bundles: what is kept, and how much disk it may use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from edge_runtime.config.section import Section
from edge_runtime.config.values import InstallSource

DEMO_PREFIX = "demo:"
_DEMO_STORE = Path(__file__).resolve().parent.parent / "sources" / "demo" / "bundle"


class LatestVersions(Section):
    """The highest version numbers."""

    num_versions: int = Field(default=1, ge=1, le=1000)
    """How many."""


class SpecificVersions(Section):
    """Some version numbers."""

    versions: tuple[Annotated[int, Field(ge=1, le=999_999_999)], ...] = Field(min_length=1, max_length=1000)
    """Which."""


class VersionPolicy(Section):
    """The versions of each bundle that are kept; the words are those of Triton's version_policy. One of the two."""

    latest: LatestVersions | None = None
    """The newest of them."""
    specific: SpecificVersions | None = None
    """Those named."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        both = self.latest is not None and self.specific is not None
        none = self.latest is None and self.specific is None
        found = "both" if both else "none"
        self.require(not both and not none, "latest", "one of latest and specific, or the word 'all'", found)
        return self


def _find_kind(value: Any) -> str:
    """Of the two forms of a policy the one that was meant, so that only its problems are told."""
    return "some" if isinstance(value, Mapping | VersionPolicy) else "all"


class BundlesConfig(Section):
    """The installed bundles below <state_dir>/bundles, see edge-runtime bundle install and gc."""

    version_policy: Annotated[
        Annotated[Literal["all"], Tag("all")] | Annotated[VersionPolicy, Tag("some")],
        Discriminator(_find_kind),
    ] = Field(
        default="all", examples=["all", {"latest": {"num_versions": 3}}, {"specific": {"versions": [3, 4]}}]
    )
    """The versions of each bundle that are kept: all, latest: {num_versions: N} or specific: {versions: [...]}. Active,
    previous and candidate versions are kept in any case."""
    max_mib: int | None = Field(default=None, ge=1, le=1_048_576)
    """Disk that all versions together may use, MiB; the oldest go first. null: no limit."""
    allow_downgrade: bool = False
    """Whether a version lower than the newest installed one may be installed."""
    install_from: tuple[InstallSource, ...] = Field(
        default=(),
        max_length=32,
        examples=[["oci://registry.example/lines/", "https://files.example/bundles/"]],
    )
    """Where the command install may take bundles from: beginnings of addresses, compared by scheme, host, port and
    whole levels of the path. Empty: nowhere."""
    install_chunks: bool = False
    """Whether the command install may bring a bundle in pieces over MQTT."""


def find_bundle_root(reference: str, store: Path) -> Path:
    """Folder that holds the version folders of a bundle, or is one version itself; it need not be there.

    Args:
        reference: ``demo:NAME`` for one that ships, a path (with a '/'), or the name of an installed one.
        store: Where those are: ``<name>/<version>``.
    """
    if reference.startswith(DEMO_PREFIX):
        return _DEMO_STORE / reference.removeprefix(DEMO_PREFIX)
    return Path(reference) if "/" in reference else store / reference
