"""A pre-trained model inside scikit-learn: latents as a transformer, and decoders on them.

Arrays of counts come in, in the model's bins. X is (n, T, C), or a list of (T, C) of any lengths: n
windows, each a sample. Or it is (T, C), one stretch of successive bins, each a sample; split such
rows into contiguous blocks (`TimeSeriesSplit`), since neighbours in X are taken for neighbours in time.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        ClassNamePrefixFeaturesOutMixin,
        RegressorMixin,
        TransformerMixin,
        clone,
    )
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise ImportError(
        'neurofm.sklearn needs scikit-learn; install it with pip install "neurofm[eval]".'
    ) from error

from neurofm.data.recording import Channels, Recording
from neurofm.errors import InputError
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.task import Question
from neurofm.model import checkpoint
from neurofm.model.checkpoint import Trained
from neurofm.model.compose import compose
from neurofm.model.weights import Weights, read
from neurofm.pipeline import device_named
from neurofm.run import Run

__all__ = ["Decoder", "Embedder", "LabelDecoder", "SignalDecoder"]

Latents = NDArray[np.float32]


class Embedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Counts to latents of a frozen model: (n, T, C) -> (n, D), means over bins; (T, C) -> (T, D).

    `model`: a `Trained`, or a folder: a run, or shared weights. One or both of:
    `recording`: the id of a recording that the model was trained on; the columns of X are its
    channels, with the rates measured then. `channels`: ids of the columns of X. Without
    `recording`, each channel's mean and spread are measured on the X that is given to `fit`.
    `bin_s`: the bin width of X in seconds, to be checked against the model's; None trusts it.
    `device`: auto, cpu, cuda or mps. Nothing else is fitted.

    Fitted: `trained_`, `channels_` (C,), `bin_s_`, `n_features_in_` C.
    """

    def __init__(
        self,
        model: Trained | Path | str | None = None,
        *,
        recording: str | None = None,
        channels: Sequence[str] | None = None,
        bin_s: float | None = None,
        device: str = "cpu",
    ) -> None:
        self.model = model
        self.recording = recording
        self.channels = channels
        self.bin_s = bin_s
        self.device = device

    def fit(self, X: Any, y: Any = None) -> "Embedder":  # noqa: ARG002  (scikit-learn's signature)
        """Find the channels' rows and, without `recording`, measure the channels.

        Raises InputError if the model has no row for a channel, or X is not counts of its channels.
        """
        trained = _opened(self.model)
        bin_s = float(trained.config["bin_s"])
        if self.bin_s is not None and abs(self.bin_s - bin_s) > 1e-9:
            raise InputError(f"The model has bins of {bin_s:g} s and bin_s is {self.bin_s:g}; "
                             "bin X anew.")  # fmt: skip
        ids = _ids(trained, self.recording, self.channels)
        pieces = _pieces(X, len(ids))
        about = Recording.from_arrays(
            self.recording or "X",
            counts=np.concatenate(pieces).astype(np.uint32),
            bin_s=bin_s,
            channel_id=ids,
        )
        if self.recording is None:
            trained = compose(Weights.of(trained), recordings=[about]).trained
        self.trained_ = trained
        self.channels_ = about.channels.id
        self.bin_s_ = bin_s
        self.n_features_in_ = len(ids)
        self._direct = Direct.of(trained, about, device_named(self.device))
        return self

    def transform(self, X: Any) -> Latents:
        """Latents: (n, D) of windows, their mean over bins, or (T, D) of one stretch."""
        check_is_fitted(self)
        latents = self._direct.latents([self._question(x) for x in _pieces(X, self.n_features_in_)])
        if _is_stretch(X):
            return np.asarray(latents[0], dtype=np.float32)
        return np.stack([z.mean(axis=0) for z in latents]).astype(np.float32)

    def _question(self, counts: NDArray[Any]) -> Question:
        none = np.broadcast_to(np.zeros((1, 1), dtype=bool), counts.shape)
        channels = Channels.of(self.channels_)
        return Question("latents", 0, "X", 0, self.bin_s_, channels, counts, none, none)

    @property
    def _n_features_out(self) -> int:
        return int(self.trained_.model.config.backbone.width)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.positive_only = True
        return tags


