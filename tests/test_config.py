from pathlib import Path

import pytest
import yaml
from pydantic import Field

from neurofm.config import Config, dump, load
from neurofm.errors import ConfigError


class Model(Config):
    dim: int = Field(32, gt=0)
    dropout: float = 0.1


class Whole(Config):
    steps: int = 100
    lr: float = 1e-3
    name: str = "run"
    masks: tuple[str, ...] = ("units",)
    model: Model = Model()


def refused(*settings: str, file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(Whole, file, settings)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_defaults_then_file_then_settings(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("steps: 5\nmodel: {dim: 8}\n")
    config = load(Whole, path, ["model.dim=16", "lr=3e-4", "masks=[future, units]"])
    assert config == Whole(steps=5, lr=3e-4, masks=("future", "units"), model=Model(dim=16))
    assert config.model.dropout == 0.1


def test_a_setting_reaches_a_group_that_the_file_lacks() -> None:
    assert load(Whole, None, ["model.dropout=0"]).model == Model(dropout=0.0)


def test_the_last_setting_wins_and_values_may_hold_signs() -> None:
    assert load(Whole, None, ["name=a", "name=b=c"]).name == "b=c"


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("stpes=3", "no key stpes; did you mean steps?"),
        ("model.dmi=3", "no key model.dmi; did you mean model.dim?"),
        ("dim=3", "no key dim; did you mean model.dim?"),
        ("zzz=3", "no key zzz; valid keys are steps, lr, name, masks, model.dim, model.dropout."),
        ("steps=many", "steps = 'many': input should be a valid integer"),
        ("model.dim=0", "model.dim = 0: input should be greater than 0"),
        ("steps", "must look like key.subkey=value"),
        ("=3", "must look like key.subkey=value"),
        ("steps=[", "not YAML"),
        ("model=3", "model = 3"),
    ],
)
def test_a_bad_setting_gets_one_sentence(setting: str, hint: str) -> None:
    assert hint in refused(setting)


def test_a_value_is_not_a_group(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("steps: 5\n")
    assert "steps is a value, not a group" in refused("steps.a=1", file=path)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (None, "does not exist"),
        (b"- 1\n- 2\n", "must hold keys and values, not a list"),
        (b"a: [1\nb: }", "not readable YAML"),
        (b"\xff\xfe\x00", "not readable YAML"),
        (b"stpes: 1\n", "did you mean steps?"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes | None, hint: str) -> None:
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    sentence = refused(file=path)
    assert hint in sentence
    assert "mine.yaml" in sentence


def test_a_yaml_tag_builds_no_object(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("steps: !!python/object/apply:os.getpid []\n")
    assert "not readable YAML" in refused(file=path)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("# nothing yet\n")
    assert load(Whole, path) == Whole()


def test_dump_reads_back(tmp_path: Path) -> None:
    config = Whole(lr=3e-5, masks=("a", "b"), model=Model(dim=7))
    path = tmp_path / "c.yaml"
    path.write_text(dump(config))
    assert load(Whole, path) == config
    assert list(yaml.safe_load(dump(config))) == ["steps", "lr", "name", "masks", "model"]


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Whole().steps = 3  # type: ignore[misc]


class Tree(Config):
    height: float = 1.0
    rings: int = 3


class Shrub(Config):
    height: float = 1.0
    stems: int = 5


class Garden(Config):
    plant: Tree | Shrub = Tree()


def test_a_field_that_takes_one_of_two_groups_is_chosen_by_its_keys() -> None:
    assert load(Garden, None, ["plant.stems=2"]).plant == Shrub(stems=2)
    assert load(Garden, None, ["plant.height=2"]).plant == Tree(height=2)


def test_a_misspelt_key_in_one_of_two_groups_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"there is no key plant.stemz; did you mean plant.stems"):
        load(Garden, None, ["plant.stems=2", "plant.stemz=2"])
    with pytest.raises(ConfigError, match=r"plant.rings = 'x'"):
        load(Garden, None, ["plant.rings=x"])


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, levels)]
    return "\n".join([*lines, f"steps: *a{levels - 1}"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (bomb(30), "unfolds to 10000 values or more; write it without aliases"),
        ("steps: " + "[" * 5000 + "]" * 5000, "is not readable YAML"),
        ("steps: !!timestamp x", "is not readable YAML"),
        ("steps: !!python/object/apply:os.system ['touch escape']", "is not readable YAML"),
        ("a: &a [*a]\nsteps: 3", "unfolds to 10000 values or more"),
    ],
    ids=["bomb", "deep", "tag", "code", "circle"],
)
def test_a_file_that_would_harm_the_parser(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert sentence in refused(file=path)
    assert not Path("escape").exists()
