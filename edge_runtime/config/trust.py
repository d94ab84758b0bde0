"""Section ``trust``: who may sign bundles, and which versions may run."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from edge_runtime.config.section import Section
from edge_runtime.config.values import FilePath, check_form

BUNDLE_NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
MAX_ENTRIES = 256

_BundleName = Annotated[
    str,
    AfterValidator(check_form(BUNDLE_NAME_PATTERN, "the name of a bundle")),
    WithJsonSchema({"type": "string", "pattern": BUNDLE_NAME_PATTERN}),
]
_Sha256 = Annotated[
    str,
    AfterValidator(check_form(SHA256_PATTERN, "64 hexadecimal digits (sha256, in small letters)")),
    WithJsonSchema({"type": "string", "pattern": SHA256_PATTERN}),
]


class TrustConfig(Section):
    """Whose bundles may run. An edit counts for every bundle that is opened afterwards."""

    keys: tuple[FilePath, ...] = Field(
        default=(), max_length=MAX_ENTRIES, examples=[["/etc/edge-runtime/publisher.pem.pub"]]
    )
    """Public keys (PEM). With one of them here a signature that is in a bundle must be right."""
    require_signed: bool = False
    """Refuse bundles without a signature. A bundle that ships with the package needs none."""
    revoked: tuple[_Sha256, ...] = Field(default=(), max_length=MAX_ENTRIES)
    """Ids of keys whose signatures count no longer (edge-runtime keys list)."""
    min_version: dict[_BundleName, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, max_length=MAX_ENTRIES, examples=[{"parts": 4}]
    )
    """Oldest version of a bundle that may run, by its name."""
    manifest_sha256: dict[_BundleName, _Sha256] = Field(default_factory=dict, max_length=MAX_ENTRIES)
    """The only bundle that may run, by its name: SHA-256 of its bundle.yaml."""

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        self.require(not self.require_signed or bool(self.keys), "keys", "a key, since require_signed is on")
        return self
