"""Task-driven encoding on three small real sets, against the bars in their notes.

`python benchmarks/encoding_real.py --data DATA --out benchmarks/results/encoding-real.json`, one core. Similarity of 92
object images in human and monkey cortex (`rsa-92images`); voxels of V1 to V3 from 100 handwritten digits, each seen
once (`fmri-digits69`); four neurons of macaque V1 and 9,500 patterns (`v1-macaque-patterns`). Features are computed here
(luminance, pixels, Gabor energies, labels); those of a network go in as further bands.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neurofm import files
from neurofm.evaluate import banded, bayes, rsa
from neurofm.evaluate.metrics import Floats, bounds, resamples
from neurofm.results import Result
from neurofm.seeding import generator

SEED, N_BOOT = 0, 1000
Bands = dict[str, Floats]


def row(task: str, predictor: str, metric: str, value: float, limits: tuple[float, float],
        n: int, unit_of_n: str, recording: str, null: str = "") -> Result:  # fmt: skip
    made = Result(predictor=predictor, task=f"encode:{task}", recording=recording, split="test", metric=metric,
                  value=value, low=limits[0], high=limits[1], n=n, null=null, seed=SEED,
                  unit_of_n=unit_of_n)  # fmt: skip
    print(
        f"{made.task:22} {predictor:26} {metric:26} {value:7.3f} [{limits[0]:.3f}, {limits[1]:.3f}] n {n}"
    )
    return made


# ------------------------------------------------------------------------------------- similarity


def similarity(data: Path) -> list[Result]:
    """Spearman with each subject, mean; both bounds of the ceiling; Kendall's tau a beside it."""
    folder = data / "rsa-92images"
    models = rsa_models(folder)
    out = []
    for target, subjects in rsa_targets(folder).items():
        for bound, value in zip(("lower", "upper"), rsa.noise_ceiling(subjects), strict=True):
            out.append(row(target, f"ceiling, {bound}", "spearman", value, (value, value),
                           len(subjects), "subjects", "rsa-92images"))  # fmt: skip
        for name, model in models.items():
            s = rsa.similarity(subjects, model, n_boot=200, seed=SEED)
            out.append(
                row(
                    target,
                    name,
                    "spearman",
                    s.value,
                    (s.low, s.high),
                    s.n,
                    s.unit_of_n,
                    "rsa-92images",
                )
            )
            tau = float(np.mean([rsa.kendall_tau_a(subject, model) for subject in subjects]))
            out.append(row(target, name, "kendall_tau_a", tau, (np.nan, np.nan), s.n, s.unit_of_n,
                           "rsa-92images"))  # fmt: skip
    return out


def loaded(path: Path) -> Any:
    from scipy.io import loadmat

    return loadmat(path, squeeze_me=True)


def rsa_targets(folder: Path) -> Bands:
    brain = loaded(folder / "92_brainRDMs.mat")["RDMs"]["RDM"]
    human = np.array([np.mean([rsa.upper(s) for s in subject], axis=0) for subject in brain])
    cichy = np.load(folder / "cichy2014_fmri_rdms_15subj.npz")
    return {"human IT, 4 subjects": human,
            "IT, 15 subjects": np.array([rsa.upper(s) for s in cichy["IT"]]),
            "early visual, 15 subjects": np.array([rsa.upper(s) for s in cichy["EVC"]])}  # fmt: skip


def rsa_models(folder: Path) -> Bands:
    extra = loaded(folder / "Kriegeskorte_Neuron2008_supplementalData.mat")
    images = np.stack([im.astype(float).mean(axis=2) for im in extra["stimuli_92objs"]["image"]])
    small = images[:, 4:172, 4:172].reshape(92, 28, 6, 28, 6).mean(axis=(2, 4)) / 255
    colour = np.stack(list(extra["stimuli_92objs"]["image"])).astype(float)
    animate = extra["categoryVectors"][:, 0].astype(float)
    plain = loaded(folder / "rdm92_V1model.mat")
    behaviour = loaded(folder / "92_behavRDMs.mat")["rdms_behav_92"]["RDM"]
    monkey = extra["RDMs_mIT_hIT_fig1"]["RDM"][0]
    return {"pixels": rsa.dissimilarity(colour.reshape(92, -1)),
            "Gabor energies": rsa.dissimilarity(np.concatenate(list(gabor(small).values()), axis=1)),
            "V1 model": rsa.upper(plain["rdm92_V1model"]),
            "HMAX": rsa.upper(plain["rdm92_HMAXnatImPatch"]),
            "animacy": rsa.upper(animate[:, None] != animate),
            "behaviour, 16 people": np.mean([rsa.upper(b) for b in behaviour], axis=0),
            "monkey IT": np.asarray(monkey, dtype=float)}  # fmt: skip


