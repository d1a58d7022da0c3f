"""The big course: its numbers quickly, and slowly what it shares with the small one."""

import jax.numpy as jnp
import numpy as np
import pytest
from courses import PLACES, least_gaps

import envs


def test_scene_has_the_numbers_of_the_released_course():
    env = envs.make("ant_obstacle_big")
    scene = env.scene(jnp.int32(0))
    np.testing.assert_array_equal(
        scene.walls,
        np.float32(
            [
                (0, -40, 40, 0.3),
                (0, 40, 40, 0.3),
                (-40, 0, 0.3, 40),
                (40, 0, 0.3, 40),
                (-15, 20, 0.3, 17),
                (-35, 20, 5, 0.3),
                (-10, -20, 20, 0.3),
                (-10, -30, 20, 0.3),
                (10, -20, 0.3, 20),
            ]
        ),
    )
    assert (scene.start, scene.goal, scene.enemy_radius) == ((-35, 15), (35, -35), 3)
    np.testing.assert_allclose(scene.goal_radius**2, 30)
    assert env.episode_length == 3000


@pytest.mark.slow
def test_reward_is_one_exactly_in_the_goal_area(play_big, random_actions):
    positions = [(35, -35), (31, -32), (38, -38), (30, -31), (35, -28), (-35, 15), (38, 38)]
    q, qd = play_big.standing(positions)
    seen = play_big(q, qd, actions=random_actions[: len(q)])
    np.testing.assert_array_equal(seen["reward"][:, 0], [1, 1, 1, 0, 0, 0, 0])
    squared = np.sum((seen["q"][..., :2] - (35, -35)) ** 2, axis=-1)
    np.testing.assert_array_equal(seen["reward"], squared < 30)
    np.testing.assert_array_equal(seen["success"], seen["reward"])


@pytest.mark.slow
def test_enemy_starts_at_its_zone_and_moves_for_an_ant_in_it_alone(play_big):
    q, qd = play_big.standing([(25.0, 17.0), (25.0, 11.0), (0.0, 20.0)])
    seen = play_big(q, qd)
    moved = np.stack([seen["enemy_x"], seen["enemy_y"]], axis=-1) - (25, 30)
    assert moved[0, -1, 1] < -8
    assert (np.abs(moved[0, :, 0]) < 2).all()
    np.testing.assert_array_equal(moved[1:], 0)


@pytest.mark.slow
def test_ant_is_stood_up_every_300_steps(play_big):
    q, qd = play_big.standing([(20.0, -10.0)] * 2)
    q[:, 3:7] = [0.0, 1.0, 0.0, 0.0]  # on its back
    lying = play_big(q, qd, clock=np.array([295, 195]))["q"][:, 4, 3:7]
    init = np.asarray(play_big.env.sys.init_q)[3:7]
    assert np.abs(lying[0] - init).max() < 0.25
    assert np.abs(lying[1] - init).max() > 0.5


@pytest.mark.slow
def test_pushed_ant_stays_on_its_side_of_every_wall(play_big):
    pushes = [
        ((-13.5, 2.0), (-1, 0)),
        ((-16.5, 10), (1, 0)),
        ((-15.0, 1.7), (0, 1)),
        ((-38.5, 18.4), (-1, 1)),
        ((-30, 18.5), (1, 1)),
        ((8.5, -21.5), (1, 1)),
        ((8.5, -28.5), (1, -1)),
        ((-31.3, -20), (1, 0)),
        ((8.5, -38.5), (1, -1)),
        ((11.5, -38.5), (-1, -1)),
        ((10, 1.4), (0, -1)),
        ((38.5, 38.5), (1, 1)),
    ]
    q, qd = play_big.standing([p for p, _ in pushes] * 3)
    qd[:, :2] = np.tile([d for _, d in pushes], (3, 1)) * np.repeat([3.0, 6.0, 9.0], 12)[:, None]
    seen = play_big(q, qd)
    assert (least_gaps(PLACES["big"].walls, seen["q"][..., :2]) > 0).all()
    assert (np.abs(seen["q"][..., :2]) < 40).all()
    assert not seen["physics_nan"].any()
