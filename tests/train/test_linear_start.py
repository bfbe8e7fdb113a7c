"""The linear answers that a model of traces may start with: what is planted is found before any step."""

import numpy as np
import pytest
import torch

from neurofm.data.intervals import Intervals
from neurofm.data.nodes import ChannelsConfig
from neurofm.data.recording import Recording
from neurofm.errors import ConfigError, InputError
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.metrics import r2_per_channel, value
from neurofm.evaluate.node_tasks import node_tasks
from neurofm.evaluate.score import score
from neurofm.evaluate.tasks import TASKS
from neurofm.model import checkpoint
from neurofm.model.checkpoint import Trained
from neurofm.run import Run
from neurofm.train.linear_start import ridge
from neurofm.train.pretrain import PretrainConfig, prepare, pretrain

CPU = torch.device("cpu")
STEP_S, T, C = 0.5, 600, 14
SIDES = {"train": [(0.0, 200.0)], "valid": [(200.0, 245.0)], "test": [(245.0, 300.0)]}
BY_NAME = {side: {"worm": Intervals.of(spans)} for side, spans in SIDES.items()}
SMALL = {"backbone": {"width": 32, "layers": 1, "heads": 2, "mlp": 16}, "kernel": 5}


def worm(name="worm", late=1, **kinds):
    """Traces of three slow latents, and noise; `speed` is the first, as it is `late` bins on."""
    rng = np.random.default_rng(0)
    slow = np.stack([np.sin(np.arange(T + late) / p) for p in (5, 9, 13)], 1) * 1.4
    traces = slow[:T] @ rng.normal(size=(3, C)) + rng.normal(size=(T, C))
    speed = 5 + 3 * slow[late:, 0] + 0.1 * rng.normal(size=T)
    speed[100:110] = np.nan
    values = kinds or {"traces": traces.astype(np.float32)}
    return Recording.from_arrays(name, bin_s=STEP_S, signals={"speed": speed}, **values)


def config(**changed):
    plain = {"bin_s": STEP_S, "window_bins": 40, "windows": 4, "precision": "fp32", "model": SMALL,
             "channels": {"signals": ["speed"]}, "linear": {"bins": 1.0, "penalty": 0.01}}  # fmt: skip
    return PretrainConfig.model_validate(plain | changed)


def started(recording, asked):
    """The recording with its channels, and the model that has seen no step."""
    whole = asked.channels.widen([recording])
    made, _ = prepare(whole, {recording.id: Intervals.of(SIDES["train"])}, asked, CPU)
    plain = asked.model_dump(mode="json")
    return whole[0], Trained(made.average.eval(), made.vocabulary, made.statistics, plain, 0, {})


def told(recording, trained, task):
    sides = {side: Intervals.of(spans) for side, spans in SIDES.items()}
    direct = Direct.of(trained, recording, CPU)
    done = score(lambda: direct, "model", task, recording, **sides, bin_s=STEP_S, seed=0)
    return value(done.scores, r2_per_channel)


@pytest.mark.parametrize("causal", [False, True])
def test_planted_answers_are_found_before_any_step(causal):
    backbone = SMALL["backbone"] | {"causal": causal}
    whole, trained = started(
        worm(late=0 if causal else 1), config(model=SMALL | {"backbone": backbone})
    )
    encoding, decoding = (node_tasks(n, [whole])[0] for n in ("encoding", "decoding"))
    assert told(whole, trained, TASKS["co-smoothing"]) > 0.35
    assert told(whole, trained, decoding) > 0.9
    assert 0.1 < told(whole, trained, encoding) < 0.5  # of one latent of three


def test_without_it_nothing_is_known_before_training():
    whole, trained = started(worm(), config(linear={}))
    assert told(whole, trained, TASKS["co-smoothing"]) < 0.1


def test_the_start_is_kept_where_no_step_is_better(tmp_path):
    wild = {"rate": 1.0, "matrix_rate": 1.0, "warmup": 1, "average": 0.0}
    asked = config(steps=2, validate_every=1, valid_batches=1, optim=wild)
    trained = pretrain([worm()], BY_NAME, asked, Run(tmp_path), device=CPU, say=lambda _: None)
    assert trained.step == 0
    assert checkpoint.folders(tmp_path / "checkpoints")[0].name == "step-00000000"


@pytest.mark.parametrize("keep", [True, False])
def test_the_trunk_alone_is_trained_unless_it_is_asked(tmp_path, keep):
    asked = config(steps=2, validate_every=2, valid_batches=1)
    asked = asked.model_copy(update={"linear": asked.linear.model_copy(update={"keep": keep})})
    _, before = started(worm(), asked)
    pretrain([worm()], BY_NAME, asked, Run(tmp_path), device=CPU, say=lambda _: None)
    after = checkpoint.load(checkpoint.newest_intact(tmp_path / "checkpoints")).model.state_dict()
    old = before.model.state_dict()
    changed = {name.split(".")[0] for name, value in after.items() if (value != old[name]).any()}
    assert {"backbone", "prompts"} <= changed
    assert (changed == {"backbone", "prompts"}) == keep


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"model": SMALL | {"path_rank": 4}}, ConfigError, "path_rank 0"),
        ({"model": SMALL | {"kernel": 0}}, ConfigError, "model.kernel above 0"),
        ({"model": SMALL | {"kernel": 41}}, ConfigError, "width 32 leaves no room"),
    ],
)
def test_a_model_of_another_form_is_refused(changed, error, said):
    with pytest.raises(error, match=said):
        started(worm(), config(**changed))


def test_other_recordings_are_refused():
    both = ChannelsConfig(signals=("speed",)).widen([worm("a"), worm("b")])
    train = {name: Intervals.of(SIDES["train"]) for name in "ab"}
    with pytest.raises(InputError, match="for one recording, and there are 2"):
        prepare(both, train, config(), CPU)
    counts = np.ones((T, C), dtype=np.uint8)
    with pytest.raises(InputError, match="for traces and signals"):
        started(worm(counts=counts), config())


def test_ridge_leaves_out_what_is_not_known():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = x @ np.array([[1.0, 0.0], [0.0, 2.0], [0.5, 0.0]])
    y[:50, 1] = np.nan
    found = ridge(x, y, 1e-9)
    assert np.allclose(found, [[1, 0], [0, 2], [0.5, 0]], atol=1e-6)
    assert np.linalg.norm(ridge(x, y, 10.0)) < 0.2 * np.linalg.norm(found)
