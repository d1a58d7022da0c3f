import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from courses import least_gaps
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.locomotion import ant_obstacle
from envs.locomotion.ant_obstacle import COURSE

# Where an ant stands and the direction of its push: faces, inner and outer corners, ends of walls.
PUSHES = (
    ((10, -1.2), (0, -1)),
    ((-1.2, 5), (-1, 0)),
    ((-1.3, -1.3), (-1, -1)),
    ((38, 38), (1, 1)),
    ((38, 27), (1, -1)),
    ((32, 23), (-1, 1)),
    ((38, 23), (1, 1)),
    ((28, 10), (1, 0)),
    ((32, 10), (-1, 0)),
    ((28.5, 24.5), (1, 1)),
    ((28.5, 26.5), (1, -1)),
    ((30, 27), (0, -1)),
    ((28.5, -1.5), (1, -1)),
    ((31.5, -1.5), (-1, -1)),
)
SPEEDS = (3.0, 6.0, 9.0)
FAR_ENEMY = (-1000.0, -1000.0)


def _enemy(seen):
    return np.stack([seen["enemy_x"], seen["enemy_y"]], axis=-1)


def _pushed(play):
    """Positions q and velocities qd of an ant for each push and each speed."""
    q, qd = play.standing([p for p, _ in PUSHES] * len(SPEEDS))
    directions = np.array([d for _, d in PUSHES] * len(SPEEDS), np.float32)
    qd[:, :2] = directions * np.repeat(SPEEDS, len(PUSHES))[:, None]
    return q, qd


@pytest.mark.parametrize("acting", [False, True], ids=["limp", "random actions"])
def test_pushed_ant_stays_on_its_side_of_every_wall(play, acting, random_actions):
    q, qd = _pushed(play)
    seen = play(q, qd, actions=random_actions[: len(q)] if acting else None)
    assert (least_gaps(COURSE.walls, seen["q"][..., :2]) > 0).all()
    assert not seen["physics_nan"].any()
    x, y = seen["q"][..., 0], seen["q"][..., 1]
    assert (x > -3).all() and (x < 40).all() and (y > -3).all() and (y < 40).all()


def test_ant_walks_freely_where_there_is_no_wall(play):
    q, qd = play.standing([(15.0, 1.0)])
    qd[:, 0] = 6.0
    assert play(q, qd)["q"][0, -1, 0] > 16.5


def test_enemy_pushes_the_ant_away_at_a_bounded_speed(play, random_actions):
    positions = np.array([(0, 11), (6, 16), (9, 20), (3, 27), (8, 29), (12, 14)], np.float32)
    q, qd = play.standing(positions)
    toward = np.array(COURSE.enemy) - positions
    qd[:, :2] = 8.0 * toward / np.linalg.norm(toward, axis=1, keepdims=True)
    seen = play(q, qd, actions=random_actions[: len(q)])
    gap = np.linalg.norm(seen["q"][..., :2] - _enemy(seen), axis=-1)
    assert (gap > ant_obstacle.ENEMY_RADIUS).all()
    assert np.linalg.norm(seen["qd"][..., :2], axis=-1).max() < 15
    assert not seen["physics_nan"].any()
    from_zone = np.linalg.norm(seen["q"][..., :2] - COURSE.enemy, axis=-1)
    assert (from_zone[:, -1] > from_zone[:, 0] + 1).all()


def test_enemy_does_not_press_the_ant_into_a_wall(play):
    q, qd = play.standing([(-2.2, 20.0), (-2.2, 16.0), (-2.2, 24.0)])
    seen = play(q, qd, enemy=(2.5, 20.0))
    assert (least_gaps(COURSE.walls, seen["q"][..., :2]) > 0).all()
    assert not seen["physics_nan"].any()
    assert np.linalg.norm(seen["qd"][..., :2], axis=-1).max() < 15


def test_ant_outside_the_zone_leaves_the_enemy_where_it_is(play_spring):
    q, qd = play_spring.standing([(20.0, 20.0)])
    enemy = _enemy(play_spring(q, qd, enemy=(3.0, 19.0)))
    np.testing.assert_array_equal(enemy[0], np.tile([3.0, 19.0], (len(enemy[0]), 1)))


def test_ant_is_stood_up_every_200_steps_where_it_is(play, random_actions):
    positions = np.array([(5.0, 2.0), (20.0, 20.0), (20.0, 35.0)])
    q, qd = play.standing(np.tile(positions, (2, 1)))
    q[:, 3:7] = [0.0, 1.0, 0.0, 0.0]  # on its back
    seen = play(
        q,
        qd,
        clock=np.array([195] * 3 + [0] * 3),
        enemy=FAR_ENEMY,
        actions=np.tile(random_actions[:3], (2, 1, 1)),
    )
    stood, lying = seen["q"][:3, 4], seen["q"][3:, 4]
    np.testing.assert_array_equal(seen["q"][:3, :4], seen["q"][3:, :4])
    np.testing.assert_array_equal(stood[:, :2], lying[:, :2])
    init = np.asarray(play.env.sys.init_q)
    assert np.abs(stood[:, 2:] - init[2:]).max() < 0.25
    assert np.abs(seen["qd"][:3, 4]).max() < 0.6
    np.testing.assert_array_equal(seen["obs"][:3, 4, :15], stood)
    assert np.abs(lying[:, 4]).min() > 0.5
    assert len(np.unique(stood[:, 7])) == 3
    assert not seen["physics_nan"].any()


