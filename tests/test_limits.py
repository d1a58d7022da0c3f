"""What can be had over given sub-policies, where it is known otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from experiments import limits
from mlsh_jax.errors import ConfigError

CELLS = 104
SETS = ("training", "all")


@pytest.fixture(scope="module")
def rooms():
    env = envs.make("four_rooms", goals="unseen")
    return env, env.best_returns()


def test_whoever_chooses_every_move_earns_the_optimum(rooms):
    moves = jnp.broadcast_to(50.0 * jnp.eye(4)[:, None], (4, CELLS, 4))
    np.testing.assert_allclose(
        limits.shares_of_optimum(*rooms, 1, moves, None), np.ones(20), rtol=1e-4
    )
    held = limits.shares_of_optimum(*rooms, 2, moves, None)
    assert held.max() < 1 and held.mean() < 0.9  # who has to go on as he began


@pytest.mark.parametrize("macro_length", [1, 5])
def test_a_sub_policy_alone_earns_what_it_earns_in_the_world(rooms, macro_length):
    env, optimum = rooms
    logits = 2.0 * jax.random.normal(jax.random.key(0), (1, CELLS, 4))

    def episode(key):
        def step(state, key):
            cell = jnp.argmax(state.obs)
            state = env.step(state, jax.random.categorical(key, logits[0, cell]))
            return state, state.obs

        first = env.reset_to_task(key, jnp.int32(0))
        return jax.lax.scan(step, first, jax.random.split(key, 100))[1].sum(axis=0)

    visits = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(1), 4000))
    of_goals = np.asarray(visits)[:, env.unwrapped.goals]
    error = of_goals.std(axis=0) / np.sqrt(len(of_goals)) + 1e-3
    expected = limits.shares_of_optimum(env, optimum, macro_length, logits, None) * optimum
    assert (np.abs(of_goals.mean(axis=0) - expected) < 4 * error).all()


def test_more_sub_policies_and_shorter_slices_are_worth_more():
    few, many, often = (
        limits.best("cells", k, n, "all", 25, 1) for k, n in ((1, 10), (3, 10), (3, 5))
    )
    assert few.training < many.training < often.training < 1
    assert few.unseen < many.unseen < often.unseen < 1


def test_who_sees_walls_does_the_same_in_all_cells_that_look_alike():
    # Cells are told apart by 11 patterns of walls, and any table over these is one over cells.
    cells, walls = (limits.best(seen, 3, 2, "training", 60, 1) for seen in ("cells", "walls"))
    assert walls.training < cells.training
    assert walls.unseen > cells.unseen + 0.1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"macro_lengths": (7,)}, "--macro-lengths: 7 does not divide 100"),
        ({"num_subpolicies": (4, 0)}, "--num-subpolicies: must be from 1 to 1000, got 4 0"),
        ({"macro_lengths": ()}, "--macro-lengths: must be from 1 to 100, got nothing"),
        ({"steps": 0}, "--steps: must be from 1 to 1000000, got 0"),
    ],
)
def test_impossible_numbers_are_refused(options, words, tmp_path):
    with pytest.raises(ConfigError, match=f"^{words}"):
        limits.compute(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_there_are_kept_and_others_refused(tmp_path, capsys):
    kept = limits.Limit(starts=1, steps=5, training=0.25, unseen=0.125)
    rows = {f"{seen} 4 25 {goals}": kept for seen in ("cells", "walls") for goals in SETS}
    limits.write(tmp_path, rows)
    numbers = {"num_subpolicies": (4,), "macro_lengths": (25,), "starts": 1}
    limits.compute(tmp_path, **numbers, steps=5)
    assert limits.read(tmp_path / "limits.json") == rows
    assert "0.25 of the optimum on those of training, 0.12 on unseen" in capsys.readouterr().out
    assert (
        "| walls | 4 | 25 | all 103 goals | 0.25 | 0.12 |" in (tmp_path / "limits.md").read_text()
    )
    with pytest.raises(ConfigError, match="with 1 starts of 5 steps and not 1 of 6"):
        limits.compute(tmp_path, **numbers, steps=6)
    (tmp_path / "limits.json").write_text('{"cells 4 x": {}}')
    with pytest.raises(ConfigError, match="'cells 4 x' is no row"):
        limits.compute(tmp_path, **numbers, steps=5)
