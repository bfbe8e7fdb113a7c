"""What the figures draw: their choice of units, order, numbers and bounds."""

import dataclasses
import io

import numpy as np
import pytest

from neurofm.report import (
    anatomy,
    dots,
    embedding,
    figures,
    raster,
    records,
    scores,
    spread,
    traces,
)
from neurofm.report.records import Embeddings, Panel, Units
from neurofm.results import Result

Image = pytest.importorskip("PIL.Image")


def panel(counts: np.ndarray, rates: np.ndarray, name: str = "a", region: str = "") -> Panel:
    n = counts.shape[1]
    ids = np.array([f"{name}{i}" for i in range(n)])
    return Panel(name, 10.0, 0.02, ids, np.full(n, region), counts, rates, np.linspace(0, 1, n), {})


def pixels(drawn: figures.Drawn) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(drawn.png)).convert("RGB"))


def test_smoothing_keeps_a_constant_and_the_mean_place():
    assert np.allclose(figures.smooth(np.full((20, 2), 3.0), 2.5), 3.0)
    pulse = np.zeros(41)
    pulse[20] = 1.0
    assert figures.smooth(pulse, 2.0).argmax() == 20
    assert figures.smooth(pulse, 2.0).sum() == pytest.approx(1.0, abs=0.01)


def test_rows_are_sorted_by_region_then_by_peak_of_the_rate():
    rates = np.zeros((30, 4))
    for channel, peak in enumerate((25, 5, 15, 2)):
        rates[peak, channel] = 1.0
    p = dataclasses.replace(panel(np.ones((30, 4)), rates), region=np.array(["x", "x", "x", "y"]))
    assert raster.peak_order(p).tolist() == [1, 2, 0, 3]


def test_raster_numbers_and_alt_text(run_folder):
    p = records.load(run_folder).windows[0]
    drawn = raster.window_raster(p)
    total = int(p.counts.sum())
    assert f"{total} counts recorded" in drawn.alt
    assert sum(int(row[2]) for row in drawn.grid.rows) == total
    assert len(drawn.grid.rows) == p.counts.shape[1]
    assert pixels(drawn).shape[1] == int(figures.WIDTH_IN * figures.DPI)


def test_a_silent_window_with_undefined_rates_is_drawn():
    rates = np.full((12, 3), np.nan)
    assert "0 counts recorded" in raster.window_raster(panel(np.zeros((12, 3)), rates)).alt


def test_examples_are_percentiles_from_different_recordings():
    counts = np.ones((30, 101))
    windows = [panel(counts, counts, "a"), panel(counts, counts, "b")]
    chosen = traces.choose(windows)
    assert [c.name for c in chosen] == ["good", "good", "median", "median", "bad", "bad"]
    assert [round(c.bps, 2) for c in chosen] == [0.9, 0.9, 0.5, 0.5, 0.1, 0.1]
    assert {c.panel.recording for c in chosen[:2]} == {"a", "b"}


def test_units_with_hardly_a_spike_are_no_examples():
    counts = np.zeros((30, 5))
    counts[:6, 2] = 1
    assert [c.column for c in traces.choose([panel(counts, counts)])] == [2]
    assert traces.choose([panel(counts * 0, counts)]) == []


def test_traces_are_rates_per_second():
    counts = np.tile([[0], [1]], (40, 8))
    chosen = traces.choose([panel(counts, np.full((80, 8), 0.5))])
    assert traces.expected_hz(chosen[0]) == pytest.approx(np.full(80, 25.0))
    assert traces.recorded_hz(chosen[0])[40] == pytest.approx(25.0, rel=0.01)
    drawn = traces.unit_traces(chosen)
    assert "expected 25.0/s" in drawn.alt
    assert len(drawn.grid.rows) == 80 * len(chosen)


def test_spread_joins_rare_regions_and_skips_undefined_scores():
    n = 60
    region = np.array([f"r{i % 30:02d}" for i in range(n)])
    bps = np.linspace(-1, 1, n)
    bps[0] = np.nan
    units = [Units("a", np.arange(n).astype(str), region, np.ones(n), bps, bps)]
    regions, kept, _ = spread.pooled(units)
    assert len(kept) == n - 1
    assert len(set(regions)) == spread.N_REGIONS + 1
    assert spread.ordered(regions, kept)[-1] == "other regions"
    drawn = spread.unit_spread(units)
    assert "59 units" in drawn.alt
    assert len(drawn.grid.rows) == n


def test_separation_is_the_share_of_variance_between_groups():
    xy = np.array([[0.0, 0.0], [0.0, 0.0], [2.0, 2.0], [2.0, 2.0], [np.nan, 0.0]])
    assert embedding.separation(xy, np.array(list("aabbc"))) == pytest.approx(1.0)
    assert embedding.separation(xy, np.array(list("ababc"))) == pytest.approx(0.0)


def test_labels_of_sessions_meet_neither_points_nor_each_other():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 160, (30, 2))
    places = embedding.label_places(points, [str(i) for i in range(30)])
    at = np.array([p + np.array(o) for p, o in zip(points, places, strict=True) if o is not None])
    assert len(at) > 10
    gaps = np.abs(at[:, None] - at[None]).max(axis=-1)[np.triu_indices(len(at), 1)]
    assert gaps.min() > 9


def test_embeddings_without_sessions_are_drawn():
    none = np.array([], dtype=str)
    names = np.array(["x", "y"])
    e = Embeddings(np.eye(2), names, names, names, np.zeros((0, 2)), none, none)
    assert "2 unit embeddings and 0 session" in embedding.embedding_map(e, {}).alt


def test_dots_hold_every_score_and_clip_only_far_baselines(run_folder):
    results = records.load(run_folder).results
    far = [r for r in results if r.predictor == "smoothing" and r.metric == "bps_pooled"]
    moved = [dataclasses.replace(r, value=-50.0) for r in far]
    s = scores.arrange([*results, *moved])[0]
    low, high = dots._limits(s)
    assert -1.0 < low < 0 < 0.5 < high < 1.0
    drawn = dots.score_dots(s)
    assert "model" in drawn.alt
    assert any("-50.000" in cell for row in drawn.grid.rows for cell in row)


def test_dots_of_a_probe_begin_at_chance(run_folder):
    s = scores.arrange(records.load(run_folder).results)[-1]
    assert s.task == "probe:choice"
    assert 0.4 < dots._limits(s)[0] < 0.5


def test_labels_that_the_font_lacks_become_boxes():
    assert figures.label("region 漢") == "region □"
    assert figures.label("$\\frac{$") == "$\\frac{$"


def test_confusions_of_regions_are_shares_of_those_recorded():
    regions, table = np.array([f"region {i}" for i in range(20)]), np.ones((2, 20, 20), dtype=int)
    table[0, 0] = 0
    table[0, 0, 0] = 7
    a = records.Anatomy(np.array(["model", "rate"]), regions, table, 4)
    assert a.shares("model")[0, 0] == 1
    assert a.shares("model")[1:].max() == pytest.approx(0.05)
    found = [
        Result(name, "anatomy", "all animals", "held-out animals", "macro_f1", value, value - 0.1,
               value + 0.1, 387, "", 0, chance=0.05)
        for name, value in (("model", 0.6), ("rate", 0.2))
    ]  # fmt: skip
    drawn = anatomy.anatomy_figure(a, anatomy.anatomy_scores(found))
    assert "model 0.600 [0.500, 0.700], chance 0.050" in drawn.alt
    assert "region 0 100%" in drawn.alt
    assert drawn.grid.rows[2][:5] == ("model: units of region 0", "", "", "7", "7")
