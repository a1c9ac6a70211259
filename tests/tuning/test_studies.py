"""The budget of trials is kept exactly, whoever works on it, and a dead worker's trial comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState

from ddpo_bench.sweep.book import DEATHS
from ddpo_bench.sweep.suite import Suite
from ddpo_bench.tuning import studies as module
from ddpo_bench.tuning.follow import state_of
from ddpo_bench.tuning.studies import Claim, Studies, TuningPlace

Load = Callable[..., Suite]
DEAD = {"host": "elsewhere", "space": "", "pid": 1, "born": "1"}


@pytest.fixture
def place(load: Load, tmp_path: Path) -> TuningPlace:
    return TuningPlace(None, load(trials=4), tmp_path)


def entered(place: TuningPlace) -> Studies:
    studies = place.open()
    studies.enter()
    return studies


def claimed(studies: Studies) -> Claim:
    claim = studies.claim()
    assert claim is not None
    return claim


def kill(studies: Studies, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if its worker had been killed."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "this_process", lambda: DEAD)
        patch.setattr(module, "is_alive", lambda holder, folder, since: holder != DEAD)
        studies.storage.set_trial_user_attr(claim.trial_id, "worker", DEAD)
        studies.recover()


def test_the_budget_is_kept_by_workers_that_enter_and_claim_at_once(place: TuningPlace) -> None:
    workers = [place.open() for _ in range(3)]
    for name in workers[0].cells:  # all three see empty slots, and enter them
        before = [studies.slots(name) for studies in workers]
        for studies, seen in zip(workers, before, strict=True):
            studies.slots = lambda name, seen=seen: seen  # type: ignore[method-assign,misc]
            studies.enter()
            del studies.slots  # type: ignore[method-assign]
    claims = [claim for _ in range(4) for studies in workers if (claim := studies.claim())]
    assert sorted(claim.slot for claim in claims) == [0, 1, 2, 3]
    for claim in claims:
        workers[0].close(claim, "done", None, [1.0])
    while claim := workers[1].claim():
        pytest.fail(f"slot {claim.slot} was given out twice")
    assert workers[2].settled()


def test_studies_advance_together(load: Load, tmp_path: Path) -> None:
    suite = load(trials=3)
    second = suite.changed(suite.cells[1], {"algorithm.clip_range": 0.5})
    suite.cells.append(second)
    studies = entered(TuningPlace(None, suite, tmp_path))
    names = [claimed(studies).study for _ in range(6)]
    assert len({*names}) == 2
    assert all(names[k] != names[k + 1] for k in range(0, 6, 2))


def test_a_dead_workers_trial_is_tried_again_with_its_parameters(
    place: TuningPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = entered(place)
    claimed(studies)
    claim = claimed(studies)
    (name,) = studies.studies
    trial = module.optuna.Trial(studies.fresh(claim), claim.trial_id)
    rate = trial.suggest_float("algorithm.learning_rate", 1e-6, 1e-2, log=True)
    kill(studies, claim, monkeypatch)
    waiting = studies.latest(name)[claim.slot]
    assert state_of(waiting) == "waiting"
    again = claimed(studies)
    assert again.slot == claim.slot
    trial = module.optuna.Trial(studies.fresh(again), again.trial_id)
    assert trial.suggest_float("algorithm.learning_rate", 1e-6, 1e-2, log=True) == rate


def test_a_worker_that_dies_over_a_second_entry_of_a_slot_does_not_fill_it_again(
    place: TuningPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = entered(place)
    claim = claimed(studies)
    (name,) = studies.studies
    studies.enter_again(name, claim.slot, studies.latest(name)[claim.slot])
    second = studies.latest(name)[claim.slot]
    studies.storage.set_trial_state_values(second._trial_id, TrialState.RUNNING)  # and it is dead before it looks
    studies.close(claim, "done", None, [1.0])
    kill(studies, Claim(name, claim.cell, claim.slot, second._trial_id), monkeypatch)
    assert state_of(studies.latest(name)[claim.slot]) == "complete"
    assert len(studies.slots(name)[claim.slot]) == 1
    assert [claimed(studies).slot for _ in range(3)] == [1, 2, 3]


def test_a_trial_that_kills_its_workers_is_failed_in_the_end(
    place: TuningPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = entered(place)
    (name,) = studies.studies
    for _ in range(DEATHS):
        claim = claimed(studies)
        assert claim.slot == 0
        kill(studies, claim, monkeypatch)
    last = studies.latest(name)[0]
    assert state_of(last) == "failed"
    assert last.user_attrs["reason"] == f"{DEATHS} workers died at one epoch"
    assert claimed(studies).slot == 1


def test_an_interrupted_trial_waits_for_the_next_worker(place: TuningPlace) -> None:
    studies = entered(place)
    claim = claimed(studies)
    studies.close(claim, "interrupted", None)
    assert not studies.settled()
    studies.recover()
    assert claimed(studies).slot == claim.slot


def test_a_trial_can_be_ended_once_only(place: TuningPlace) -> None:
    studies = entered(place)
    claim = claimed(studies)
    assert studies.close(claim, "done", None, [1.0])
    assert not studies.close(claim, "failed", "too late")
    (name,) = studies.studies
    assert studies.latest(name)[0].state == TrialState.COMPLETE
    assert not studies.still_ours(claim)


def test_a_slots_suggestion_does_not_depend_on_who_asks(load: Load, tmp_path: Path) -> None:
    drawn = []
    for folder in ("castor", "pollux"):
        studies = entered(TuningPlace(None, load(trials=4), tmp_path / folder))
        for _ in range(2):
            claim = claimed(studies)
        trial = module.optuna.Trial(studies.fresh(claim), claim.trial_id)
        drawn.append(trial.suggest_float("algorithm.learning_rate", 1e-6, 1e-2, log=True))
    assert drawn[0] == drawn[1]
    claim = claimed(studies)
    other = module.optuna.Trial(studies.fresh(claim), claim.trial_id)
    assert other.suggest_float("algorithm.learning_rate", 1e-6, 1e-2, log=True) != drawn[0]
