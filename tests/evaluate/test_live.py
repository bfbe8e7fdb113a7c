"""A causal model live: streams, read-outs on them, and the command."""

import gc
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from neurofm import Intervals, Recording, Run, cli
from neurofm.commands.stream import answer, no_pauses
from neurofm.config import dump
from neurofm.data import splits
from neurofm.data.binning import activity
from neurofm.data.store import create_store
from neurofm.data.targets import side_pieces, traces
from neurofm.errors import InputError
from neurofm.evaluate.decode_scores import flattened
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.features import all_visible, latents
from neurofm.evaluate.live import Readout, Stream, fit_readout, replay
from neurofm.evaluate.ours import SignalAnswers
from neurofm.evaluate.readout import known, tuned_line
from neurofm.model import checkpoint
from neurofm.train.finetune import FinetuneConfig, finetune_signals
from neurofm.train.pretrain import PretrainConfig, pretrain

CPU = torch.device("cpu")
SIGNAL = "position"
N_BINS = 3000
CONFIG = PretrainConfig(
    bin_s=0.02,
    window_bins=50,
    windows=8,
    steps=40,
    validate_every=40,
    valid_batches=2,
    precision="fp32",
    model={
        "backbone": {"width": 16, "layers": 2, "heads": 2, "mlp": 32, "causal": True},
        "doublings": 4,
        "own_past": 4,
    },
    optim={"warmup": 10, "rate": 5e-3, "average": 0.9},
)


