import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import neurofm


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_public_list_is_sorted_and_without_doubles() -> None:
    assert list(neurofm.__all__) == sorted(set(neurofm.__all__))
    assert len(neurofm.__all__) <= 60


@pytest.mark.parametrize("name", neurofm.__all__)
def test_every_public_name_loads_and_says_what_it_is(name: str) -> None:
    value = getattr(neurofm, name)
    assert value.__name__ == name
    assert value.__doc__


def test_dir_lists_the_public_names() -> None:
    assert dir(neurofm) == sorted([*neurofm.__all__, "__version__"])


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no public name 'Recordign'"):
        _ = neurofm.Recordign


def test_importing_loads_no_torch_and_nothing_of_ours() -> None:
    out = run(
        "import sys, neurofm; print('torch' in sys.modules, 'numpy' in sys.modules,"
        " [m for m in sys.modules if m.startswith('neurofm.')])"
    )
    assert out.split() == ["False", "False", "[]"]


def test_nouns_of_data_load_without_torch() -> None:
    out = run("import sys; from neurofm import Recording, Result; print('torch' in sys.modules)")
    assert out.strip() == "False"


def test_the_version_is_said_once(project: Path) -> None:
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{neurofm.__version__}"\n' in text
    assert metadata.version("neurofm") == neurofm.__version__
