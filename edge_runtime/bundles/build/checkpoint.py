"""A PyTorch checkpoint and the function that makes its net -> the net with its weights, ready to be exported.

The file is loaded with ``weights_only=True``: it can hold tensors and plain values, and run nothing. The factory is
the author's own code and is run. Needs torch; workstation only.
"""

import importlib
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edge_runtime.bundles.build.quiet import silence
from edge_runtime.bundles.build.refusals import shorten
from edge_runtime.errors import BundleError

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What ``torch.save({"state_dict": ..., "preprocessing": {...}, "version": 3}, path)`` wrote."""

    path: Path
    state_dict: Mapping[str, torch.Tensor]
    preprocessing: Any
    """The keys of a bundle's ``preprocess``, unchecked; None when the file does not say."""
    version: Any
    """None when the file does not say."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, running nothing that is in it.

    Raises:
        BundleError: not readable, or no such dict.
    """
    expected = "a dict with state_dict, preprocessing and version, saved with torch.save"
    fix = "Save tensors and plain values only: torch.save({'state_dict': net.state_dict(), ...}, path)."
    try:
        with silence("torch"):  # it warns of how old files were stored
            data = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as err:
        found = f"cannot be read ({err.strerror or err})"
        raise BundleError(path, found, expected, "Check the path.") from err
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as err:
        # torch's advice, on the other lines, is about loading such files all the same
        reason = shorten(str(err).rsplit("WeightsUnpickler error: ", 1)[-1].partition("\n")[0])
        raise BundleError(path, f"torch cannot load it: {reason}", expected, fix) from err
    if not isinstance(data, dict) or not isinstance(data.get("state_dict"), Mapping):
        names = ", ".join(map(str, list(data)[:6])) if isinstance(data, dict) else ""
        found = f"a dict with {names}" if isinstance(data, dict) else f"a {type(data).__name__}"
        raise BundleError(path, found, expected, fix)
    return Checkpoint(path, data["state_dict"], data.get("preprocessing"), data.get("version"))


def build_net(checkpoint: Checkpoint, factory: str, arguments: Mapping[str, Any], folder: Path) -> Any:
    """The net with the checkpoint's weights, in evaluation mode.

    ``factory`` is ``package.module:function``; its module is looked for in ``folder`` first, as in a script's folder.
    What the function raises is its author's to see and passes through.

    Raises:
        BundleError: no such function, no module made, or the weights are another net's.
    """
    net = _made(factory, arguments, folder)
    if not isinstance(net, torch.nn.Module):
        found = f"it gave {type(net).__name__}"
        raise BundleError(factory, found, "a torch.nn.Module", "Return the net from the factory.")
    try:
        missing, unexpected = net.load_state_dict(dict(checkpoint.state_dict), strict=False)
    except RuntimeError as err:  # sizes differ; every one of them is in the text
        raise _other_net(checkpoint, shorten(err, 300)) from err
    if missing or unexpected:
        found = (
            f"{len(missing)} weights missing ({', '.join(missing[:_SHOWN])}), "
            f"{len(unexpected)} unknown ({', '.join(unexpected[:_SHOWN])})"
        )
        raise _other_net(checkpoint, found)
    return net.eval()


def _made(factory: str, arguments: Mapping[str, Any], folder: Path) -> Any:
    module_name, _, function_name = factory.partition(":")
    sys.path.insert(0, str(folder))
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as err:
        fix = f"Put the module into the folder of the recipe ({folder}) or install its package."
        raise BundleError(factory, f"{err}", "package.module:function", fix) from err
    finally:
        sys.path.remove(str(folder))
    return function(**arguments)


def _other_net(checkpoint: Checkpoint, found: str) -> BundleError:
    fix = "Check factory and factory_arguments, such as the number of classes."
    return BundleError(checkpoint.path, found, "exactly the weights of the factory's net", fix)