class Decoder(BaseEstimator):  # type: ignore[misc]
    """Latents, then any scikit-learn estimator on them: `Decoder(Embedder(...), head)`.

    `LabelDecoder` and `SignalDecoder` bring a linear head of their own. Fitted: `embedder_`,
    `head_`.
    """

    def __init__(self, embedder: Embedder | None = None, head: Any = None) -> None:
        self.embedder = embedder
        self.head = head

    def fit(self, X: Any, y: ArrayLike) -> "Decoder":
        """Fit the head to latents of X; y has a row a window or, if X is (T, C), a row a bin."""
        head = self._head()
        if self.embedder is None or head is None:
            raise InputError("A Decoder needs an Embedder and a head, e.g. Decoder(Embedder(run, "
                             "recording=...), LogisticRegression()).")  # fmt: skip
        self.embedder_ = clone(self.embedder).fit(X)
        self.head_ = head.fit(self.embedder_.transform(X), y)
        self.n_features_in_ = self.embedder_.n_features_in_
        return self

    def predict(self, X: Any) -> Any:
        """What the head says of latents of X."""
        check_is_fitted(self)
        return self.head_.predict(self.embedder_.transform(X))

    def score(self, X: Any, y: ArrayLike) -> float:
        """The head's own score: accuracy of a classifier, R² of a regressor."""
        check_is_fitted(self)
        return float(self.head_.score(self.embedder_.transform(X), y))

    def _head(self) -> Any:
        return None if self.head is None else clone(self.head)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if getattr(self, "head", None) is not None:
            of_head = self.head.__sklearn_tags__()
            tags.estimator_type = of_head.estimator_type
            tags.classifier_tags = of_head.classifier_tags
            tags.regressor_tags = of_head.regressor_tags
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        tags.input_tags.positive_only = True
        return tags


class LabelDecoder(ClassifierMixin, Decoder):  # type: ignore[misc]
    """Labels from latents by logistic regression of standardised latents; `C` as there."""

    def __init__(self, embedder: Embedder | None = None, C: float = 1.0) -> None:
        self.embedder = embedder
        self.C = C

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels, in the order of the columns of `predict_proba`."""
        return np.asarray(self.head_.classes_)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(n, labels) probabilities."""
        check_is_fitted(self)
        return np.asarray(self.head_.predict_proba(self.embedder_.transform(X)))

    def _head(self) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=self.C, max_iter=2000))


class SignalDecoder(RegressorMixin, Decoder):  # type: ignore[misc]
    """Signals, y (n,) or (n, k), from latents by ridge regression of standardised latents."""

    def __init__(self, embedder: Embedder | None = None, alpha: float = 1.0) -> None:
        self.embedder = embedder
        self.alpha = alpha

    def _head(self) -> Any:
        return make_pipeline(StandardScaler(), Ridge(alpha=self.alpha))


def _opened(model: Trained | Path | str | None) -> Trained:
    """The model itself, a run's best checkpoint, or shared weights."""
    if isinstance(model, Trained):
        return model
    if model is None:
        raise InputError("An Embedder needs a model: a Trained, a run's folder, or shared weights.")
    run = Run(Path(model))
    if run.checkpoints.is_dir():
        return checkpoint.load(checkpoint.best_intact(run.checkpoints))
    return compose(read(run.folder)).trained


def _ids(trained: Trained, recording: str | None, channels: Sequence[str] | None) -> list[str]:
    """The ids of X's columns, each with a row in the model; InputError if one has none."""
    known = trained.vocabulary
    if recording is not None:
        own = [name for where, name in known.sites if where == recording]
        if not own:
            there = sorted({where for where, _ in known.sites})
            raise InputError(f"The model was not trained on {recording!r}; it knows "
                             f"{', '.join(there[:5]) or 'no recording'}.")  # fmt: skip
    elif channels is None:
        raise InputError("An Embedder needs to know the columns of X: give channels=[ids], or the "
                         "recording=id of a recording that the model was trained on.")  # fmt: skip
    else:
        own = list(known.channels)
    wanted = own if channels is None else [str(name) for name in channels]
    if strange := [name for name in wanted if name not in set(own)]:
        raise InputError(
            f"{len(strange)} of {len(wanted)} channels have no row in the model: "
            f"{', '.join(strange[:5])}; leave them out, or adapt the model to them first."
        )
    return wanted


def _is_stretch(X: Any) -> bool:
    return getattr(X, "ndim", 0) == 2 or (bool(len(X)) and np.ndim(X[0]) == 1)


def _pieces(X: Any, n_channels: int) -> list[NDArray[Any]]:
    """X as (T, C) arrays of counts.

    Raises InputError if it is empty, has other channels, or holds what is no count.
    """
    X = np.asarray(X) if hasattr(X, "__array__") else X
    pieces = [np.asarray(X)] if _is_stretch(X) else [np.asarray(x) for x in X]
    if not pieces or not all(x.ndim == 2 and len(x) for x in pieces):
        raise InputError("X must be (n, T, C) or (T, C) counts, or a list of (T, C), none empty.")
    for x in pieces:
        if x.shape[1] != n_channels:
            raise InputError(f"X has {x.shape[1]} channels and the Embedder has {n_channels}.")
        if x.dtype.kind not in "uib" and not (
            x.dtype.kind == "f" and np.isfinite(x).all() and (x == np.round(x)).all()
        ):
            raise InputError("X holds what is no count; the model takes whole spike counts a bin, "
                             "not rates or scaled values.")  # fmt: skip
        if x.min() < 0:
            raise InputError("X holds negative numbers; the model takes spike counts a bin.")
    return pieces
