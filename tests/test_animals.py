"""`neurofm animals`: signals of animals left out, from their first minutes and the others."""

import json

import numpy as np
import pytest

from neurofm.animals import animals_store
from neurofm.cli import main
from neurofm.data.recording import Recording
from neurofm.data.store import create_store
from neurofm.errors import ConfigError, InputError

STEP_S, N_BINS = 0.5, 480  # four minutes
BRIEF = ["factors=4", "reach_s=1.0", "bins=1.0"]


def worm(name, seed, spoiled=None, step_s=STEP_S, **more) -> Recording:
    """Units that follow the integral of a signal, by weights of their own; others are noise.

    Targets of the `spoiled` [start, stop) bins are nonsense.
    """
    rng = np.random.default_rng(seed)
    speed = np.convolve(rng.standard_normal(N_BINS), np.hanning(9), "same")
    state = np.cumsum(speed - speed.mean())
    state /= state.std()
    slow = np.convolve(rng.standard_normal(N_BINS), np.hanning(40), "same")
    n_units = 8 + seed % 3
    mixed = np.outer(state, rng.standard_normal(n_units)) + np.outer(
        slow / slow.std(), rng.standard_normal(n_units)
    )
    traces = (mixed + 0.3 * rng.standard_normal(mixed.shape)).astype(np.float32)
    told = speed.copy()
    if spoiled:
        told[slice(*spoiled)] = 1e3 * np.random.default_rng(7).standard_normal()
    return Recording.from_arrays(
        name, traces=traces, bin_s=step_s, subject=name, signals={"speed": told}, **more
    )


def store(folder, *recordings):
    made = create_store(folder)
    for recording in recordings:
        made.write(recording)
    return folder


def told(results, task):
    return {(r.predictor, r.recording): r.value for r in results
            if (r.task, r.metric) == (task, "r2_flattened")}  # fmt: skip


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    return store(
        tmp_path_factory.mktemp("animals") / "store", *(worm(f"w{k}", k) for k in range(3))
    )


def test_each_animal_is_decoded_from_its_first_minute_and_the_others(
    others, tmp_path, capsys
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["animals", str(others), "--out", str(tmp_path / "out"), "--minutes", "0.5,all", "--json",
              *(word for one in BRIEF for word in ("--set", one))])  # fmt: skip
    assert stop.value.code == 0
    found = json.loads(capsys.readouterr().out)
    few = {(r["predictor"], r["recording"]): r for r in found
           if (r["task"], r["metric"]) == ("decode:speed@0.5min", "r2_flattened")}  # fmt: skip
    assert {who for _, who in few} == {"w0", "w1", "w2", "mean"}
    ours, ridge, mean = (few[name, "mean"]["value"] for name in ("model", "ridge", "mean"))
    assert ours > ridge + 0.03
    assert ours > mean + 0.3
    assert ours > few["model", "mean"]["chance"] + 0.3
    whole = {r["predictor"]: r["value"] for r in found
             if (r["task"], r["metric"], r["recording"]) == ("decode:speed", "r2_flattened", "mean")}  # fmt: skip
    assert whole["model"] > max(ours, 0.6)
    with np.load(tmp_path / "out" / "decoded" / "w1.npz") as held:
        assert held["time_s"][:2].tolist() == [0.0, STEP_S]
        assert held["speed@0.5min"].shape == held["speed"].shape == (N_BINS, 1)
        assert (
            np.corrcoef(held["speed"][:, 0], worm("w1", 1).signals["speed"].values[:, 0])[0, 1]
            > 0.5
        )
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == len(found)


def test_targets_after_the_first_minutes_are_not_looked_at(others, tmp_path) -> None:
    asked = {"minutes": "0.5", "settings": BRIEF}
    decoded = []
    for name, spoiled in (("plain", None), ("spoiled", (60, N_BINS)), ("control", (30, N_BINS))):
        new = store(tmp_path / name, worm("new", 9, spoiled))
        animals_store(others, tmp_path / f"{name}-out", new=new, **asked)
        with np.load(tmp_path / f"{name}-out" / "decoded" / "new.npz") as held:
            decoded.append(held["speed@0.5min"])
    assert np.array_equal(decoded[0], decoded[1])
    assert not np.array_equal(decoded[0], decoded[2])


def test_what_cannot_teach_or_be_asked_is_said(others, tmp_path) -> None:
    def run(new, **more):
        return animals_store(
            others, tmp_path / "out", new=new, minutes="0.5", settings=BRIEF, **more
        )

    counts = Recording.from_arrays("c", counts=np.ones((400, 3), np.uint8), bin_s=STEP_S)
    with pytest.raises(InputError, match="c: it holds spikes or counts, and this takes traces"):
        run(store(tmp_path / "counts", counts))
    with pytest.raises(InputError, match="is in the store that teaches, too"):
        run(store(tmp_path / "again", worm("w1", 1)))
    with pytest.raises(InputError, match=r"or ingest all with --set step_s=0\.7"):
        run(store(tmp_path / "step", worm("new", 9, step_s=0.7)))
    with pytest.raises(ConfigError, match="there is no signal 'sped'; there are speed"):
        run(store(tmp_path / "name", worm("new", 9)), signals="sped")
    remarks: list[str] = []
    axes = worm("new", 9)
    axes = Recording.from_arrays("new", traces=axes.activity.values, bin_s=STEP_S, subject="w1",
                                 signals={"speed": np.zeros((N_BINS, 2))})  # fmt: skip
    assert run(store(tmp_path / "axes", axes), say=remarks.append) == []
    assert remarks == ["skipped: speed of new: no other subject has it, with as many axes"]


def test_a_subject_does_not_teach_itself(tmp_path) -> None:
    twins = [worm("a", 1), worm("b", 1)]
    same = [Recording(**{**vars(one), "subject": "one"}) for one in twins]
    remarks: list[str] = []
    found = animals_store(store(tmp_path / "s", *same), tmp_path / "out", minutes="1", settings=BRIEF,
                          say=remarks.append)  # fmt: skip
    assert found == []
    assert len(remarks) == 2
