"""The tuner times whole steps of doubling sizes and names the one that is worth its memory."""

import json
from itertools import pairwise

import pytest
import torch

from neurofm import Intervals
from neurofm.batch_size import Tried, chosen, room_bytes, tried
from neurofm.cli import main
from neurofm.data.store import create_store
from neurofm.errors import InputError
from neurofm.train.pretrain import PretrainConfig

CPU = torch.device("cpu")
SMALL = PretrainConfig(
    bin_s=0.02, window_bins=30, precision="fp32", model={"backbone": {"width": 16, "layers": 1}}
)


def test_sizes_double_until_memory_is_full(sessions):
    part = {sessions[0].id: Intervals.of([(0, 5)])}
    rows = list(tried(sessions, part, SMALL, CPU, float("inf"), seconds=0))
    assert [one.windows for one in rows] == [2**k for k in range(len(rows))]
    assert len(rows) >= 2
    assert all(one.windows_per_s > 0 for one in rows)
    bytes_each = [(b.n_bytes - a.n_bytes) / a.windows for a, b in pairwise(rows)]
    assert max(bytes_each) < 1.5 * min(bytes_each)  # what grows are activations, by the window
    few = list(tried(sessions, part, SMALL, CPU, 2.0 * rows[0].n_bytes - 1, seconds=0))
    assert [one.windows for one in few] == [1]
    assert room_bytes(CPU) > 1e6


def test_no_more_is_tried_than_the_training_part_holds(sessions):
    short = {r.id: Intervals.of([(0, 1.3)]) for r in sessions[:1]}  # two windows of 0.6 s
    rows = list(tried(sessions, short, SMALL, CPU, float("inf"), seconds=0))
    assert [one.windows for one in rows] == [1, 2]
    with pytest.raises(InputError, match="has a training part"):
        next(tried(sessions, {}, SMALL, CPU, float("inf")))


@pytest.mark.parametrize(
    ("rates", "windows"),
    [((10, 20, 30), 4), ((10, 10.4), 1), ((10, 20, 19), 2), ((10, 10.4, 10.6), 4), ((10,), 1)],
)
def test_the_last_size_that_was_worth_it_is_chosen(rates, windows):
    assert chosen([Tried(2**k, rate, 1) for k, rate in enumerate(rates)]).windows == windows


def test_nothing_that_fits_is_said():
    with pytest.raises(InputError, match="Not even one window"):
        chosen([])


def test_the_command_prints_a_table_and_sets_nothing(sessions, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("neurofm.batch_size.room_bytes", lambda _: 1.9e6)  # for two sizes
    store = create_store(tmp_path / "store")
    for recording in sessions:
        store.write(recording)
    command = ["plan", str(store.folder), "--device", "cpu", "--tune",
               "--set", "window_bins=30", "--set", "model.backbone.width=16"]  # fmt: skip
    before = sorted(p for p in tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "windows/s  memory" in shown
    assert shown.count("<- fastest for its memory") == 1
    assert "to train so: --set windows=" in shown
    assert "of 32 windows" in shown  # the plan is that of the configuration
    assert sorted(p for p in tmp_path.rglob("*")) == before
    with pytest.raises(SystemExit):
        main([*command, "--json"])
    tree = json.loads(capsys.readouterr().out)
    assert tree["windows"] == 32
    assert tree["tuned"][0]["windows"] == 1
