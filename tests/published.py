"""The tables in `results/` that are made of summaries, by the comment above each.

`tests/test_results.py` compares the tables with them. To print the rows of all tables:
`python tests/published.py`.
"""

import rows_of_bodies as bodies
import rows_of_grids as grids
from kept import read

TABLES = {
    "moving_bandits/paper-s*": grids.moving_bandits,
    "ant_obstacle/default-s0 ant_obstacle/long_single_policy-s0 "
    "ant_obstacle/gaits-s*": bodies.obstacle,
    "ant_obstacle_big/masters-s0": bodies.obstacle_big,
    "ant_bandits/default-s0": bodies.ant_bandits,
    "swimmer_bandits/default-s* swimmer_bandits/as_published-s*": bodies.swimmer,
    "taxi/default-s* baseline/taxi_policy_per_task-s*": grids.taxi,
    "four_rooms/walls-s* four_rooms/cells-s* baseline/four_rooms_policy_per_task-s* "
    "baseline/four_rooms_untrained_walls-s* baseline/four_rooms_untrained-s*": grids.four_rooms,
    "minigrid_door_key_5x5/ppo-k4-s* minigrid_door_key_5x5/ppo-k1-s* "
    "minigrid_door_key_5x5/a2c-k4-s* minigrid_door_key_5x5/a2c-k1-s* "
    "baseline/minigrid_door_key_5x5_untrained-s*": grids.minigrid,
    "minigrid_four_rooms/k4-s* minigrid_four_rooms/k4_renewing-s* "
    "minigrid_four_rooms/k1-s*": grids.minigrid_four_rooms,
    "moving_bandits/default-s*": grids.moving_bandits,
    "ant_twowalk/default-s*": bodies.twowalk,
    "ant_twowalk/library_masters-s* ant_twowalk/two_cores-s0": bodies.twowalk,
    "ant_twowalk/small_steps-s*": bodies.twowalk,
    "ant_twowalk/every_default-s*": bodies.twowalk,
    "ant_twowalk/slice_credit-s*": bodies.twowalk,
    "ant_twowalk/default-s[179] transfer/twowalk_maze_masters-s* "
    "transfer/twowalk_library_masters-s[179]": bodies.twowalk_masters,
    "ant_twowalk/default-s* transfer/twowalk_library_masters-s*": bodies.twowalk_library,
    "ant_maze/preset-s1 ant_maze/library_defaults-s*": bodies.maze,
    "ant_maze/no_balance-s0 ant_maze/no_balance_no_equal_tasks-s0 "
    "ant_maze/no_balance_no_equal_tasks_no_credit-s0": bodies.maze_without,
    "transfer/maze_library_masters_preset-s0 transfer/maze_library_masters_slice-s0 "
    "transfer/maze_library_masters_hierarchy-s0": bodies.maze_library_masters,
    "humanoid_walk_crawl/default-s*": bodies.humanoid,
    "humanoid_course/default-s*": bodies.humanoid_course,
}
"""What makes the rows of a table, by its comment: each pattern gives a list of runs."""


if __name__ == "__main__":
    for marker, rows in TABLES.items():
        print(f"<!-- runs: {marker} -->", *rows(*map(read, marker.split())), sep="\n")
