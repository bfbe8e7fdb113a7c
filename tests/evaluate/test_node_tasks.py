"""Encoding and decoding: a planted answer is found, by the model and its rivals; nothing else is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neurofm import Intervals, Recording, Run
from neurofm.errors import InputError
from neurofm.evaluate import keep
from neurofm.evaluate import metrics as m
from neurofm.evaluate.baselines import BASELINES, OF_ANY_KIND, OF_COUNTS_FROM_ANY
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.generate import generate
from neurofm.evaluate.node_tasks import Behaviour, Decoding, Encoding, node_tasks
from neurofm.evaluate.score import Scored, Skipped, score
from neurofm.evaluate.summary import results_of
from neurofm.evaluate.tasks import TASKS
from neurofm.train.pretrain import PretrainConfig, pretrain

BIN_S = 0.05
PARTS = {
    "train": Intervals.of([(0.0, 150.0)]),
    "valid": Intervals.of([(150.0, 170.0)]),
    "test": Intervals.of([(170.0, 225.0)]),
}
NODES = {"signals": ["wheel"], "trials": ["choice"]}


def session(traces=False, shuffled=False, seed=0) -> Recording:
    """Activity driven by a slow wheel and by the choice of a trial; shuffled, by others than told."""
    rng = np.random.default_rng(seed)
    n, n_channels = 4500, 16
    wheel, side = slow(rng, n), np.zeros(n)
    start = np.arange(20, n - 60, 45)
    choice = rng.choice(["left", "right"], len(start))
    for at, one in zip(start, choice, strict=True):
        side[at : at + 25] = 1.0 if one == "left" else -1.0
    drive = np.column_stack([wheel, side]) @ rng.normal(size=(3, n_channels)) * 0.5
    noisy = drive + 0.7 * rng.normal(size=drive.shape)
    counts = rng.poisson(0.4 * np.exp(drive)).clip(0, 255).astype(np.uint8)
    if shuffled:
        wheel, choice = slow(rng, n), rng.permutation(choice)
    told = wheel.astype(np.float32)
    told[1000:1100] = np.nan
    return Recording.from_arrays(
        "s",
        **({"traces": noisy.astype(np.float32)} if traces else {"counts": counts}),
        bin_s=BIN_S,
        signals={"wheel": told},
        trials={"start_s": start * BIN_S, "stop_s": (start + 25) * BIN_S, "choice": choice},
    )


def slow(rng, n):
    out = np.zeros((n, 2))
    for t in range(1, n):
        out[t] = 0.97 * out[t - 1] + 0.24 * rng.normal(size=2)
    return out


def scores(factory, task, recording):
    out = score(factory, "p", task, recording, **PARTS, bin_s=BIN_S)
    assert isinstance(out, Scored)
    return out.scores


def main(scored):
    """The first metric of the scores' kind."""
    return m.value(scored, next(iter(m.METRICS_OF[scored.kind].values())))


TRACES = {
    False: session().with_channels(**NODES),
    True: session(traces=True).with_channels(**NODES),
}
ANSWERED = [(name, False) for name in (*OF_ANY_KIND[1:], *OF_COUNTS_FROM_ANY)]
ANSWERED += [(name, True) for name in OF_ANY_KIND[1:]]


@pytest.mark.parametrize(("name", "traces"), ANSWERED)
def test_rivals_find_what_is_planted(name, traces):
    recording = TRACES[traces]
    encoded = main(scores(BASELINES[name], Encoding(), recording))
    assert encoded > (0.5 if traces else 0.15)
    if name in OF_ANY_KIND:
        assert main(scores(BASELINES[name], Decoding("wheel"), recording)) > 0.7
        assert main(scores(BASELINES[name], Decoding("choice"), recording)) > 0.95