def test_reward_is_one_exactly_in_the_goal_area(play_spring, random_actions):
    inside = [(38, 38), (35, 36), (36, 34), (38.5, 33.5)]
    outside = [(30, 38), (38, 27), (33, 34), (0, 0), (38, 0)]
    q, qd = play_spring.standing(inside + outside)
    seen = play_spring(q, qd, actions=random_actions[: len(q)])
    np.testing.assert_array_equal(seen["reward"][:, 0], [1] * len(inside) + [0] * len(outside))
    squared = np.sum((seen["q"][..., :2] - np.array(COURSE.goal)) ** 2, axis=-1)
    np.testing.assert_array_equal(seen["reward"], (squared < 30).astype(np.float32))
    np.testing.assert_array_equal(seen["success"], seen["reward"])
    np.testing.assert_array_equal(seen["x_position"], seen["q"][..., 0])
    np.testing.assert_array_equal(seen["y_position"], seen["q"][..., 1])
    assert not seen["done"].any()


def test_broken_physics_keeps_the_last_finite_state_and_terminates(play, random_actions):
    q, qd = play.standing([(38.0, 38.0)])
    actions = random_actions[:1].copy()
    actions[0, 10] = np.nan
    seen = play(q, qd, actions=actions)
    np.testing.assert_array_equal(seen["q"][0, 10], seen["q"][0, 9])
    np.testing.assert_array_equal(seen["physics_nan"][0, 8:12], [0, 0, 1, 0])
    np.testing.assert_array_equal(seen["done"][0, 8:12], [0, 0, 1, 0])
    np.testing.assert_array_equal(seen["reward"][0, 8:12], [1, 1, 0, 1])
    assert np.isfinite(seen["obs"]).all()


def test_a_velocity_that_no_body_has_is_broken_physics(play_spring):
    q, qd = play_spring.standing([(5.0, 2.0)] * 4)
    qd[:, 0] = [0.0, 10.0, 1e12, 1e25]
    seen = play_spring(q, qd)
    np.testing.assert_array_equal(seen["physics_nan"][:, 0], [0, 0, 1, 1])
    np.testing.assert_array_equal(seen["done"][:, 0], [0, 0, 1, 1])


def test_scene_shows_the_walls_and_the_goal_area(play_spring):
    scene = play_spring.env.scene(jnp.int32(0))
    np.testing.assert_array_equal(
        scene.walls,
        np.float32(
            [
                (28, -3, 35, 0.3),
                (28, 40, 35, 0.3),
                (-3, 28, 0.3, 35),
                (40, 28, 0.3, 35),
                (35, 25, 5, 0.3),
                (30, 10, 0.3, 15),
            ]
        ),
    )
    assert (scene.start, scene.goal, scene.enemy_radius) == ((0, 0), (38, 38), 3)
    np.testing.assert_allclose(scene.goal_radius**2, 30)


ZONE = np.float32([0, 20])
_floats = functools.partial(st.floats, width=32, allow_subnormal=False)  # XLA takes those for 0
_positions = st.tuples(_floats(-20, 20), _floats(0, 40)).map(np.float32)
_move_enemy = jax.jit(ant_obstacle.move_enemy)
_knock_velocity = jax.jit(ant_obstacle.knock_velocity)


@settings(deadline=None)
@given(enemy=_positions, torso=_positions)
def test_enemy_takes_bounded_strides_and_stops_at_the_ant(enemy, torso):
    moved = np.asarray(_move_enemy(enemy, torso, ZONE))
    assert np.abs(moved - enemy).max() <= ant_obstacle.ENEMY_STRIDE + 1e-5
    before, after = np.linalg.norm(torso - enemy), np.linalg.norm(torso - moved)
    assert after <= before + 1e-4
    assert after >= min(before, ant_obstacle.ENEMY_CONTACT) - 1e-4
    if np.linalg.norm(torso - ZONE) > ant_obstacle.ENEMY_ZONE:
        np.testing.assert_array_equal(moved, enemy)


@pytest.mark.parametrize(
    ("torso", "x"), [(14.5, 1.0), (15.5, 0.0), (-14.5, -1.0), (4.5, 0.25), (4.0, 0.0)]
)
def test_enemy_comes_for_an_ant_within_fifteen_units_until_it_touches_a_foot(torso, x):
    at = np.float32([torso, 20])
    moved = np.asarray(_move_enemy(ZONE, at, ZONE))
    np.testing.assert_allclose(moved, [x, 20], atol=1e-5)


@settings(deadline=None)
@given(torso=_positions, velocity=_positions)
def test_knock_sets_a_least_speed_away_and_never_slows(torso, velocity):
    enemy = np.float32([0, 20])
    added = np.asarray(_knock_velocity(enemy, torso, velocity))
    gap = torso - enemy
    distance = np.linalg.norm(gap)
    if distance > ant_obstacle.ENEMY_CONTACT + 0.2:
        np.testing.assert_array_equal(added, 0)
    elif 0.1 < distance < ant_obstacle.ENEMY_CONTACT:
        away = gap / distance
        expected = max(np.dot(velocity, away), ant_obstacle.KNOCK_SPEED)
        np.testing.assert_allclose(np.dot(velocity + added, away), expected, atol=1e-3)
    assert np.linalg.norm(added) <= ant_obstacle.KNOCK_SPEED + np.linalg.norm(velocity) + 1e-3
    assert jnp.isfinite(added).all()
