"""The small BatchNorm net for windows of signals, in the manner of MobileNet. Only the definition lives here."""

from torch import nn


def signal_net(channels: int, classes: int) -> nn.Sequential:
    """(N, channels, T) float32 -> (N, classes) logits; 10,000 weights and more."""
    return nn.Sequential(
        *_conv(channels, 16, 5),
        *_conv(16, 32, 5, stride=2),
        *_conv(32, 32, 3, groups=32),
        *_conv(32, 64, 1),
        *_conv(64, 64, 3, stride=2),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


def _conv(
    channels_in: int, channels_out: int, length: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv1d(channels_in, channels_out, length, stride, length // 2, groups=groups, bias=False),
        nn.BatchNorm1d(channels_out),
        nn.ReLU(),
    ]
