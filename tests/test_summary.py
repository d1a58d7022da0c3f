"""The closing numbers, from episodes that were made up."""

import dataclasses

import numpy as np
import pytest

from experiments.harness.summary import summarize_assessment
from mlsh_jax.adapt import Assessment, Episodes

E, K = 4, 2
TASK_INDEX = np.array([0, 1, 1])


def _episodes(rng, *shape: int) -> Episodes:
    def finals(name: str) -> np.ndarray:
        return rng.random((*shape, E)) < 0.5 if name == "success" else rng.normal(size=(*shape, E))

    names = ("x_position", "y_position", "success")
    sums = {"success": rng.integers(0, 2, (*shape, E)) * 7.0}
    return Episodes(
        returns=rng.normal(size=(*shape, E)),
        usage=rng.dirichlet(np.ones(K), shape),
        env_sums=sums,
        env_finals={name: finals(name).astype(float) for name in names},
        failed=rng.random((*shape, E)) < 0.3,
        recorded=None,
    )


@pytest.fixture
def assessment(rng):
    return Assessment(
        initial=_episodes(rng, 3), adapted=_episodes(rng, 3), forced=_episodes(rng, K, 3)
    )


def _mean(values, failed) -> float:
    """Mean over those of the episodes of a master that did not fail, one after another."""
    kept = [v for v, f in zip(values, failed, strict=True) if not f]
    return sum(kept) / len(kept)


def test_episodes_whose_physics_failed_are_counted_and_not_averaged_in(assessment):
    summary = summarize_assessment(assessment, ("a", "b"), TASK_INDEX)
    adapted = assessment.adapted
    assert summary["physics_failures"] == adapted.failed.mean() > 0
    means = [_mean(r, f) for r, f in zip(adapted.returns, adapted.failed, strict=True)]
    assert summary["adapted_return"] == pytest.approx(np.mean(means))
    assert summary["per_task"]["a"]["adapted_return"] == pytest.approx(means[0])
    assert summary["per_task"]["b"]["adapted_return"] == pytest.approx(np.mean(means[1:]))
    assert summary["per_task"]["b"]["worst_master"] == pytest.approx(min(means[1:]))
    x = _mean(adapted.env_finals["x_position"][0], adapted.failed[0])
    assert summary["per_task"]["a"]["final_position"][0] == pytest.approx(x)


def test_success_at_any_step_and_at_the_last_are_told_apart(assessment):
    summary = summarize_assessment(assessment, ("a", "b"), TASK_INDEX)
    for episodes, key, sums in (
        (assessment.initial, "initial_success_rate", True),
        (assessment.adapted, "success_rate", True),
        (assessment.adapted, "final_success_rate", False),
    ):
        values = (episodes.env_sums if sums else episodes.env_finals)["success"] > 0
        means = [_mean(v, f) for v, f in zip(values, episodes.failed, strict=True)]
        assert summary[key] == pytest.approx(np.mean(means))
        assert summary["per_task"]["a"][key] == pytest.approx(means[0])
    forced = assessment.forced
    alone = _mean(forced.env_sums["success"][1, 0] > 0, forced.failed[1, 0])
    assert summary["subpolicy_success_rates"][1][0] == pytest.approx(alone)


def test_bodies_that_move_along_a_line_have_no_place_in_the_plane(assessment):
    def on_a_line(episodes: Episodes) -> Episodes:
        finals = {n: x for n, x in episodes.env_finals.items() if n != "y_position"}
        return dataclasses.replace(episodes, env_finals=finals)

    assessment = Assessment(
        initial=on_a_line(assessment.initial),
        adapted=on_a_line(assessment.adapted),
        forced=on_a_line(assessment.forced),
    )
    summary = summarize_assessment(assessment, ("a", "b"), TASK_INDEX)
    assert "final_position" not in summary["per_task"]["a"]