@pytest.mark.parametrize("traces", [False, True])
def test_the_mean_scores_nothing_and_a_shuffled_answer_is_told_by_chance(traces):
    recording = session(traces, shuffled=True).with_channels(**NODES)
    for name in OF_ANY_KIND:
        assert main(scores(BASELINES[name], Decoding("wheel"), recording)) < 0.05
        assert abs(main(scores(BASELINES[name], Decoding("choice"), recording)) - 0.5) < 0.2
        assert main(scores(BASELINES[name], Encoding(), recording)) < 0.03
    mean = scores(BASELINES["mean-rate"], Encoding(), TRACES[traces])
    assert -0.1 < main(mean) < 0.01


@pytest.mark.parametrize("task", ["co-smoothing", "forward"])
def test_traces_are_asked_about_as_counts_are(task):
    recording = session(traces=True)
    for name in OF_ANY_KIND:
        found = scores(BASELINES[name], TASKS[task], recording)
        assert found.kind == "real"
        least = 0.03 if task == "forward" else 0.3
        assert (main(found) > least) == (name != "mean-rate")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    config = PretrainConfig(
        bin_s=BIN_S, window_bins=40, windows=12, steps=130, validate_every=65, valid_batches=2,
        precision="fp32", channels=NODES, optim={"average": 0.95, "rate": 3e-3},
        model={"backbone": {"width": 16, "layers": 1, "heads": 2, "mlp": 32}, "kernel": 5},
    )  # fmt: skip
    torch.set_num_threads(1)
    sides = {side: {"s": PARTS[side]} for side in ("train", "valid")}
    run = Run(tmp_path_factory.mktemp("run"))
    made = pretrain([session()], sides, config, run, device=torch.device("cpu"), say=lambda _: None)
    rows = [row for row in run.log_rows() if row["event"] == "valid"]
    return made, rows[-1]


def test_one_model_encodes_decodes_and_smooths(trained):
    made, valid = trained
    recording = TRACES[False]
    direct = Direct.of(made, recording, torch.device("cpu"))
    assert main(scores(lambda: direct, Encoding(), recording)) > 0.15
    assert main(scores(lambda: direct, Decoding("wheel"), recording)) > 0.4
    assert main(scores(lambda: direct, Decoding("choice"), recording)) > 0.9
    alone = Direct.of(made, session(), torch.device("cpu"))  # the same without further channels
    assert main(scores(lambda: alone, TASKS["co-smoothing"], session())) > 0.05
    asked = {"encoding", "decoding (real)", "decoding (category)", "across (real)"}
    assert asked <= set(valid)
    assert valid["encoding"] > 0.1


def test_the_model_tells_other_answers_of_a_shuffled_session_by_chance(trained):
    recording = session(shuffled=True).with_channels(**NODES)
    direct = Direct.of(trained[0], recording, torch.device("cpu"))
    assert main(scores(lambda: direct, Decoding("wheel"), recording)) < 0.05
    assert abs(main(scores(lambda: direct, Decoding("choice"), recording)) - 0.5) < 0.2


def test_the_future_of_behaviour_is_told_from_its_past_and_not_from_activity():
    task = Behaviour(context_s=1.0, horizon_s=0.2)
    found = {n: main(scores(BASELINES[n], task, TRACES[False])) for n in OF_ANY_KIND}
    assert min(found["ridge"], found["ridge-wide"]) > 0.8 > 0.1 > found["mean-rate"]
    other = session(seed=1)  # the same wheel, the activity of another session
    other = replace(session(), activity=other.activity).with_channels(**NODES)
    mine, theirs = (scores(BASELINES["ridge"], task, r) for r in (TRACES[False], other))
    assert np.array_equal(mine.ll_model, theirs.ll_model)


def test_a_stretch_that_was_not_recorded_is_no_fault_of_a_rival():
    wheel = TRACES[False].signals["wheel"]
    values = wheel.values.copy()
    values[::3] = np.nan  # never four bins in a row
    values[3000:3400, 0] = np.nan  # nothing of the first on the validation side
    bare = replace(session(), signals={"wheel": replace(wheel, values=values)})
    recording = bare.with_channels(signals=["wheel"])
    found = scores(BASELINES["ridge"], Behaviour(horizon_s=0.2), recording)
    assert main(found) > 0.5
    values[3000:3400] = np.nan
    for task in (Behaviour(), Decoding("wheel")):
        out = score(BASELINES["ridge"], "ridge", task, recording, **PARTS, bin_s=BIN_S)
        assert isinstance(out, Skipped)
        assert "wheel was not recorded in a part" in out.reason


