"""Which segment of speech was it? A simulator that leaks muscle, hours of training, and FEIS, which is a null.

    python benchmarks/retrieval.py --out DIR [--data DATA] [--only controls|hours|feis] [--record]

DATA holds `eeg-feis`; without it that part is left out. What is done is kept in DIR, so that it goes
on after a stop. `--record` writes `results/retrieval.json` and `results/retrieval.png`, once all is there.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neurofm import files
from neurofm.data.log_mel import log_mel
from neurofm.data.segments import Segments, cut, prove_apart
from neurofm.data.synthetic_speech import SpeechConfig, simulate_speech
from neurofm.evaluate.retrieval import (
    EEG,
    NOISE,
    SHUFFLED,
    Policy,
    Ranks,
    evaluate,
    inputs,
    ranks,
    results,
    shuffled,
)
from neurofm.results import Result
from neurofm.train.retrieval import Fitted, RetrievalConfig, emg_pattern, fit, without_muscle

LENGTH_S, FRAMES = 3.0, 24
SEEDS = (0, 1)
CASES = {"brain and muscle": (0.1, 0.2), "muscle alone": (0.0, 0.2), "brain alone": (0.1, 0.0)}
WAYS = {
    "plain": (0.0, False),
    "EMG mixed in": (0.95, False),
    "EMG taken out, mixed in": (0.95, True),
}
TRAIN_MIN, VALID_MIN, TEST_MIN = 20.0, 5.0, 25.6
HOURS_CASE = (0.07, 0.14)
HOURS_MIN = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
POLICY = Policy(n=512)
FEIS_POLICY = Policy(n=16, same_session=True, block_s=0.0, top=(1, 5))
FOLDS = 5
LEAK = 0.08  # top-1 of 16 on FEIS, chance 0.0625
RESULTS = Path(__file__).parent / "results"
Rows = list[dict[str, Any]]


def speech(minutes: float, planted: tuple[float, float], seed: int, session: str) -> Segments:
    config = SpeechConfig(minutes=minutes, eeg=planted[0], leak=planted[1])
    return cut(simulate_speech(config, seed, session), LENGTH_S, target="mel", frames=FRAMES)


def simulated(
    minutes: float,
    planted: tuple[float, float],
    way: tuple[float, bool],
    seed: int,
    alone: bool = True,
) -> Rows:
    """Every row of one trained model, and its answers where only one of brain and muscle is there."""
    emg_max, takes_out = way
    train, valid, test = (
        speech(m, planted, seed, name)
        for m, name in ((minutes, "train"), (VALID_MIN, "valid"), (TEST_MIN, "test"))
    )
    pattern = emg_pattern(train)

    def seen(segments: Segments) -> Segments:
        return without_muscle(segments, pattern) if takes_out else segments

    config = RetrievalConfig(steps=300, emg_max=emg_max, seed=seed, check_every=25)
    fitted = fit(seen(train), seen(valid), config, pattern=pattern)
    rows = evaluate(fitted, seen(test), POLICY, seed=seed)
    if alone:
        rows += parts_alone(fitted, test, planted, seen, seed)
    about = {"step": fitted.step, "n_train": len(train), "parts": fitted.parts}
    return [r.record() | about for r in rows]


def parts_alone(
    fitted: Fitted,
    test: Segments,
    planted: tuple[float, float],
    seen: Callable[[Segments], Segments],
    seed: int,
) -> list[Result]:
    """The same test, simulated without the leak and without the brain."""
    brain = speech(TEST_MIN, (planted[0], 0.0), seed, "test")  # no muscle in it to take out
    leak = seen(speech(TEST_MIN, (0.0, planted[1]), seed, "test"))
    aimed, out = fitted.aim(test.target), []
    for name, part in (("only the brain", brain), ("only the leak", leak)):
        found = ranks(fitted.embed(part.eeg), test, aimed, test, POLICY)
        out += results(found, test, POLICY, seed, name)
    return out


def feis(data: Path) -> Segments:
    """All trials of all people: fixation of 1 s before a phoneme, and its sound as that person heard it."""
    with np.load(data / "eeg-feis" / "feis_fixation_eeg_128hz.npz") as file:
        a = {name: file[name] for name in file.files}
    with np.load(data / "eeg-feis" / "feis_audio_16khz.npz") as file:
        sound = {(p, k): w for p, k, w in zip(file["participant"].tolist(), file["label"].tolist(),
                                              file["audio"] / 2**15, strict=True)}  # fmt: skip
    order = np.lexsort((a["epoch"], a["participant"]))
    person, label = a["participant"][order], a["label"][order]
    heard = {who: 4 if who == 5 else who for who in np.unique(person).tolist()}
    mel = {key: log_mel(w, 16_000, n_mels=20).reshape(10, 10, 20).mean(axis=1)
           for key, w in sound.items()}  # fmt: skip
    place = np.concatenate([np.arange((person == p).sum()) for p in np.unique(person)])
    return Segments.of(
        a["eeg"][order].transpose(0, 2, 1) * np.float32(0.25),
        np.stack([mel[heard[p], k] for p, k in zip(person.tolist(), label.tolist(), strict=True)]),
        length_s=1.0,
        item=[f"p{p:02d}/{k:02d}" for p, k in zip(person, label, strict=True)],
        session=[f"p{p:02d}" for p in person],
        subject=[f"p{p:02d}" for p in person],
        start_s=place.astype(float),
        channel=a["ch_names"],
    )


def folds(whole: Segments) -> Iterator[tuple[Segments, Segments]]:
    """(train, test): a fifth of each person's trials in a row, one trial on each side left out."""
    count = {p: int((whole.session == p).sum()) for p in np.unique(whole.session).tolist()}
    n = np.array([count[p] for p in whole.session.tolist()])
    for k in range(FOLDS):
        low, high = k * n // FOLDS, (k + 1) * n // FOLDS
        test = (whole.start_s >= low) & (whole.start_s < high)
        near = (whole.start_s >= low - 1) & (whole.start_s < high + 1)
        train, asked = whole.take(~near), whole.take(test)
        prove_apart(train, asked, 1.0)
        yield train, asked


