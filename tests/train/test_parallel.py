"""Real processes over the loopback train the model that one process trains."""

import multiprocessing
import os
import shutil
import signal
import socket
import sys
import time

import pytest
import torch

from neurofm import Run, files
from neurofm.errors import ConfigError
from neurofm.model import checkpoint
from neurofm.tokens.vocabulary import Vocabulary, statistics
from neurofm.train.batches import Corpus
from neurofm.train.context import ALONE, Context, processes
from neurofm.train.exact import paired
from neurofm.train.parallel import refuse_unfit
from neurofm.train.pretrain import PretrainConfig, pretrain, sampled

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["neurofm.train.pretrain", "torch.distributed.fsdp"])
BACKBONE = {"width": 16, "layers": 1, "heads": 2, "mlp": 32, "dropout": 0.0}
LFADS = {"width": 8, "encoder": 8, "generator": 8, "controller": 8, "first_width": 4}
ADAMW = {"warmup": 5, "rate": 5e-3, "matrix_rate": 0, "average": 0.9}
PLAIN = PretrainConfig(
    bin_s=0.02, window_bins=30, windows=8, steps=50, validate_every=25, valid_batches=1,
    precision="fp32", model={"backbone": BACKBONE, "kernel": 5}, optim=ADAMW,
)  # fmt: skip


def short(steps: int = 6, **changes) -> PretrainConfig:
    """A few steps of another model."""
    return PretrainConfig(**PLAIN.model_dump() | {"steps": steps, "validate_every": 3} | changes)


DROPPING = {"backbone": BACKBONE | {"dropout": 0.2}, "kernel": 5}
CASES = {  # the same as one process, up to rounding
    "plain": PLAIN,
    "inductive": short(model={"backbone": BACKBONE, "rows": "inductive"}),
    "both": short(model={"backbone": BACKBONE, "rows": "both"}),
    "patch": short(model={"backbone": BACKBONE, "tokens": {"channels": 5}}),
    "event": short(model={"backbone": BACKBONE, "tokens": {"budget": 200}}),
    "deep": short(model={"backbone": BACKBONE | {"layers": 2}, "kernel": 5}),
}
EXACT = {  # the same bits
    "transformer": short(exact=4, model=DROPPING, optim=ADAMW | {"matrix_rate": 0.01}),
    "lfads": short(exact=4, model={"backbone": LFADS}, window_bins=10),
}


def train(context, sessions, sides, folder, config, cut=False):
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True, parents=True)
    pretrain(sessions, sides, config, Run(folder), device=torch.device("cpu"),
             say=lambda _: None, context=context, cut=cut)  # fmt: skip


def all_of(context, sessions, sides, jobs):
    for folder, config, cut in jobs:
        train(context, sessions, sides, folder, config, cut)


def start(work, world_size, folder, *arguments):
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    said = [folder / f"stderr-{rank}" for rank in range(world_size)]
    members = [FORKS.Process(target=_member, args=(work, rank, world_size, port, path, arguments))
               for rank, path in enumerate(said)]  # fmt: skip
    for member in members:
        member.start()
    return members, said


def _member(work, rank, world_size, port, said, arguments):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port)}  # fmt: skip
    with said.open("w", buffering=1) as sys.stderr:
        try:
            with processes() as context:
                work(context, *arguments)
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            sys.exit(getattr(error, "exit_code", 1))


def run(work, world_size, folder, *arguments):
    members, said = start(work, world_size, folder, *arguments)
    for member in members:
        member.join(100)
    assert [m.exitcode for m in members] == [0] * world_size, [p.read_text() for p in said]


def without_end(folder, to):
    """A copy of a run that lost its last checkpoint."""
    shutil.copytree(folder, to)
    shutil.rmtree(checkpoint.folders(to / "checkpoints")[-1])
    return to


@pytest.fixture(scope="module")
def alone(sessions, sides, tmp_path_factory):
    root = tmp_path_factory.mktemp("alone")
    for name, config in (CASES | EXACT).items():
        train(ALONE, sessions, sides, root / name, config)
    return root


