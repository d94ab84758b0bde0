"""The options of ``demo:conveyor``, the built-in camera that shows photographs and can drift."""

from typing import Literal

from pydantic import Field

from edge_runtime.config.section import Section
from edge_runtime.config.values import FilePath

DriftName = Literal[
    "contrast", "bright", "dark", "noise", "blur", "tint", "haze", "grey",
    "vignette", "jpeg", "defocus", "exposure", "gamma",
]  # fmt: skip


class DemoConfig(Section):
    """The pictures of the built-in conveyor and their drift; only with ``path: demo:conveyor``."""

    pictures: FilePath | None = Field(
        default=None, description="Folder of photographs; null: those in the package."
    )
    drift: DriftName | None = Field(default=None, description="Simulated change of the camera; null: none.")
    drift_at_s: float = Field(
        default=30.0, ge=0, le=86_400, description="When it begins, seconds after start."
    )
    severity: float = Field(default=1.0, ge=0, le=1, description="0 nothing, 1 the full change.")
    ramp_s: float = Field(
        default=0.0, ge=0, le=86_400, description="How long it takes to reach its full strength, seconds."
    )
    only: str | None = Field(
        default=None,
        description="Show only the photograph of this name, without its ending: a scene of one class, on which the "
        "gate must do nothing.",
        examples=["orange"],
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="The same seed gives the same pictures.")
