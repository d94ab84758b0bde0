"""The names in a gradient graph: its inputs and outputs by tap and by aim."""

from dataclasses import dataclass

from calibration.targets.base import Aim
from calibration.targets.gradient.program import TapTensor


@dataclass(frozen=True, slots=True)
class GradientGraph:
    """The names in a graph."""

    taps: tuple[TapTensor, ...]
    """With a gradient; the first is the input."""
    aims: tuple[Aim, ...]

    @property
    def outputs(self) -> list[str]:
        """Losses of the aims, then the sums, tap by tap."""
        losses = [loss_name(aim) for aim in self.aims]
        return losses + [name for tap in self.taps for name in sum_names(tap)]


def raw_name(tensor: str) -> str:
    """What a tap is before it is corrected; everything else reads it corrected."""
    return f"{tensor}__raw"


def setting_names(tap: TapTensor) -> tuple[str, str]:
    """The inputs for the scale and the offset of a tap."""
    return f"{tap.name}/scale", f"{tap.name}/offset"


def sum_names(tap: TapTensor) -> tuple[str, str]:
    """The outputs with its sums."""
    return f"{tap.name}/along", f"{tap.name}/sum"


def target_name(aim: Aim) -> str:
    """The input with what the aim is compared with."""
    return f"{aim.name}/target"


def weight_name(aim: Aim) -> str:
    """The input with the weights of the comparison."""
    return f"{aim.name}/weight"


def loss_name(aim: Aim) -> str:
    """The output with the loss."""
    return f"{aim.name}/loss"
