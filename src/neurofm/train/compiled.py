"""The trunk as compiled code: `torch.compile`, and CUDA graphs on a GPU."""

import importlib.util
import os
import shutil
from collections.abc import Callable

import torch

from neurofm.errors import ConfigError
from neurofm.model.backbone import Backbone
from neurofm.model.model import Model

COMPILERS = ("g++", "clang++", "c++")


def compile_trunk(model: Model, device: torch.device) -> None:
    """Compile the trunk in place, whose shapes are the same at every step; names of weights stay.

    On a GPU the kernels of a step are launched as one CUDA graph. Results differ from those of plain
    code by rounding, and dropout draws other numbers. The first step of each shape takes minutes.
    Raises ConfigError where the trunk is LFADS or the machine has nothing to compile with.
    """
    if not isinstance(model.backbone, Backbone):
        raise ConfigError("compile=true is for a transformer trunk; leave it out with LFADS.")
    if missing := missing_compiler(device):
        raise ConfigError(f"compile=true needs {missing}; install it, or leave compile out.")
    model.backbone.compile(mode="reduce-overhead" if device.type == "cuda" else None)


def missing_compiler(
    device: torch.device, which: Callable[[str], str | None] = shutil.which
) -> str:
    """What the machine lacks to compile for a device, in words; empty if nothing."""
    if device.type == "cuda":
        return "" if importlib.util.find_spec("triton") else "the package triton"
    names = (os.environ["CXX"],) if "CXX" in os.environ else COMPILERS
    return "" if any(which(name) for name in names) else f"a C++ compiler ({' or '.join(names)})"
