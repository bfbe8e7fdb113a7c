"""neurofm: foundation models of neural recordings, for an ordinary lab.

The public names load on first use, so that importing the package loads no torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Channels": "neurofm.data.recording",
    "Events": "neurofm.data.recording",
    "Intervals": "neurofm.data.intervals",
    "NeurofmError": "neurofm.errors",
    "Recording": "neurofm.data.recording",
    "Result": "neurofm.results",
    "Run": "neurofm.run",
    "Samples": "neurofm.data.recording",
    "Signal": "neurofm.data.recording",
    "Table": "neurofm.data.recording",
    "Window": "neurofm.data.windows",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"neurofm has no public name {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
