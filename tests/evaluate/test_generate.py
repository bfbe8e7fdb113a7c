from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from neurofm import Intervals, Recording, Run, cli
from neurofm.config import dump
from neurofm.data import splits
from neurofm.data.binning import activity
from neurofm.data.readers.arrays import read, write_arrays
from neurofm.data.recording import Samples
from neurofm.data.store import create_store
from neurofm.data.synthetic import SimulationConfig, simulate
from neurofm.errors import InputError
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.generate import as_recording, generate, roll
from neurofm.evaluate.planted import Planted
from neurofm.evaluate.task import Question
from neurofm.train.pretrain import PretrainConfig, pretrain

CPU = torch.device("cpu")
CONFIG = PretrainConfig(
    bin_s=0.02,
    window_bins=40,
    windows=16,
    steps=60,
    validate_every=60,
    valid_batches=2,
    precision="fp32",
    model={"backbone": {"width": 32, "layers": 1, "heads": 2, "mlp": 32}, "own_past": 3},
    masks={"units": 0.3, "future": 0.7},
    optim={"warmup": 10, "rate": 5e-3, "average": 0.9},
)
CAUSAL = CONFIG.model_copy(
    update={
        "steps": 20,
        "validate_every": 20,
        "model": CONFIG.model.model_copy(
            update={"backbone": CONFIG.model.backbone.model_copy(update={"causal": True})}
        ),
        "masks": CONFIG.masks.model_copy(update={"future": 0.0, "autoregressive": 0.7}),
    }
)


@dataclass(frozen=True)
class Chain:
    """Counts that follow from the counts before: rate = base + coupling x last counts."""

    base: np.ndarray
    coupling: np.ndarray
    name: str = "chain"

    def fit(self, train, valid):
        """Known."""

    def predict(self, questions):
        out = []
        for q in questions:
            assert (q.visible[q.hidden] == 0).all()
            last = q.visible[~q.hidden.all(axis=1)][-1]
            out.append(np.tile(self.base + self.coupling @ last, (len(q.visible), 1)))
        return out


def test_a_chain_has_the_mean_and_the_correlations_that_follow_from_its_coupling():
    base, coupling = np.array([0.5, 1.0, 0.2]), np.array([[0.3, 0.3, 0], [0, 0.4, 0], [0.5, 0, 0]])
    mean = np.linalg.solve(np.eye(3) - coupling, base)
    cov = np.diag(mean)  # cov = A cov A' + diag(mean), the stationary solution
    for _ in range(200):
        cov = coupling @ cov @ coupling.T + np.diag(mean)
    start = Recording.from_arrays("r", counts=np.ones((30, 3), np.uint8), bin_s=0.1)
    made = roll(Chain(base, coupling), start, 30, 1500, bin_s=0.1, seed=0, n_samples=16, context=4)
    counts = made.counts[:, 50:].astype(float)
    assert counts.mean((0, 1)) == pytest.approx(mean, rel=0.05)
    centred = counts - counts.mean((0, 1))
    now = np.einsum("sti,stj->ij", centred, centred) / centred[..., 0].size
    later = np.einsum("sti,stj->ij", centred[:, 1:], centred[:, :-1]) / centred[:, 1:, 0].size
    assert now == pytest.approx(cov, rel=0.1, abs=0.05)
    assert later == pytest.approx(coupling @ cov, rel=0.1, abs=0.05)


def test_planted_rates_are_drawn_with_their_means_and_their_population_correlation():
    config = SimulationConfig(
        n_animals=1, sessions_per_animal=1, units_min=12, units_max=12, minutes=1
    )
    (session,) = simulate(config, seed=0)
    truth = session.truth.at(0.02).true_rates
    planted = Planted({session.recording.id: truth})
    made = roll(planted, session.recording, 500, 1000, bin_s=0.02, seed=1, n_samples=40,
                context=20, stride=10)  # fmt: skip
    rates = truth[500:1500]
    assert np.array_equal(made.rates, np.broadcast_to(rates, made.rates.shape))
    assert made.counts.mean((0, 1)) == pytest.approx(rates.mean(0), rel=0.06)
    assert made.counts.sum((1, 2)).std() == pytest.approx(np.sqrt(rates.sum()), rel=0.4)
    drawn = np.cov(made.counts.mean(0).T)  # 40 samples leave 1/40 of the Poisson noise
    wanted = np.cov(rates.T) + np.diag(rates.mean(0)) / 40
    assert np.corrcoef(drawn.ravel(), wanted.ravel())[0, 1] > 0.97
    total = made.counts.sum(2).mean(0)
    assert np.corrcoef(total, rates.sum(1))[0, 1] > 0.9


@pytest.fixture(scope="module", params=[CONFIG, CAUSAL], ids=["forward", "autoregressive"])
def direct(request, sessions, sides, tmp_path_factory):
    torch.set_num_threads(1)
    run = Run(tmp_path_factory.mktemp("run"))
    trained = pretrain(sessions, sides, request.param, run, device=CPU, say=lambda _: None)
    return Direct.of(trained, sessions[0], CPU)