def test_what_is_not_there_is_skipped_with_a_reason():
    recording = session()
    for task, why in ((Encoding(), "needs stimulus or behaviour"), (Decoding("wheel"), "no wheel"),
                      (Behaviour(), "it has none")):  # fmt: skip
        out = score(BASELINES["ridge"], "ridge", task, recording, **PARTS, bin_s=BIN_S)
        assert isinstance(out, Skipped)
        assert why in out.reason
    names = [task.name for task in node_tasks("decoding", [recording, TRACES[False]])]
    assert names == ["decoding: wheel", "decoding: choice"]


def test_scores_of_values_and_labels_are_kept_and_compared(tmp_path):
    made = []
    for task in (Decoding("wheel"), Decoding("choice")):
        for name in ("ridge", "mean-rate"):
            out = score(BASELINES[name], name, task, TRACES[False], **PARTS, bin_s=BIN_S)
            keep.save(tmp_path / "a.npz", out.scores)
            again = keep.load(tmp_path / "a.npz")
            assert again.kind == out.scores.kind
            assert main(again) == main(out.scores)
            made.append(again)
    found = {(r.predictor, r.task, r.metric): r for r in results_of(made, model="ridge")}
    r2 = found["ridge", "decoding: wheel", "r2_per_channel"]
    assert r2.low < r2.value < r2.high
    gain = found["ridge", "decoding: wheel", "r2_per_channel_gain"]
    assert gain.null == "mean-rate"
    assert 0 < gain.low < gain.value < gain.high
    hits = found["ridge", "decoding: choice", "balanced_accuracy"]
    trials = TRACES[False].trials["start_s"]
    assert hits.n == ((trials > 170 - 1.2) & (trials < 225)).sum()  # each trial is a block


def test_r2_and_bits_are_those_of_the_textbook():
    scored = scores(BASELINES["ridge"], Decoding("wheel"), TRACES[False])
    ridge = BASELINES["ridge"]()
    sides = {k: Decoding("wheel").examples(TRACES[False], v, BIN_S, fold())
             for k, v in PARTS.items()}  # fmt: skip
    ridge.fit(sides["train"], sides["valid"])
    [told] = ridge.predict([e.question for e in sides["test"]])
    rows = fold().scored
    y, p = sides["test"][0].counts[:, rows].astype(float), told[:, rows].astype(float)
    lost, total = ((y - p) ** 2).sum(0), ((y - y.mean(0)) ** 2).sum(0)
    assert m.value(scored, m.r2_per_channel) == pytest.approx((1 - lost / total).mean(), rel=1e-5)
    bits = np.log2(total / lost).mean() / 2
    assert m.value(scored, m.bits_per_sample) == pytest.approx(bits, rel=1e-5)


def fold():
    return Decoding("wheel").groups(TRACES[False], 0)[0]


def test_names_and_parts_that_are_none_are_refused():
    recording = session()
    with pytest.raises(InputError, match="no signal 'whel'; did you mean wheel"):
        recording.with_channels(signals=["whel"])
    with pytest.raises(InputError, match="no label 'chioce'; they have choice"):
        recording.with_channels(trials=["chioce"])
    with pytest.raises(InputError, match="two shares of its length"):
        recording.with_channels(trials=["choice"], part=(0.5, 0.5))
    with pytest.raises(InputError, match="already"):
        TRACES[False].with_channels(signals=["wheel"])


def test_values_are_not_drawn_as_spikes():
    for recording in (TRACES[False], session(traces=True)):
        with pytest.raises(InputError, match="spikes are drawn here"):
            generate(None, recording, 10, 5, seed=0)
