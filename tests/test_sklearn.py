"""The model inside scikit-learn: estimators that clone, search, cross-validate, and say what is wrong."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from neurofm import Intervals, Run
from neurofm.errors import InputError
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.features import latents
from neurofm.model import checkpoint
from neurofm.sharing import save_pretrained
from neurofm.sklearn import Decoder, Embedder, LabelDecoder, SignalDecoder
from neurofm.train.pretrain import PretrainConfig, pretrain

CPU = torch.device("cpu")
CONFIG = PretrainConfig(
    bin_s=0.02, window_bins=40, windows=8, steps=30, validate_every=30, valid_batches=1,
    precision="fp32", model={"backbone": {"width": 16, "layers": 1, "heads": 2, "mlp": 16}, "kernel": 3},
    optim={"warmup": 5, "rate": 5e-3, "average": 0.9},
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(sessions, sides, tmp_path_factory):
    torch.set_num_threads(1)
    run = Run(tmp_path_factory.mktemp("run"))
    return run, pretrain(sessions, sides, CONFIG, run, device=CPU, say=lambda _: None)


@pytest.fixture(scope="module")
def embedder(trained):
    return Embedder(trained[1], recording="a-1")


@pytest.fixture(scope="module")
def planted():
    """60 windows of the channels of a-1 whose label doubles the rate of half of the channels."""
    rng = np.random.default_rng(0)
    label = np.tile([0, 1], 30)
    rates = np.full((60, 20, 12), 0.5)
    rates[label == 1, :, ::2] *= 2.5
    drive = rng.normal(size=(60, 1))
    rates[:, :, 1::2] *= np.exp(0.7 * drive)[:, :, None]
    return rng.poisson(rates), np.where(label, "go", "stop"), drive[:, 0], np.arange(60) // 6


def test_latents_are_those_of_the_model(trained, embedder, sessions):
    counts = np.asarray(sessions[0].activity.values[:100])
    span = Intervals.of([(0.0, 2.0)])
    direct = Direct.of(trained[1], sessions[0], CPU)
    expected, _ = latents(direct, sessions[0], span)
    fitted = embedder.fit(counts)
    assert np.array_equal(fitted.transform(counts), expected)
    windows = counts.reshape(2, 50, 12)
    pooled = fitted.transform(windows)
    assert pooled.shape == (2, 16)
    assert np.allclose(pooled[0], fitted.transform(windows[0]).mean(0), atol=1e-6)
    as_list = fitted.transform([windows[0], windows[1][:30]])
    assert np.allclose(as_list[0], pooled[0], atol=1e-6)
    assert not np.allclose(as_list[1], pooled[1], atol=1e-3)
    assert list(fitted.get_feature_names_out()[:2]) == ["embedder0", "embedder1"]


def test_a_run_or_shared_weights_will_do(trained, embedder, planted, tmp_path):
    run, model = trained
    shared = save_pretrained(model, tmp_path / "shared")
    X = planted[0]
    expected = embedder.fit_transform(X)
    for source in (run.folder, str(shared)):
        assert np.array_equal(Embedder(source, recording="a-1").fit_transform(X), expected)


def test_channels_alone_are_measured_at_fit_and_never_at_transform(trained, sessions, planted):
    X = planted[0]
    embedder = Embedder(trained[1], channels=[f"a{i}" for i in range(12)]).fit(X[:30])
    root = np.sqrt(np.concatenate(list(X[:30])))
    stats = embedder.trained_.statistics
    assert np.allclose(stats.mean, root.mean(0), rtol=1e-5)
    assert np.allclose(stats.scale, root.std(0) + 0.05, rtol=1e-5)
    alone = embedder.transform(X[30:31])
    among = embedder.transform(np.concatenate([X[30:31], X[40:] * 5]))[:1]
    assert np.allclose(alone, among, atol=1e-5)
    rows, whole = embedder.trained_.vocabulary.channels, trained[1].vocabulary.channels
    table = "read_in.rows.shared"
    assert torch.equal(
        embedder.trained_.model.state_dict()[table][[rows["a3"]]],
        trained[1].model.state_dict()[table][[whole["a3"]]],
    )


def test_the_order_of_channels_and_a_part_of_them(trained, planted):
    X, at = planted[0], [5, 0, 3, 8]
    ids = [f"a{i}" for i in at]
    some = Embedder(trained[1], recording="a-1", channels=ids).fit_transform(X[:, :, at])
    back = Embedder(trained[1], recording="a-1", channels=ids[::-1]).fit_transform(
        X[:, :, at[::-1]]
    )
    assert some.shape == (60, 16)
    assert np.allclose(some, back, atol=1e-5)
    assert not np.allclose(some, back[::-1], atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "change", "said"),
    [
        ({}, None, r"channels=\[ids\], or the recording=id"),
        ({"recording": "a-9"}, None, "not trained on 'a-9'; it knows a-1, a-2, b-1"),
        ({"channels": ["a0", "x", "y"]}, None, "2 of 3 channels have no row in the model: x, y"),
        ({"recording": "a-1", "channels": ["b0"]}, None, "1 of 1 channels have no row"),
        ({"recording": "a-1", "bin_s": 0.05}, None, r"bins of 0\.02 s and bin_s is 0\.05"),
        ({"recording": "a-2"}, None, "X has 12 channels and the Embedder has 9"),
        ({"recording": "a-1"}, lambda x: x * 0.5, "no count"),
        ({"recording": "a-1"}, lambda x: x - 1, "negative"),
        ({"recording": "a-1"}, lambda x: np.where(x, x, np.nan), "no count"),
        ({"recording": "a-1"}, lambda x: x[:0], "none empty"),
        ({"recording": "a-1"}, lambda x: x[:, :, 0, None, None], r"\(n, T, C\)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(trained, planted, settings, change, said):
    X = planted[0] if change is None else change(planted[0])
    with pytest.raises(InputError, match=said):
        Embedder(trained[1], **settings).fit(X)


def test_decoders_find_what_is_planted_with_groups_and_searches(embedder, planted):
    X, label, drive, group = planted
    folds = GroupKFold(3)
    labels = cross_val_score(LabelDecoder(embedder), X, label, cv=folds, groups=group)
    assert labels.mean() > 0.75
    signals = cross_val_score(SignalDecoder(embedder), X, drive, cv=folds, groups=group)
    assert signals.mean() > 0.3
    other = np.random.default_rng(1).permutation(60)
    assert (
        cross_val_score(SignalDecoder(embedder), X, drive[other], cv=folds, groups=group).mean()
        < 0.2
    )
    search = GridSearchCV(SignalDecoder(embedder), {"alpha": [0.1, 1e6]}, cv=3).fit(X, drive)
    assert search.best_params_ == {"alpha": 0.1}
    assert search.predict(X[:4]).shape == (4,)


def test_any_head_and_a_plain_pipeline_say_the_same(embedder, planted):
    X, label, _, _ = planted
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    mine = LabelDecoder(embedder).fit(X, label)
    for other in (Decoder(embedder, head), make_pipeline(embedder, StandardScaler(),
                                                         LogisticRegression(max_iter=2000))):  # fmt: skip
        assert list(other.fit(X, label).predict(X)) == list(mine.predict(X))
        assert other.score(X, label) == mine.score(X, label)
    assert list(mine.classes_) == ["go", "stop"]
    assert np.allclose(mine.predict_proba(X).sum(1), 1)
    lists = [list(x[: 10 + i % 5]) for i, x in enumerate(X)]
    assert LabelDecoder(embedder).fit(lists, label).score(lists, label) > 0.8


def test_bins_of_one_stretch_are_samples(embedder, sessions):
    counts = np.asarray(sessions[0].activity.values[:600])
    wanted = np.stack([counts[:, 0].cumsum() * 0.0 + 1, counts[:, 1]], 1)
    decoder = SignalDecoder(embedder).fit(counts, wanted)
    assert decoder.predict(counts).shape == (600, 2)
    scores = cross_val_score(SignalDecoder(embedder), counts, counts[:, 1], cv=TimeSeriesSplit(2))
    assert np.isfinite(scores).all()


CHECKS = [
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_mixin_order",
    "check_do_not_raise_errors_in_init_or_set_params",
]
"""Those that give no X. Left out are those that do: they make real-valued X of their own, of 1 to 20
columns, negative or not finite, where a pre-trained model takes counts of channels that it knows
(`test_what_is_wrong_is_said` holds what it says of others); and those that permute or subset rows,
which are successive bins here, so that their order is part of the answer. What they stand for is
held below."""


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("kind", [Embedder, Decoder, LabelDecoder, SignalDecoder])
def test_scikit_learns_own_checks(kind, check):
    if not hasattr(estimator_checks, check):
        pytest.skip(f"this scikit-learn has no {check}")
    getattr(estimator_checks, check)(kind.__name__, kind())


def test_fitting_is_idempotent_and_changes_no_parameter(embedder, planted):
    X, label, _, _ = planted
    before = X.copy()
    decoder = LabelDecoder(Embedder(**embedder.get_params()), C=0.5)
    first = decoder.fit(X, label).predict_proba(X)
    assert np.array_equal(decoder.fit(X, label).predict_proba(X), first)
    assert decoder.fit(X, label) is decoder
    assert decoder.get_params()["C"] == 0.5
    assert not hasattr(decoder.embedder, "trained_")  # the given one is cloned, not fitted
    assert np.array_equal(X, before)
    assert decoder.n_features_in_ == 12
    decoder.set_params(embedder__recording="a-9")
    with pytest.raises(InputError, match="a-9"):
        decoder.fit(X, label)


def test_not_fitted_is_said():
    from sklearn.exceptions import NotFittedError

    for call in (Embedder().transform, LabelDecoder().predict, SignalDecoder().predict):
        with pytest.raises(NotFittedError):
            call(np.zeros((2, 3, 4)))
    with pytest.raises(InputError, match="needs an Embedder"):
        SignalDecoder().fit(np.zeros((2, 3, 4)), [0, 1])
    with pytest.raises(InputError, match="needs a model"):
        Embedder().fit(np.zeros((2, 3, 4)))


def test_importing_neurofm_loads_neither_scikit_learn_nor_torch():
    code = "import sys, neurofm; print({'sklearn', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_best_checkpoint_of_a_run_is_taken(trained):
    run, model = trained
    best = checkpoint.load(checkpoint.best_intact(run.checkpoints))
    assert best.step == model.step
