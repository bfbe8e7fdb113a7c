import json
import multiprocessing
import os
import signal
import time
from itertools import islice

import pytest
import torch

from neurofm.errors import CheckFailed, InputError, StoreError
from neurofm.model import checkpoint
from neurofm.model.model import ModelConfig
from neurofm.run import Run, new_run
from neurofm.train import pretrain as pretrain_module
from neurofm.train.loop import steps
from neurofm.train.loss import masked_loss
from neurofm.train.optim import optimisers
from neurofm.train.pretrain import MaskConfig, PretrainConfig, prepare, pretrain

CONFIG = PretrainConfig(
    bin_s=0.02,
    window_bins=30,
    windows=8,
    steps=40,
    validate_every=10,
    valid_batches=2,
    precision="fp32",
    model={"backbone": {"width": 32, "layers": 1, "heads": 2, "mlp": 32}, "kernel": 5},
    optim={"warmup": 5, "rate": 5e-3, "matrix_rate": 0.01, "average": 0.9},
)
CPU = torch.device("cpu")


def curve(run: Run) -> dict[int, str]:
    return {r["step"]: float(r["loss"]).hex() for r in run.log_rows() if r["event"] == "step"}


def weights(run: Run):
    return checkpoint.load(checkpoint.newest_intact(run.checkpoints)).model.state_dict()


def train(sessions, sides, folder, config=CONFIG, say=lambda _: None):
    torch.set_num_threads(1)
    run = Run(folder)
    folder.mkdir(exist_ok=True)
    return run, pretrain(sessions, sides, config, run, device=CPU, say=say)


@pytest.fixture(scope="module")
def unbroken(sessions, sides, tmp_path_factory):
    return train(sessions, sides, tmp_path_factory.mktemp("unbroken"))


def test_learns_and_reports(unbroken):
    run, trained = unbroken
    scores = [r["score"] for r in run.log_rows() if r["event"] == "valid"]
    assert len(scores) == 4
    assert scores[-1] > scores[0]
    assert trained.valid["score"] == max(scores)
    assert trained.valid["co-smoothing"] > 0
    assert len(checkpoint.folders(run.checkpoints)) <= 3


def test_same_seed_same_curve_other_seed_another(unbroken, sessions, sides, tmp_path):
    short = CONFIG.model_copy(update={"steps": 12})
    again, _ = train(sessions, sides, tmp_path / "again", CONFIG.model_copy(update={"steps": 40}))
    assert curve(again) == curve(unbroken[0])
    other, _ = train(sessions, sides, tmp_path / "other", short.model_copy(update={"seed": 1}))
    assert curve(other)[1] != curve(again)[1]


class Interrupt(Exception):
    pass


def _stop_at(number):
    def say(progress):
        if progress.step.number == number:
            raise Interrupt

    return say


def test_resume_gives_the_unbroken_curve_bit_for_bit(unbroken, sessions, sides, tmp_path):
    with pytest.raises(Interrupt):
        train(sessions, sides, tmp_path / "run", say=_stop_at(27))  # between two checkpoints
    run, _ = train(sessions, sides, tmp_path / "run")
    assert curve(run) == curve(unbroken[0])
    for name, value in weights(run).items():
        assert torch.equal(value, weights(unbroken[0])[name]), name


@pytest.mark.parametrize("drop", ["optim.", "model."])
def test_resume_notices_a_dropped_state(unbroken, sessions, sides, tmp_path, monkeypatch, drop):
    with pytest.raises(Interrupt):
        train(sessions, sides, tmp_path / "run", say=_stop_at(25))
    whole = checkpoint.training_state

    def without(folder):
        state = whole(folder)
        if drop == "optim.":
            return {k: v for k, v in state.items() if not k.startswith("optim.")}
        return {k: v + 1e-3 if k.startswith("model.") else v for k, v in state.items()}

    monkeypatch.setattr(checkpoint, "training_state", without)
    run, _ = train(sessions, sides, tmp_path / "run")
    assert curve(run) != curve(unbroken[0])


def _child(sessions, sides, folder):
    train(sessions, sides, folder, say=lambda _: time.sleep(0.01))


def test_killed_and_resumed(unbroken, sessions, sides, tmp_path):
    context = multiprocessing.get_context("spawn")
    folder = tmp_path / "run"
    process = context.Process(target=_child, args=(sessions, sides, folder))
    process.start()
    deadline = time.monotonic() + 60
    while len(checkpoint.folders(folder / "checkpoints")) < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    run, _ = train(sessions, sides, folder)
    assert curve(run) == curve(unbroken[0])


def test_ctrl_c_saves_and_resumes(unbroken, sessions, sides, tmp_path):
    def press(progress):
        if progress.step.number == 23:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(sessions, sides, tmp_path / "run", say=press)
    assert checkpoint.newest_intact(tmp_path / "run" / "checkpoints").name == "step-00000023"
    run, _ = train(sessions, sides, tmp_path / "run")
    assert curve(run) == curve(unbroken[0])


def test_patience_stops_and_the_best_is_returned(sessions, sides, tmp_path, monkeypatch):
    scores = iter([0.1, 0.3, 0.2, 0.25, 0.9])
    monkeypatch.setattr(pretrain_module, "validate", lambda *_: {"score": next(scores)})
    config = CONFIG.model_copy(update={"patience": 2, "steps": 200})
    run, trained = train(sessions, sides, tmp_path / "run", config)
    seen = {r["step"]: r["score"] for r in run.log_rows() if r["event"] == "valid"}
    assert seen == {10: 0.1, 20: 0.3, 30: 0.2, 40: 0.25}
    assert (trained.step, trained.valid["score"]) == (20, 0.3)