@pytest.fixture(scope="module")
def pair(alone, sessions, sides, tmp_path_factory):
    root = tmp_path_factory.mktemp("pair")
    jobs = [(root / name, config, False) for name, config in (CASES | EXACT).items()]
    jobs += [(root / "cut", CASES["deep"], True)]
    jobs += [(without_end(alone / "plain", root / "resumed"), PLAIN, False)]
    jobs += [(without_end(alone / "deep", root / "resumed-cut"), CASES["deep"], True)]
    run(all_of, 2, root, sessions, sides, jobs)
    return root


@pytest.fixture(scope="module")
def four(alone, sessions, sides, tmp_path_factory):
    root = tmp_path_factory.mktemp("four")
    resumed, config = without_end(alone / "transformer", root / "resumed"), EXACT["transformer"]
    jobs = [(root / "transformer", config, False), (resumed, config, False)]
    run(all_of, 4, root, sessions, sides, jobs)
    return root


def curve(folder):
    return [r["loss"] for r in Run(folder).log_rows() if r["event"] == "step"]


def state(folder):
    return checkpoint.training_state(checkpoint.newest_intact(folder / "checkpoints"))


def hashes(folder):
    return files.manifest_of(checkpoint.newest_intact(folder / "checkpoints"))


def assert_alike(folder, other):
    """Curves and everything in the last checkpoint, up to what rounding does in 50 steps."""
    assert curve(folder) == pytest.approx(curve(other), abs=2e-6)
    mine, theirs = state(folder), state(other)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.allclose(value, theirs[name], atol=1e-5), name


@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one(alone, pair, name):
    assert len(curve(pair / name)) == CASES[name].steps
    assert_alike(pair / name, alone / name)


def test_rows_move_as_in_one_process_though_a_process_saw_some_sessions_only(
    alone, pair, sessions, sides
):
    vocabulary = Vocabulary.of(sessions, True)
    measured = {r.id: statistics(r, sides["train"][r.id], 0.02) for r in sessions}
    corpus = Corpus.of(sessions, vocabulary, measured, 0.02)
    batches = sampled(corpus, sides["train"], PLAIN, "train")
    seen = [
        [{int(g.context.site[0]) for g in batches.part(rank, 2)(k)[0].groups} for rank in (0, 1)]
        for k in range(PLAIN.steps)
    ]
    assert sum(first != second for first, second in seen) > 5
    assert sum(len(first | second) < 3 for first, second in seen) > 0  # and some nobody saw
    one, two = state(alone / "plain"), state(pair / "plain")
    counts = [name for name in one if name.endswith(".count")]
    assert len(counts) >= 4
    for name in counts:  # of the steps in which a row had a gradient
        assert torch.equal(one[name], two[name]), name
        assert not one[name].eq(PLAIN.steps).all(), name


def test_a_trunk_cut_over_two_processes_is_that_of_one(alone, pair):
    assert_alike(pair / "cut", alone / "deep")
    one, two = (
        checkpoint.load(checkpoint.newest_intact(folder / "checkpoints"))
        for folder in (alone / "deep", pair / "cut")
    )
    mine, theirs = one.model.state_dict(), two.model.state_dict()
    assert list(mine) == list(theirs)  # the average, as one process would have saved it
    assert all(torch.allclose(value, theirs[name], atol=1e-5) for name, value in mine.items())
    assert one.valid == pytest.approx(two.valid, abs=1e-4)


@pytest.mark.parametrize(("name", "like"), [("resumed", "plain"), ("resumed-cut", "deep")])
def test_a_run_of_one_process_goes_on_in_two(alone, pair, name, like):
    assert_alike(pair / name, alone / like)


