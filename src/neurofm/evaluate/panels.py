"""Arrays that the page draws, written while scoring: windows, units, embeddings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm import files
from neurofm.data import binning
from neurofm.data.recording import Recording
from neurofm.evaluate import metrics
from neurofm.evaluate.anatomy import Told
from neurofm.evaluate.keep import slug
from neurofm.evaluate.metrics import BlockScores
from neurofm.evaluate.score import Answers, Scored
from neurofm.model.checkpoint import Trained

SHOWN_S = 10.0


def save_recording(folder: Path, recording: Recording, scored: Scored, bin_s: float) -> None:
    """A held-out window and the units' scores of one recording, from its co-smoothing answers."""
    assert scored.answers is not None
    name, scores = slug(recording.id), scored.scores
    rates = np.full(len(recording.channels), np.nan)
    bps, d2 = rates.copy(), rates.copy()
    rows = np.flatnonzero(np.isin(recording.channels.id, scores.unit))
    bps[rows], d2[rows] = metrics.per_unit(scores), _d2(scores)
    counts = scored.answers.counts
    rates[rows] = counts.mean(axis=0)[rows] / bin_s
    about = {"recording": np.array(recording.id), "channel_id": recording.channels.id,
             "region": recording.channels.region}  # fmt: skip
    _write(folder / f"units-{name}.npz", about | {"rate_hz": rates, "bps": bps, "d2": d2})
    window = _window(recording, scored.answers, bin_s)
    _write(folder / f"window-{name}.npz", about | window | {"unit_bps": bps})


def _window(recording: Recording, answers: Answers, bin_s: float) -> dict[str, NDArray[Any]]:
    """Ten lively seconds; gaps of the recording are kept, with rates of NaN.

    Three quarters of all windows hold fewer spikes: the busiest ones are often artefacts.
    """
    at = answers.bin - answers.bin[0]
    length = min(round(SHOWN_S / bin_s), int(at[-1]) + 1)
    spikes = np.zeros(at[-1] + 1)
    spikes[at] = answers.counts.sum(axis=1, dtype=np.int64)
    total = np.concatenate([[0], np.cumsum(spikes)])
    held = total[length:] - total[:-length]
    start = int(np.argmin(np.abs(held - np.quantile(held, 0.75))))
    inside = (at >= start) & (at < start + length)
    shape = (length, answers.counts.shape[1])
    counts, rates = np.zeros(shape, dtype=np.uint32), np.full(shape, np.nan, dtype=np.float32)
    counts[at[inside] - start] = answers.counts[inside]
    rates[at[inside] - start] = answers.rates[inside]
    first = int(answers.bin[0]) + start
    out = {"counts": counts, "rates": rates, "bin_s": np.array(bin_s),
           "start_s": np.array(first * bin_s)}  # fmt: skip
    for name, signal in recording.signals.items():
        out[f"signal_{name}"] = binning.signal(signal, first, first + length, bin_s)
    return out


def _d2(scores: BlockScores) -> NDArray[np.float64]:
    model, null, full = (
        part.sum(axis=0) for part in (scores.ll_model, scores.ll_null, scores.ll_saturated)
    )
    return np.asarray((model - null) / np.where(full > null, full - null, np.nan))


def save_embeddings(
    folder: Path, trained: Trained, recordings: Sequence[Recording], sessions: NDArray[Any]
) -> None:
    """The read-out rows of all units and the mean latents of sessions (S, D), in two dimensions."""
    rows = trained.model.read_out.rows
    where = next(trained.model.parameters()).device
    units = []
    for recording in recordings:
        context = trained.context(recording).to(where)
        units.append(rows(context).detach().cpu().numpy())
    sizes = [len(part) for part in units]
    out = {
        "unit_xy": _plane(np.concatenate(units)),
        "unit_region": np.concatenate([r.channels.region for r in recordings]),
        "unit_recording": np.repeat([r.id for r in recordings], sizes),
        "unit_subject": np.repeat([r.subject for r in recordings], sizes),
        "session_xy": _plane(sessions),
        "session_id": np.array([r.id for r in recordings]),
        "session_subject": np.array([r.subject for r in recordings]),
    }
    _write(folder / "embeddings.npz", out)


def save_anatomy(folder: Path, told: Mapping[str, Told]) -> None:
    """Which regions were told for which, (predictors, R, R), rows being the true ones."""
    first = next(iter(told.values()))
    out = {
        "predictor": np.array(list(told)),
        "region": np.array(first.regions),
        "confusion": np.stack([one.confusion for one in told.values()]),
        "chance": np.array([one.chance for one in told.values()]),
        "n_animals": np.array(len(np.unique(first.subject))),
    }
    _write(folder / "anatomy.npz", out)


def _plane(rows: NDArray[Any]) -> NDArray[np.float64]:
    """The first two principal components, (n, 2); zeros where there are fewer."""
    centred = rows.astype(np.float64) - rows.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(rows), 2))
    kept = min(2, len(s))
    plane[:, :kept] = u[:, :kept] * s[:kept]
    return plane


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
