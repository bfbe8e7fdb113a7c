"""What the figures share: colours, labels, and the way they become images.

matplotlib is an extra and is imported when a figure is drawn, never on import.
"""

import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError, clean
from neurofm.report.tables import Grid, shorten

# Okabe and Ito (2008), distinct for every common kind of colour vision
MODEL_BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
CATEGORIES = (MODEL_BLUE, "#E69F00", GREEN, "#CC79A7", "#56B4E9", VERMILLION, "#F0E442", "#000000")
OTHER, INK, FAINT = "#8c8c8c", "#1a1a1a", "#d9d9d9"
MARKERS = "osD^vPX*"
WIDTH_IN, DPI = 9.2, 130

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "text.parse_math": False,  # names of units and files may hold a dollar sign
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Drawn:
    """A figure: PNG bytes, the text that stands in for it, and the numbers in it."""

    png: bytes
    alt: str
    grid: Grid


def need(module: str) -> None:
    """Raise InputError with the remedy if a module of the extra `report` is not installed."""
    try:
        __import__(module)
    except ImportError:
        raise InputError(
            f"The page needs {module}, which is not installed; run `pip install 'neurofm[report]'`."
        ) from None


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw with our own settings, whatever the user's matplotlibrc says."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        need("matplotlib")
        import matplotlib as mpl

        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(STYLE)
            return draw(*args, **kwargs)

    return wrapper


def sheet(height_in: float) -> Any:
    """An empty figure of the page's width, apart from pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def finish(figure: Any, alt: str, grid: Grid) -> Drawn:
    """The figure as PNG with a palette of 256 colours, a third of the size of full colour."""
    from PIL import Image

    figure.canvas.draw()
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[:, :, :3].copy())
    few = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    few.save(buffer, format="png", optimize=True)
    return Drawn(buffer.getvalue(), clean(alt), grid)


@functools.lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return frozenset(font.get_charmap())


def label(text: object, n: int = 24) -> str:
    """A name as it can be drawn: short, and a box for each character that the font lacks."""
    return "".join(c if ord(c) in _glyphs() else "□" for c in shorten(text, n))


def labels(names: Sequence[str], n: int = 24) -> list[str]:
    """Drawable names that stay different."""
    from neurofm.report.tables import distinct

    return [label(name, n + 8) for name in distinct(names, n)]


def ranked(values: NDArray[Any], n: int = len(CATEGORIES)) -> list[str]:
    """The names in an array, the commonest first, at most `n`."""
    names, counts = np.unique(values.astype(str), return_counts=True)
    order = np.lexsort((names, -counts))
    return [str(name) for name in names[order][:n]]


def smooth(values: NDArray[Any], sd_bins: float) -> NDArray[np.float64]:
    """Gaussian smoothing along the first axis; weights are renormalised at the ends."""
    reach = max(int(np.ceil(3 * sd_bins)), 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd_bins) ** 2)
    columns = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    whole = np.convolve(np.ones(len(columns)), kernel)[reach : reach + len(columns)]
    out = [np.convolve(c, kernel)[reach : reach + len(columns)] / whole for c in columns.T]
    return np.stack(out, axis=1).reshape(np.shape(values)) if out else columns
