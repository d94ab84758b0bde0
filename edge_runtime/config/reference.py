"""The section ``recalibration.reference``: which pictures stand for what the camera sees now."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from edge_runtime.config.section import Section
from edge_runtime.config.values import BASELINE_PATTERN, FilePath, check_form

LIVE, FOLDER = "live", "folder"
"""Names that every box knows: frames of the cameras alone, and the pictures in ``folder``."""
MOST_SETS = 32

_SET_PATTERN = f"^(?!({LIVE}|{FOLDER})$){BASELINE_PATTERN.removeprefix('^')}"
SetName = Annotated[
    str,
    AfterValidator(
        check_form(_SET_PATTERN, f"1 to 32 of a-z, 0-9 and '-', e.g. night; {LIVE} and {FOLDER} are taken")
    ),
    WithJsonSchema({"type": "string", "pattern": _SET_PATTERN}),
]


class ReferenceConfig(Section):
    """The pictures that stand for what the camera sees now."""

    folder: FilePath | None = Field(default=None, examples=["/var/lib/edge-runtime/reference/belt"])
    """Pictures or windows to recalibrate with by schedule and command, instead of frames of the streams; after a drift
    alarm those are used all the same. Sub-folders named like labels make a labelled set."""
    sets: dict[SetName, FilePath] = Field(
        default_factory=dict,
        max_length=MOST_SETS,
        examples=[{"night": "/var/lib/edge-runtime/reference/night"}],
    )
    """Further folders by name, for the command recalibrate with this reference. A patch is accepted only where the
    gate accepts it on frames of the cameras too. The names live and folder are taken."""
    reservoir: int = Field(default=256, ge=16, le=8192)
    """Recent frames kept to choose from, spread over classes and time."""
    reservoir_mib: int = Field(default=64, ge=1, le=65_536)
    """Memory and, with persist, disk the kept frames may use, MiB. A picture takes 3 bytes a pixel of the model's
    input: 64 MiB hold 256 pictures of 224 x 224, or 54 of 640 x 640. A window takes 4 bytes a value."""
    max_age_h: float = Field(default=24.0, gt=0, le=8760)
    """Kept frames older than this are dropped, hours."""
    persist: bool = True
    """Keep them below state_dir, so that a restart does not begin with none."""
    pictures: Literal["keep", "never"] = "keep"
    """never: no picture is kept, on disk or in memory, only each frame's moments, class and time. A recalibration
    then waits for new frames, nothing is distilled, and only conservative candidates can be accepted."""
    frames: int = Field(default=64, ge=8, le=4096)
    """Frames one recalibration uses; more are slower, not better."""

    @model_validator(mode="after")
    def _check_frames(self) -> Self:
        self.require(self.frames <= self.reservoir, "frames", f"at most reservoir ({self.reservoir})")
        return self