def null(whole: Segments, steps: int, change: Callable[[Segments], Segments], seed: int) -> Rows:
    """Top-1 and top-5 of 16 over all folds of these people: EEG, noise, and EEG of other trials."""
    found: dict[str, list[Ranks]] = {EEG: [], NOISE: [], SHUFFLED: []}
    asked = []
    for train, test in folds(whole):
        fitted = fit(change(train), None, RetrievalConfig(steps=steps, seed=seed))
        aimed = fitted.aim(whole.target)
        told = {row: fitted.embed(x) for row, x in inputs(fitted, test, seed).items()}
        told[SHUFFLED] = told[EEG][np.roll(np.arange(len(test)), len(test) // 2)]
        for row, answer in told.items():
            found[row].append(ranks(answer, test, aimed, whole, FEIS_POLICY))
        asked.append(test)
    return [
        {"row": row, "subject": s.subject.tolist(), **{k: v.tolist() for k, v in vars(r).items()}}
        for row, some in found.items()
        for s, r in zip(asked, some, strict=True)
    ]


def planted_leak(whole: Segments) -> Segments:
    """The first electrode is given a faint copy of the sound's loudness, as crosstalk would."""
    loud = whole.target.mean(axis=2)
    loud = (loud - loud.mean(axis=1, keepdims=True)) / loud.std(axis=1, keepdims=True)
    wave = np.repeat(loud, 13, axis=1)[:, : whole.eeg.shape[1]]
    eeg = whole.eeg.copy()
    eeg[:, :, 0] += 0.5 * np.median(np.abs(eeg[:, :, 0])) * wave
    return replace(whole, eeg=eeg)


def pooled(pieces: list[Rows], name: str) -> list[Result]:
    """Results over people of what `null` found, people resampled."""
    out = []
    for row in (EEG, NOISE, SHUFFLED):
        rows = [r for piece in pieces for r in piece if r["row"] == row]
        parts = {
            k: np.concatenate([np.array(r[k]) for r in rows]) for k in ("above", "equal", "others")
        }
        subject = np.concatenate([np.array(r["subject"]) for r in rows])
        n = len(subject)
        asked = Segments.of(np.zeros((n, 1, 1)), np.zeros((n, 1)), length_s=1.0, subject=subject,
                            session=subject)  # fmt: skip
        out += results(Ranks(**parts), asked, FEIS_POLICY, 0, f"{name}, {row}")
    return out


def jobs(data: Path | None) -> dict[str, Callable[[], Rows]]:
    """Every piece of work by its name; each is a minute or less."""
    out: dict[str, Callable[[], Rows]] = {}
    for seed in SEEDS:
        for case, planted in CASES.items():
            for told, way in WAYS.items():
                out[f"controls-{case}-{told}-{seed}"] = lambda p=planted, w=way, s=seed: simulated(
                    TRAIN_MIN, p, w, s
                )
        for minutes in HOURS_MIN:
            out[f"hours-{minutes:g}-{seed}"] = lambda m=minutes, s=seed: simulated(
                m, HOURS_CASE, WAYS["EMG taken out, mixed in"], s, alone=False
            )
    if data is not None and (data / "eeg-feis").is_dir():
        whole = feis(data)
        for person in np.unique(whole.session).tolist():
            own = whole.take(whole.session == person)
            out[f"feis-own-{person}"] = lambda o=own: null(o, 50, lambda s: s, 0)
        out["feis-all"] = lambda: null(whole, 200, lambda s: s, 0)
        out["feis-shuffled"] = lambda: null(whole, 200, shuffled, 0)
        out["feis-leak"] = lambda: null(planted_leak(whole), 200, lambda s: s, 0)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--record", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    done = {}
    for name, work in jobs(asked.data).items():
        path = asked.out / f"{name.replace(' ', '-')}.json"
        if name.startswith(asked.only) and not path.exists():
            files.write_json(path, work())
            print(name, flush=True)
        if path.exists():
            done[name] = files.read_json(path)
    if asked.record:
        from retrieval_figure import record

        own = [rows for name, rows in done.items() if name.startswith("feis-own")]
        null_rows = {"own": pooled(own, "own")} | {
            name: pooled([done[f"feis-{name}"]], name) for name in ("all", "shuffled", "leak")
        }
        record(done, null_rows)
        for r in [*null_rows["own"], *null_rows["all"]]:
            if r.metric == "top_1_of_16" and r.value > LEAK:
                raise SystemExit(f"{r.predictor}: top-1 {r.value:.3f} on a null; something leaks.")


if __name__ == "__main__":
    main()