def gabor(images: Floats, waves: Sequence[float] = (3.0, 5.0, 8.0), n_angles: int = 8) -> Bands:
    """{name: (n, places x angles)} root energies of Gabor pairs of each wavelength (pixels), thinned by half a wave."""
    from scipy.signal import fftconvolve

    out = {}
    for wave in waves:
        reach = int(np.ceil(wave))
        v, h = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        every = max(round(wave / 2), 1)
        parts = []
        for angle in np.arange(n_angles) * np.pi / n_angles:
            phase = 2 * np.pi / wave * (h * np.cos(angle) + v * np.sin(angle))
            window = np.exp(-0.5 * (h**2 + v**2) / (0.45 * wave) ** 2)
            pair = window * np.cos(phase), window * np.sin(phase)
            pair = pair[0] - window * pair[0].sum() / window.sum(), pair[1]  # blind to luminance
            energy = sum(fftconvolve(images, p[None], mode="same", axes=(1, 2)) ** 2 for p in pair)
            parts.append(np.sqrt(energy)[:, ::every, ::every].reshape(len(images), -1))
        out[f"Gabor, {wave:g} px"] = np.concatenate(parts, axis=1)
    return out


# ------------------------------------------------------------------------------------- digits


def digits(data: Path) -> list[Result]:
    """10 stratified folds: each is the test once, the next one validates, eight train."""
    m = loaded(data / "fmri-digits69" / "digit69_28x28.mat")
    y = np.concatenate([m["fmriTrn"], m["fmriTest"]])
    label = np.concatenate([m["labelTrn"], m["labelTest"]]).astype(int)
    images = (
        np.concatenate([m["stimTrn"], m["stimTest"]]).reshape(-1, 28, 28).transpose(0, 2, 1) / 255.0
    )
    bands: Bands = {"pixels": images.reshape(len(y), -1), "digit": (label[:, None] == 1) * 1.0,
                    "Gabor": np.concatenate(list(gabor(images, (4.0, 8.0)).values()), axis=1)}  # fmt: skip
    fold = np.empty(len(y), dtype=int)
    for kind in np.unique(label):
        of = generator(SEED, "folds", int(kind)).permutation(np.flatnonzero(label == kind))
        fold[of] = np.arange(len(of)) % 10
    sets = {
        "digit": ["digit"],
        "pixels": ["pixels"],
        "Gabor": ["Gabor"],
        "banded, all three": list(bands),
    }
    out = []
    for name, chosen in sets.items():
        told, spread, shares = folded({k: bands[k] for k in chosen}, y, fold)
        out += voxel_rows(name, told, y)
        out += identified(name, told, spread, y, label, fold)
        out += [row("digits", name, f"share of variance, {band}", float(np.median(v[top(told, y)])),
                    (np.nan, np.nan), int(top(told, y).sum()), "voxels", "fmri-digits69")
                for band, v in shares.items() if len(shares) > 1]  # fmt: skip
    return out


def folded(bands: Bands, y: Floats, fold: np.ndarray) -> tuple[Floats, Floats, Bands]:
    """(predicted (n, C), deviation of residuals on validation (10, C), shares of variance by band)."""
    told, spread = np.empty_like(y), np.empty((10, y.shape[1]))
    parts = {k: np.empty_like(y) for k in bands}
    for k in range(10):
        test, valid = fold == k, fold == (k + 1) % 10
        train = ~(test | valid)
        cut = [({n: v[rows] for n, v in bands.items()}, y[rows]) for rows in (train, valid)]
        made = banded.fit(*cut, n_draws=6, seed=SEED)
        at = {n: v[test] for n, v in bands.items()}
        told[test] = made.predict(at)
        for n, part in made.parts(at).items():
            parts[n][test] = part
        spread[k] = np.sqrt(((y[valid] - made.predict(cut[1][0])) ** 2).mean(axis=0))
    return told, spread, banded.variance_shares(y, parts)


def correlations(told: Floats, y: Floats) -> Floats:
    a, b = told - told.mean(axis=0), y - y.mean(axis=0)
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.asarray((a * b).sum(axis=0) / np.where(size > 0, size, np.inf))


def top(told: Floats, y: Floats) -> np.ndarray:
    r = correlations(told, y)
    return r >= np.percentile(r, 95)


def voxel_rows(name: str, told: Floats, y: Floats) -> list[Result]:
    """Percentiles over voxels; no interval, since resampled stimuli spread voxels out and push percentiles away."""
    r = correlations(told, y)
    spots = (("median", 50), ("75th percentile", 75), ("95th percentile", 95), ("highest", 100))
    return [row("digits", name, f"voxel r, {label}", float(np.percentile(r, q)), (np.nan, np.nan), len(y),
                "stimuli", "fmri-digits69") for label, q in spots]  # fmt: skip


def again(n: int, n_boot: int = 200) -> list[np.ndarray]:
    return [np.repeat(np.arange(n), w.astype(int)) for w in resamples(n, n_boot, SEED, "digits")]


