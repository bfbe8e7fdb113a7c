from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from neurofm import doctor
from neurofm.doctor import Line, Settings
from neurofm.errors import ConfigError


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    return doctor.report()


def find(lines: list[Line], topic: str, name: str) -> Line:
    [line] = [line for line in lines if (line.topic, line.name) == (topic, name)]
    return line


def test_a_flag_beats_the_environment_and_that_beats_the_default() -> None:
    env = {"NEUROFM_HOME": "/srv/lab", "NEUROFM_NUM_THREADS": "3", "OMP_NUM_THREADS": "7"}
    assert doctor.settings(environ=env, n_threads=2).n_threads_source == "flag"
    chosen = doctor.settings(environ=env)
    assert (chosen.n_threads, chosen.n_threads_source) == (3, "NEUROFM_NUM_THREADS")
    assert (chosen.home, chosen.home_source) == (Path("/srv/lab"), "NEUROFM_HOME")
    default = doctor.settings(environ={})
    assert default.n_threads >= 1
    assert default.n_threads_source == "default: cores"
    assert (default.home.name, default.home_source) == ("neurofm", "default")


def test_the_usual_variables_of_others_are_honoured() -> None:
    env = {"XDG_CACHE_HOME": "/tmp/c", "OMP_NUM_THREADS": "4,2", "HF_HUB_OFFLINE": "1"}
    assert doctor.settings(environ=env) == Settings(
        home=Path("/tmp/c/neurofm"),
        home_source="XDG_CACHE_HOME",
        n_threads=4,
        n_threads_source="OMP_NUM_THREADS",
        offline=True,
        offline_source="HF_HUB_OFFLINE",
    )


def test_our_own_offline_wins_also_when_it_says_no() -> None:
    env = {"NEUROFM_OFFLINE": "0", "HF_HUB_OFFLINE": "1"}
    assert doctor.settings(environ=env).offline is False
    assert doctor.settings(environ=env, offline=True).offline_source == "flag"


@pytest.mark.parametrize(
    ("name", "text"),
    [("NEUROFM_NUM_THREADS", "0"), ("NEUROFM_NUM_THREADS", "two"), ("NEUROFM_OFFLINE", "maybe")],
)
def test_a_setting_that_cannot_be_read_is_named(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}='{text}' must be"):
        doctor.settings(environ={name: text})


def test_the_report_holds_every_topic(lines: list[Line]) -> None:
    assert list(dict.fromkeys(line.topic for line in lines)) == [
        "versions", "devices", "settings", "extras"]  # fmt: skip
    assert find(lines, "versions", "torch").value == metadata.version("torch")
    assert "cores usable" in find(lines, "devices", "cpu").value


def test_a_home_that_cannot_be_written_gets_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    chosen = doctor.settings(environ={"NEUROFM_HOME": "/srv/lab"})
    assert "NEUROFM_HOME" in find(doctor.report(chosen), "settings", "home").remedy


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy>=1", 'no-such>=2; extra == "eval"', 'numpy>=1; extra == "report"',
              'neurofm[eval]; extra == "all"']  # fmt: skip
    monkeypatch.setattr("importlib.metadata.requires", lambda name: wanted)
    lines = doctor.report()
    missing = find(lines, "extras", "eval")
    assert (missing.value, missing.remedy) == ("missing: no-such", "pip install 'neurofm[eval]'")
    assert find(lines, "extras", "report").value == "present"
    assert [line.name for line in lines if line.topic == "extras"] == ["eval", "report"]


def test_a_source_tree_without_an_install_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Iterator[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.requires", absent)
    assert "pip install -e" in find(doctor.report(), "extras", "neurofm").remedy


def test_the_text_shows_every_value_source_and_remedy(lines: list[Line]) -> None:
    lines = [*lines, Line("extras", "mine", "missing", remedy="pip install mine")]
    text = doctor.render(lines)
    assert all(line.value in text and line.source in text for line in lines)
    assert text.splitlines()[-1].strip() == "-> pip install mine"
    assert doctor.render([]) == ""
