"""The names in a gradient graph: its inputs and outputs by tap and by aim."""

from dataclasses import dataclass

from calibration.targets.base import Aim
from calibration.targets.gradient.free_names import FreeNames
from calibration.targets.gradient.program import TapTensor


@dataclass(frozen=True, slots=True)
class GradientNames:
    """What the builder names, apart from all names of the model."""

    free: FreeNames

    def raw(self, tensor: str) -> str:
        """What a tap is before it is corrected; everything else reads it corrected."""
        return self.free.of("raw", tensor)

    def settings(self, tap: TapTensor) -> tuple[str, str]:
        """The inputs for the scale and the offset of a tap."""
        return self.free.of("scale", tap.tensor), self.free.of("offset", tap.tensor)

    def sums(self, tap: TapTensor) -> tuple[str, str]:
        """The outputs with its sums."""
        return self.free.of("along", tap.tensor), self.free.of("sum", tap.tensor)

    def target(self, aim: Aim) -> str:
        """The input with what the aim is compared with."""
        return self.free.of("target", aim.name)

    def weight(self, aim: Aim) -> str:
        """The input with the weights of the comparison."""
        return self.free.of("weight", aim.name)

    def loss(self, aim: Aim) -> str:
        """The output with the loss."""
        return self.free.of("loss", aim.name)


@dataclass(frozen=True, slots=True)
class GradientGraph:
    """What a graph takes and gives."""

    taps: tuple[TapTensor, ...]
    """With a gradient; the first is the input."""
    aims: tuple[Aim, ...]
    names: GradientNames

    @property
    def outputs(self) -> list[str]:
        """Losses of the aims, then the sums, tap by tap."""
        losses = [self.names.loss(aim) for aim in self.aims]
        return losses + [name for tap in self.taps for name in self.names.sums(tap)]
