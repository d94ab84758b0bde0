"""The small BatchNorm net for Fashion-MNIST, in the manner of MobileNet: nine BatchNorms, three of them depthwise.

177,018 weights. Only the definition lives here.
"""

from torch import nn


def fashion_net(classes: int) -> nn.Sequential:
    """(N,1,28,28) float32 -> (N, classes) logits."""
    return nn.Sequential(
        *_conv(1, 16, 3, stride=2),
        *_conv(16, 32, 3),
        *_conv(32, 32, 3, stride=2, groups=32),
        *_conv(32, 64, 1),
        *_conv(64, 64, 3, groups=64),
        *_conv(64, 96, 1),
        *_conv(96, 96, 3, stride=2, groups=96),
        *_conv(96, 128, 1),
        *_conv(128, 128, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, classes),
    )


def _conv(
    channels_in: int, channels_out: int, side: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, side, stride, side // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    ]