def test_a_sample_depends_on_its_number_alone(direct, sessions):
    one, few, many = (
        generate(direct, sessions[0], 900, 12, seed=5, n_samples=n) for n in (1, 3, 10)
    )
    for made in (one, few):
        assert np.array_equal(made.counts, many.counts[: len(made.counts)])
        assert np.array_equal(made.rates, many.rates[: len(made.rates)])
    again, other = (generate(direct, sessions[0], 900, 12, seed=s, n_samples=3) for s in (5, 6))
    assert np.array_equal(again.counts, few.counts)
    assert not np.array_equal(other.counts, few.counts)
    assert len({sample.tobytes() for sample in many.counts}) == 10
    longer = generate(direct, sessions[0], 900, 20, seed=5, n_samples=3)
    assert np.array_equal(longer.counts[:, :12], few.counts)


def test_nothing_from_the_first_bin_on_is_read(direct, sessions):
    recording = sessions[0]
    counts = np.asarray(recording.activity.values).copy()
    counts[900:] = 99
    future = replace(recording, activity=Samples(counts, recording.activity.step_s))
    counts = counts.copy()
    counts[895:900] = 99
    past = replace(recording, activity=Samples(counts, recording.activity.step_s))
    a, b, c = (generate(direct, r, 900, 10, seed=0, n_samples=2) for r in (recording, future, past))
    assert np.array_equal(a.rates, b.rates)
    assert np.array_equal(a.counts, b.counts)
    assert not np.array_equal(a.rates, c.rates)
    cut = recording.slice(0, 900 * 0.02)
    assert np.array_equal(a.counts, generate(direct, cut, 900, 10, seed=0, n_samples=2).counts)


def test_a_model_that_is_fed_its_own_counts_does_not_run_away(direct, sessions):
    usual = np.asarray(sessions[0].activity.values)[:1050].mean()
    made = generate(direct, sessions[0], 1000, 150, seed=0, n_samples=8)
    assert made.counts.shape == made.rates.shape == (8, 150, 12)
    assert usual / 2 < made.counts[:, -50:].mean() < usual * 2
    assert made.rates.mean() == pytest.approx(made.counts.mean(), rel=0.05)


def test_a_short_past_is_what_there_is_and_gaps_are_not_crossed(direct, sessions):
    gap = replace(sessions[0], valid=Intervals.of([(0.0, 10.0), (10.1, 30.0)]))
    made = generate(direct, gap, 515, 5, seed=0)
    assert made.n_context == 10
    assert generate(direct, gap, 500, 5, seed=0).n_context == 39
    with pytest.raises(InputError, match=r"a-1: nothing was recorded right before 10\.1 s"):
        generate(direct, gap, 505, 5, seed=0)
    with pytest.raises(InputError, match="right before 0 s"):
        generate(direct, gap, 0, 5, seed=0)
    with pytest.raises(InputError, match="a stride of 21 bins is outside"):
        generate(direct, gap, 500, 5, seed=0, stride=21)


@pytest.mark.parametrize("direct", [CAUSAL], ids=["autoregressive"], indirect=True)
def test_one_pass_and_bin_by_bin_say_the_same(direct, sessions):
    counts = activity(sessions[0], 800, 830, 0.02)
    everything = np.ones(counts.shape, dtype=bool)
    place = ("autoregressive", 0, sessions[0].id, 800, 0.02, sessions[0].channels)
    (together,) = direct.predict([Question(*place, counts, ~everything, everything)])
    for n in (2, 9, 30):
        hidden = everything.copy()
        hidden[: n - 1] = False
        asked = Question(*place, np.where(hidden, 0, counts)[:n], hidden[:n], hidden[:n])
        assert direct.predict([asked])[0][-1] == pytest.approx(together[n - 1], rel=1e-5)


def test_what_was_made_up_is_a_recording_again(direct, sessions, tmp_path):
    made = generate(direct, sessions[0], 900, 7, seed=2, n_samples=3)
    recording = as_recording(made, sessions[0])
    write_arrays(recording, tmp_path / "made.npz")
    (back,) = read(tmp_path / "made.npz")
    assert back.id == "a-1-from-18s-seed-2"
    assert np.array_equal(activity(back, 7, 14, 0.02), made.counts[1])
    assert np.array_equal(back.signals["rates"].values[14:], made.rates[2])
    assert back.channels.id.tolist() == sessions[0].channels.id.tolist()
    assert back.valid.pairs == pytest.approx(np.array([[0, 0.14], [0.14, 0.28], [0.28, 0.42]]))
    assert back.trials["sample"].tolist() == [0, 1, 2]
    assert any("a-1" in note for note in back.provenance.notes)


def test_the_command_writes_what_the_library_says(direct, sessions, sides, tmp_path, capsys):
    store = create_store(tmp_path / "store")
    store.write(sessions[0])
    config = CONFIG.model_copy(update={"steps": 1, "validate_every": 1})
    run = Run(tmp_path / "run")
    run.describe(dump(config), {"store": str(store.folder)})
    splits.split_by_time(sessions[:1]).save(run.splits)
    trained = pretrain(sessions[:1], sides, config, run, device=CPU, say=lambda _: None)
    out = tmp_path / "made.npz"
    with pytest.raises(SystemExit) as done:
        cli.main(["generate", str(run.folder), "a-1", "--at", "18", "--seconds", "0.1",
                  "--samples", "2", "--out", str(out), "--device", "cpu", "--seed", "3"])  # fmt: skip
    assert done.value.code == 0
    assert capsys.readouterr().out.strip() == str(out)
    (back,) = read(out)
    made = generate(Direct.of(trained, sessions[0], CPU), sessions[0], 900, 5, seed=3, n_samples=2)
    assert np.array_equal(activity(back, 0, 10, 0.02), made.counts.reshape(10, 12))