@pytest.mark.parametrize(("name", "like"), [("plain", "plain"), ("cut", "deep")])
def test_a_run_of_two_processes_goes_on_in_one(alone, pair, sessions, sides, tmp_path, name, like):
    back = without_end(pair / name, tmp_path / "back")
    train(ALONE, sessions, sides, back, CASES[like])
    assert_alike(back, alone / like)


@pytest.mark.parametrize("name", EXACT)
def test_exact_gives_the_same_bits_for_one_process_and_two(alone, pair, name):
    assert curve(pair / name) == curve(alone / name)
    assert hashes(pair / name) == hashes(alone / name)


def test_exact_gives_the_same_bits_for_four_processes(alone, four):
    assert curve(four / "transformer") == curve(alone / "transformer")
    assert hashes(four / "transformer") == hashes(alone / "transformer")


def test_exact_goes_on_with_the_same_bits_in_other_processes(alone, four):
    assert hashes(four / "resumed") == hashes(alone / "transformer")


def test_the_sum_is_a_tree_of_neighbours():
    big = [torch.tensor([x]) for x in (1e8, 1.0, -1e8, 1.0, 3.0, -2.0, 1e-3, 5.0)]
    a, b, c, d, e, f, g, h = big
    assert torch.equal(paired(big), ((a + b) + (c + d)) + ((e + f) + (g + h)))
    assert not torch.equal(paired(big), sum(big[1:], big[0]))


def forever(context, sessions, sides, folder):
    config = PLAIN.model_copy(update={"steps": 10_000_000, "validate_every": 5})
    train(context, sessions, sides, folder, config)


def test_when_the_writing_process_dies_the_other_ends_and_says_so(sessions, sides, tmp_path):
    members, said = start(forever, 2, tmp_path, sessions, sides, tmp_path / "run")
    deadline = time.monotonic() + 60
    while not checkpoint.folders(tmp_path / "run" / "checkpoints") and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(members[0].pid, signal.SIGKILL)
    members[1].join(30)
    words = said[1].read_text()
    assert members[1].exitcode == 3, words
    assert "process 1 of 2 lost another one" in words
    assert "--resume" in words
    assert checkpoint.newest_intact(tmp_path / "run" / "checkpoints")


def disagree(context, folder):
    with context.together():
        if context.rank == 1:
            raise ConfigError("a reason of its own")
    (folder / "went-on").touch()


def differ(context, folder):
    context.agree("the store", str(context.rank))
    (folder / "went-on").touch()


@pytest.mark.parametrize(
    ("work", "codes", "words"),
    [(disagree, [3, 2], ["another one could not go on", "a reason of its own"]),
     (differ, [2, 2], ["the store is not the same"] * 2)],
)  # fmt: skip
def test_all_stop_before_training_if_one_must(tmp_path, work, codes, words):
    members, said = start(work, 2, tmp_path, tmp_path)
    for member in members:
        member.join(60)
    assert [m.exitcode for m in members] == codes
    assert all(word in path.read_text() for word, path in zip(words, said, strict=True))
    assert not (tmp_path / "went-on").exists()


@pytest.mark.parametrize(
    ("world_size", "changes", "words"),
    [
        (9, {}, "windows=8 a step cannot be shared by 9"),
        (1, {"n_parts": 16}, "cannot be shared by 16"),
        (3, {"n_parts": 8}, "exact=8 slices, 3 processes"),
        (1, {"n_parts": 6}, "power of two"),
        (1, {"cut": True}, "--shard needs several"),
        (2, {"cut": True, "n_parts": 4}, "--exact cannot have"),
        (2, {"cut": True, "muon": True}, "optim.matrix_rate=0"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(world_size, changes, words):
    plain = {"n_windows": 8, "n_parts": 0, "cut": False, "muon": False}
    refuse_unfit(Context(0, 2), **plain)
    with pytest.raises(ConfigError, match=words):
        refuse_unfit(Context(0, world_size), **plain | changes)


def test_tasks_that_do_not_know_of_each_other_are_refused(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with pytest.raises(ConfigError, match="4 tasks that do not know of each other"), processes():
        pass