def session():
    """A minute of 20 channels whose rates follow a position in a plane, which drifts."""
    rng = np.random.default_rng(0)
    position = np.zeros((N_BINS, 2))
    for t in range(1, N_BINS):
        position[t] = 0.95 * position[t - 1] + 0.3 * rng.normal(size=2)
    rates = 0.5 * np.exp(0.7 * position @ rng.normal(size=(2, 20)))
    counts = rng.poisson(np.minimum(rates, 8)).astype(np.uint8)
    return Recording.from_arrays("day-1", counts=counts, bin_s=0.02, signals={SIGNAL: position})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(recording, its sides, the trained model, its run)."""
    torch.set_num_threads(1)
    recording = session()
    folder = tmp_path_factory.mktemp("live")
    store = create_store(folder / "store")
    store.write(recording)
    run = Run(folder / "run")
    run.describe(dump(CONFIG), {"store": str(store.folder)})
    proven = splits.split_by_time([recording])
    proven.save(run.splits)
    sides = {side: proven.side(side) for side in ("train", "valid", "test")}
    trained = pretrain([recording], sides, CONFIG, run, device=CPU, say=lambda _: None)
    return recording, proven.recordings[recording.id], trained, run


@pytest.fixture(scope="module")
def decoder(place):
    recording, sides, trained, _ = place
    return fit_readout(trained, recording, SIGNAL, sides)


def said_of(stream, recording, side):
    return [said for _, said, _ in replay(stream, recording, side, 0.02)]


def test_a_stream_says_what_the_model_says_of_a_window(place):
    recording, _, trained, _ = place
    direct, stream = Direct.of(trained, recording, CPU), Stream.of(trained, recording)
    asked = all_visible(recording, 900, 950, 0.02)
    said = [stream.step(counts) for counts in asked.visible]
    assert stream.n_bins == 50
    for mine, theirs in (("latents", direct.latents), ("rates", direct.predict)):
        wanted = theirs([asked])[0]
        assert np.stack([getattr(x, mine) for x in said]) == pytest.approx(wanted, abs=1e-4)


def test_the_future_changes_no_past_and_a_reset_forgets_all(place):
    recording, _, trained, _ = place
    stream = Stream.of(trained, recording)
    counts = activity(recording, 0, 90, 0.02)
    first = [stream.step(bin) for bin in counts]
    stream.reset()
    other = [stream.step(bin) for bin in [*counts[:60], *(counts[60:] + 1)]]
    same = [np.array_equal(a.rates, b.rates) for a, b in zip(first, other, strict=True)]
    assert same == [True] * 60 + [False] * 30


def test_two_streams_share_nothing(place):
    recording, _, trained, _ = place
    counts = activity(recording, 0, 60, 0.02)
    alone, one, two = (Stream.of(trained, recording) for _ in range(3))
    wanted = [alone.step(bin).rates for bin in counts]
    for bin, rates in zip(counts, wanted, strict=True):
        two.step(bin + 3)
        assert np.array_equal(one.step(bin).rates, rates)


def test_a_stream_of_a_saved_model_is_the_same(place, tmp_path):
    recording, _, trained, _ = place
    checkpoint.save(tmp_path / "step-1", trained, {})
    again = checkpoint.load(tmp_path / "step-1")
    window = Intervals.of([(10.0, 13.0)])
    a, b = (said_of(Stream.of(t, recording), recording, window) for t in (trained, again))
    assert all(np.array_equal(x.rates, y.rates) for x, y in zip(a, b, strict=True))


def test_missing_channels_are_hidden_cells(place):
    recording, _, trained, _ = place
    counts = activity(recording, 900, 950, 0.02).astype(np.float32)
    hidden = np.zeros(counts.shape, dtype=bool)
    hidden[20:, :5] = True
    one, two = Stream.of(trained, recording), Stream.of(trained, recording)
    direct = Direct.of(trained, recording, CPU)
    asked = all_visible(recording, 900, 950, 0.02)
    asked = type(asked)(**vars(asked) | {"visible": np.where(hidden, 0, counts), "hidden": hidden})
    wanted = direct.predict([asked])[0]
    noisy = np.where(hidden, np.nan, counts)
    said = [one.step(*bin).rates for bin in zip(noisy, hidden, strict=True)]
    assert np.stack(said) == pytest.approx(wanted, abs=1e-4)
    assert np.stack(said)[20:] != pytest.approx(two.run(counts)[1][20:], abs=1e-3)


def test_a_bad_bin_is_refused_and_forgets_nothing(place):
    recording, _, trained, _ = place
    stream = Stream.of(trained, recording)
    good = np.ones(20)
    stream.step(good)
    bad = [(good[:19], None), (good[None], None), (3, None), (good, [True]), (-good, None)]
    bad += [(np.where(good, np.nan, 0), None), (np.where(good, np.inf, 0), None)]
    for counts, hidden in bad:
        with pytest.raises(InputError, match=r"20 counts, one a channel|finite and at least 0"):
            stream.step(counts, hidden)
    with pytest.raises(InputError, match="20 counts"):
        stream.run(np.zeros((0, 20)))
    assert stream.n_bins == 1


def test_gaps_reset_a_replay(place):
    recording, _, trained, _ = place
    apart = Intervals.of([(10, 10.4), (11, 12)])
    stream = Stream.of(trained, recording)
    bins = [bin for bin, _, _ in replay(stream, recording, apart, 0.02)]
    assert bins == [*range(500, 520), *range(550, 600)]
    assert stream.n_bins == 50


def test_decoding_live_scores_what_decoding_offline_does(place, decoder):
    """The same latents in one pass give the same R2; those of overlapping windows, about it."""
    recording, sides, trained, _ = place
    ((first, stop),) = side_pieces(recording, sides["test"], 0.02)
    wanted = traces(recording, SIGNAL, 0.02)[first:stop].astype(float)
    said = said_of(Stream.of(trained, recording, {SIGNAL: decoder}), recording, sides["test"])
    live = flattened(wanted, np.stack([x.decoded[SIGNAL] for x in said]).astype(float))
    z, _ = Stream.of(trained, recording).run(activity(recording, first, stop, 0.02))
    assert live == pytest.approx(flattened(wanted, decoder(z).astype(float)), abs=1e-4)

    direct, rows = Direct.of(trained, recording, CPU), {}
    for side in ("train", "valid", "test"):
        features, bins = latents(direct, recording, sides[side])
        rows[side] = known(features, traces(recording, SIGNAL, 0.02)[bins])
    line, _ = tuned_line([rows["train"]], [rows["valid"]])
    offline = flattened(rows["test"][1].astype(float), line(rows["test"][0]).astype(float))
    assert offline > 0.5
    assert live == pytest.approx(offline, abs=0.02)


def test_a_readout_is_right_on_average_where_it_learned(place, decoder):
    recording, sides, trained, _ = place
    ((first, stop),) = side_pieces(recording, sides["train"], 0.02)
    z, _ = Stream.of(trained, recording).run(activity(recording, first, stop, 0.02))
    wanted = traces(recording, SIGNAL, 0.02)[first:stop]
    assert decoder(z).mean(0) == pytest.approx(wanted.mean(0), abs=1e-3)
    assert np.corrcoef(decoder(z)[:, 1], wanted[:, 1])[0, 1] > 0.8


def test_a_readout_learns_from_the_training_side_alone(place, decoder):
    recording, sides, trained, _ = place
    less = {side: sides[side] for side in ("train", "valid")}
    assert np.array_equal(fit_readout(trained, recording, SIGNAL, less).weight, decoder.weight)
    with pytest.raises(InputError, match="there is no signal 'lever'"):
        fit_readout(trained, recording, "lever", sides)
    with pytest.raises(InputError, match="no value in any training part"):
        fit_readout(trained, recording, SIGNAL, {})


def test_a_fine_tuned_head_decodes_live(place):
    recording, sides, trained, _ = place
    wanted = {recording.id: traces(recording, SIGNAL, 0.02)}
    spans = ({recording.id: sides[side]} for side in ("train", "valid"))
    brief = FinetuneConfig(steps=3, windows=4, probe_batches=5)
    tuned = finetune_signals(trained, [recording], wanted, *spans, brief, device=CPU)
    head = Readout.of_head(tuned, recording.id)
    stream = Stream.of(tuned.trained, recording, {SIGNAL: head})
    answers, window = SignalAnswers.of(tuned, recording, CPU), Intervals.of([(20.0, 21.0)])
    said = said_of(stream, recording, window)
    offline = answers.read(answers.features(window))
    assert np.stack([x.decoded[SIGNAL] for x in said]) == pytest.approx(offline, rel=1e-3, abs=1e-3)


def command(*words):
    with pytest.raises(SystemExit) as done:
        cli.main(["stream", *map(str, words)])
    return done.value.code


def test_the_command_replays_the_test_side(place, decoder, capsys):
    recording, sides, trained, run = place
    words = (run.folder, "--recording", recording.id, "--signal", SIGNAL)
    assert command(*words) == 0
    text = capsys.readouterr().out
    assert "bins of 20 ms: " in text
    assert "(p99)" in text
    assert f"{SIGNAL}: R2 0." in text
    assert command(*words, "--json") == 0
    out, err = capsys.readouterr()
    assert "(p99)" in err
    lines = [json.loads(line) for line in out.splitlines()]
    said = said_of(Stream.of(trained, recording, {SIGNAL: decoder}), recording, sides["test"])
    assert len(lines) == len(said) > 500
    for line, mine in zip(lines[::50], said[::50], strict=True):
        assert line["rates"] == pytest.approx(mine.rates, rel=1e-5)
        assert line["decoded"][SIGNAL] == pytest.approx(mine.decoded[SIGNAL], rel=1e-4, abs=1e-6)
        assert line["s"] == pytest.approx(line["bin"] * 0.02)


def test_counts_on_standard_input_are_answered_at_once(place):
    """A real process: each line is answered before the next one is sent."""
    recording, _, trained, run = place
    stream = Stream.of(trained, recording)
    words = [sys.executable, "-m", "neurofm", "stream", str(run.folder), "--stdin"]
    words += ["--recording", recording.id]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(words, text=True, env=os.environ, **pipes) as process:

        def ask(line):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        bins = activity(recording, 100, 104, 0.02).tolist()
        hidden = [True] + [False] * 19
        asked = [
            (json.dumps(bins[0]), stream.step(bins[0])),
            (",".join(map(str, bins[1])), stream.step(bins[1])),
            (json.dumps([None, *bins[2][1:]]), stream.step(bins[2], hidden)),
            (",".join(["", *map(str, bins[3][1:])]), stream.step(bins[3], hidden)),
        ]
        for number, (line, said) in enumerate(asked):
            answer = ask(line)
            assert answer["bin"] == number
            assert answer["rates"] == pytest.approx(said.rates, rel=1e-4)
        stream.reset()
        again = ask("\n" + json.dumps(bins[0]))
        assert (again["bin"], again["rates"]) == (
            0,
            pytest.approx(stream.step(bins[0]).rates, rel=1e-4),
        )
        out, err = process.communicate("1,2,x\n")
    assert process.returncode == 2
    assert out == ""
    assert "line 7 of stdin: could not convert string to float: 'x'" in err


def test_a_garbage_collection_is_no_pause_while_streaming():
    with no_pauses():
        assert gc.get_freeze_count() > 100_000
        assert len(gc.get_objects()) < 10_000
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize(
    "line", ["[[1], 2]", "[1, 2", '["a"]', "[1e999]", f"[{10**400}]", "1,2", "-1" + ",0" * 19]
)
def test_a_bad_line_is_named(place, line):
    recording, _, trained, _ = place
    with pytest.raises(InputError, match="line 2 of stdin: "):
        answer(Stream.of(trained, recording), ["", line])
