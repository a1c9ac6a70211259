"""From a suite to its runs."""

import pytest
import yaml

from ddpo_bench.config import ConfigError
from ddpo_bench.sweep.plan import runs_of, select
from ddpo_bench.sweep.shipped import find_suite, folder
from ddpo_bench.sweep.suite import load_suite


def planned(tmp_path, matrix, seeds=(0,)):
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump({"matrix": matrix, "seeds": list(seeds)}))
    return runs_of(load_suite(path))


def test_cells_are_named_by_their_varied_values(tmp_path):
    runs = planned(tmp_path, {"algorithm": ["ppo"], "reward": ["jpeg_compressibility"], "sampler.steps": [5]})
    assert [run.cell for run in runs] == ["ppo-jpeg_compressibility-5"]


def test_names_are_safe_file_names(tmp_path):
    (run,) = planned(tmp_path, {"policy": [{"name": "stable_diffusion"}], "policy.model": ["../my models/é"]})
    assert run.cell == "stable_diffusion-my_models"


def test_cells_of_one_name_differ_in_their_folders(tmp_path):
    runs = planned(tmp_path, {"algorithm": [{"name": "ppo", "clip_range": 0.1}, {"name": "ppo", "clip_range": 0.2}]})
    assert [run.cell for run in runs] == ["ppo", "ppo"]
    assert len({run.folder for run in runs}) == 2


def test_a_run_lives_in_the_same_folder_whatever_else_the_suite_holds(tmp_path):
    (alone,) = planned(tmp_path, {"algorithm": ["ppo"]})
    among = planned(tmp_path, {"algorithm": ["frozen", "ppo"]}, seeds=(2, 0))
    assert alone.folder in {run.folder for run in among}


def test_every_cell_has_its_first_seed_before_any_second(tmp_path):
    runs = planned(tmp_path, {"algorithm": ["frozen", "ppo"]}, seeds=(4, 2))
    assert [run.name for run in runs] == ["frozen/seed-4", "ppo/seed-4", "frozen/seed-2", "ppo/seed-2"]


def test_only_selects_by_cell_or_by_seed(tmp_path):
    runs = planned(tmp_path, {"algorithm": ["frozen", "ppo"]}, seeds=(0, 1))
    assert {run.cell for run in select(runs, "p*")} == {"ppo"}
    assert {run.name for run in select(runs, "*/seed-1")} == {"frozen/seed-1", "ppo/seed-1"}
    with pytest.raises(ConfigError, match=r"--only poo: unknown cell 'poo'. Did you mean 'ppo'\?"):
        select(runs, "poo")


@pytest.mark.parametrize("name", sorted(path.stem for path in folder().glob("*.yaml")))
def test_every_shipped_suite_is_sound_and_says_how_to_run_it(name):
    path = find_suite(name)
    assert runs_of(load_suite(path))
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    verb = "tune" if name.startswith("tune-") else "run"
    assert f"#   ddpo-bench {verb} {name}" in header
    assert load_suite(path).name == name


def test_an_unknown_suite_is_refused_with_the_nearest_name():
    for name in ("smke", "suites/smke.yaml"):
        with pytest.raises(ConfigError, match=r"no such file; unknown shipped suite 'smke'. Did you mean 'smoke'\?"):
            find_suite(name)