def identified(
    name: str, told: Floats, spread: Floats, y: Floats, label: np.ndarray, fold: np.ndarray
) -> list[Result]:
    """Which of the ten images of a fold was seen, by Bayes with a Gaussian of the validation residuals."""
    right, pairs, within = np.zeros(len(y)), np.zeros(len(y)), np.zeros(len(y))
    for k in range(10):
        rows = np.flatnonzero(fold == k)
        good = correlations(told[fold != k], y[fold != k]) > 0.2  # voxels chosen without this fold
        if not good.any():
            good[:] = True
        evidence = bayes.gaussian_evidence(y[rows][:, good], told[rows][:, good], spread[k, good])
        own = np.diag(evidence)[:, None]
        beats = np.where(np.isclose(evidence, own), 0.5, evidence < own)
        np.fill_diagonal(beats, np.nan)
        same = label[rows][:, None] == label[rows]
        right[rows] = np.isclose(evidence, evidence.max(axis=1, keepdims=True))[
            np.arange(10), np.arange(10)
        ]
        right[rows] /= np.isclose(evidence, evidence.max(axis=1, keepdims=True)).sum(axis=1)
        pairs[rows] = np.nanmean(beats, axis=1)
        within[rows] = np.nanmean(np.where(same, beats, np.nan), axis=1)
    out = []
    for metric, v in (("top-1 of 10", right), ("two-way", pairs), ("two-way within digit", within)):
        limits = bounds(resamples(len(v), N_BOOT, SEED, "digits") @ v / len(v))
        out.append(
            row("digits", name, metric, float(v.mean()), limits, len(v), "stimuli", "fmri-digits69")
        )
    return out


# ------------------------------------------------------------------------------------- patterns


def patterns(data: Path) -> list[Result]:
    """6,100 patterns train, 1,500 validate, 1,900 test, drawn at random: none occurs twice."""
    folder = data / "v1-macaque-patterns"
    images = np.load(folder / "patterns_40x40_uint8.npz")["images"].astype(np.float32) / 255
    small = images.reshape(-1, 20, 2, 20, 2).mean(axis=(2, 4))
    y = np.load(folder / "responses_4neurons.npz")["responses"].astype(np.float64)
    bands: Bands = {
        "luminance": small.mean(axis=(1, 2))[:, None],
        "pixels": small.reshape(len(y), -1),
        **gabor(small),
    }
    order = generator(SEED, "patterns").permutation(len(y))
    cut = {"train": order[:6100], "valid": order[6100:7600], "test": order[7600:]}
    waves = [n for n in bands if n.startswith("Gabor")]
    sets = {"luminance": ["luminance"], "pixels": ["pixels"], **{n: [n] for n in waves},
            "one penalty, all bands": ["joined"], "banded, all bands": list(bands)}  # fmt: skip
    scaled = [
        (v - v.mean(axis=0)) / max(v.std(), 1e-9) / np.sqrt(v.shape[1]) for v in bands.values()
    ]
    every: Mapping[str, Floats] = bands | {"joined": np.concatenate(scaled, axis=1)}
    out = []
    for name, chosen in sets.items():
        sides = [
            ({k: every[k][cut[s]] for k in chosen}, y[cut[s]]) for s in ("train", "valid", "test")
        ]
        made = banded.fit(*sides[:2], n_draws=6, seed=SEED)
        told, seen = made.predict(sides[2][0]), sides[2][1]
        drawn = [correlations(told[w], seen[w]).mean() for w in again(len(seen))]
        r = correlations(told, seen)
        out.append(row("patterns", name, "r, mean of 4", float(r.mean()), bounds(np.array(drawn)), len(seen),
                       "stimuli", "v1-macaque-patterns"))  # fmt: skip
        out += [row("patterns", name, f"r, neuron {i}", float(v), (np.nan, np.nan), len(seen), "stimuli",
                    "v1-macaque-patterns") for i, v in enumerate(r)]  # fmt: skip
        if len(chosen) > 1:
            shares = banded.variance_shares(seen, made.parts(sides[2][0]))
            out += [row("patterns", name, f"share of variance, {k}", float(v.mean()), (np.nan, np.nan),
                        len(seen), "stimuli", "v1-macaque-patterns") for k, v in shares.items()]  # fmt: skip
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="similarity,digits,patterns")
    asked = parser.parse_args(arguments)
    parts = {"similarity": similarity, "digits": digits, "patterns": patterns}
    known = files.read_json(asked.out)["results"] if asked.out.exists() else []
    for name in asked.only.split(","):
        began = time.process_time()
        made = [r.record() for r in parts[name](asked.data)]
        known = [r for r in known if r["recording"] != made[0]["recording"]] + made
        print(f"{name}: {time.process_time() - began:.0f} s of CPU", flush=True)
    files.write_json(asked.out, {"date": time.strftime("%Y-%m-%d"), "hardware": "AMD EPYC Zen 4, one core",
                                 "command": __doc__.split("`")[1], "results": known})  # fmt: skip


if __name__ == "__main__":
    main()