def test_nan_is_refused_before_the_weights_are_touched(sessions, sides):
    training, _ = prepare(sessions, sides["train"], CONFIG, CPU)
    training.model.read_out.bias.shared.data[0] = float("nan")
    before = {k: v.clone() for k, v in training.model.state_dict().items()}
    batches = _batches(sessions, sides, training)
    loop = steps(training.model, batches, optimisers(training.model, CONFIG.optim),
                 share=lambda _: 1.0, clip=1.0, seed=0, loss=masked_loss)  # fmt: skip
    with pytest.raises(CheckFailed, match=r"step \d: the loss is nan"):
        list(islice(loop, 5))  # within a few steps a window holds the poisoned channel
    after = training.model.state_dict()
    assert all(torch.equal(v.nan_to_num(7), after[k].nan_to_num(7)) for k, v in before.items())


def _batches(sessions, sides, training):
    from neurofm.tokens.timebin import TimeBin
    from neurofm.tokens.vocabulary import statistics
    from neurofm.train.batches import Corpus, MaskedBatches

    measured = {r.id: statistics(r, sides["train"][r.id], 0.02) for r in sessions}
    corpus = Corpus.of(sessions, training.vocabulary, measured, 0.02)
    mixture = MaskConfig().mixture(0.02)
    return MaskedBatches.over(corpus, sides["train"], mixture, TimeBin(), length=30, size=8, seed=0)


def test_a_session_without_a_training_part_is_left_out(sessions, sides, tmp_path):
    fewer = {side: {k: v for k, v in spans.items() if k != "b-1"} for side, spans in sides.items()}
    _, trained = train(sessions, fewer, tmp_path / "run", CONFIG.model_copy(update={"steps": 2}))
    assert not any(recording == "b-1" for recording, _ in trained.vocabulary.sites)
    with pytest.raises(InputError, match="No recording has a training part"):
        train(sessions, {"train": {}, "valid": {}}, tmp_path / "none")


@pytest.mark.parametrize("name", ["weights.safetensors", "training.safetensors", "checkpoint.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(sessions, sides, tmp_path, name):
    run, _ = train(sessions, sides, tmp_path / "run", CONFIG.model_copy(update={"steps": 20}))
    older, newest = checkpoint.folders(run.checkpoints)[-2:]
    data = bytearray((newest / name).read_bytes())
    data[len(data) // 2] ^= 1
    (newest / name).write_bytes(data)
    with pytest.raises(StoreError, match=name):
        checkpoint.load(newest)
    assert checkpoint.newest_intact(run.checkpoints) == older
    assert checkpoint.best_intact(run.checkpoints) == older


def test_a_damaged_last_checkpoint_is_made_again(unbroken, sessions, sides, tmp_path):
    run, _ = train(sessions, sides, tmp_path / "run")
    newest = checkpoint.folders(run.checkpoints)[-1]
    (newest / "training.safetensors").write_bytes(b"torn")
    train(sessions, sides, tmp_path / "run")
    checkpoint.verify(newest)
    assert curve(run) == curve(unbroken[0])


def test_a_half_removed_checkpoint_stops_no_save(unbroken, sessions, sides, tmp_path):
    with pytest.raises(Interrupt):
        train(sessions, sides, tmp_path / "run", say=_stop_at(25))
    run = Run(tmp_path / "run")
    (checkpoint.folders(run.checkpoints)[0] / "checkpoint.json").unlink()
    train(sessions, sides, tmp_path / "run")
    assert curve(run) == curve(unbroken[0])


def test_training_state_of_another_run_is_refused(sessions, sides, tmp_path, monkeypatch):
    train(sessions, sides, tmp_path / "run", CONFIG.model_copy(update={"steps": 10}))
    whole = checkpoint.training_state
    monkeypatch.setattr(
        checkpoint,
        "training_state",
        lambda f: {k: v[:1] if k.startswith("optim.") else v for k, v in whole(f).items()},
    )
    with pytest.raises(StoreError, match=r"training\.safetensors is not of this run"):
        train(sessions, sides, tmp_path / "run")


def test_no_checkpoint_is_said(tmp_path):
    with pytest.raises(StoreError, match="no intact checkpoint"):
        checkpoint.best_intact(new_run(tmp_path / "run").checkpoints)


def test_log_is_json_lines(unbroken):
    for line in unbroken[0].log.read_text().splitlines():
        assert json.loads(line)["event"] in {"tokens", "step", "valid"}


def test_the_log_says_how_many_tokens_there_are_and_how_often_the_budget_is_short(
    sessions, sides, tmp_path
):
    found = {}
    for name, tokens in {
        "bins": {"kind": "time-bin"}, "patches": {"channels": 5}, "rich": {"budget": 500},
        "poor": {"budget": 5},
    }.items():  # fmt: skip
        model = CONFIG.model.model_copy(update={"tokens": ModelConfig(tokens=tokens).tokens})
        config = CONFIG.model_copy(update={"steps": 2, "model": model})
        run, trained = train(sessions, sides, tmp_path / name, config)
        found[name] = next(row for row in run.log_rows() if row["event"] == "tokens")
        assert type(trained.model.config.tokens) is type(model.tokens)  # it is in the checkpoint
    assert found["bins"]["mean"] == config.window_bins
    assert 2 * config.window_bins <= found["patches"]["mean"] <= 3 * config.window_bins
    assert found["rich"]["coarse"] == 0
    assert found["poor"]["coarse"] > 0.5
    assert found["poor"]["most"] <= config.window_bins // 5 * (5 + 12)
