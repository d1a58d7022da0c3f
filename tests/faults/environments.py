"""Faults in the worlds."""

from .fault import Fault

_HUMANOID = "envs/locomotion/humanoid.py"
_OF_HUMANOID = ("envs/test_humanoid.py",)
_OF_MINIGRID = ("envs/test_minigrid.py",)
_FOUR_ROOMS = "envs/grids/four_rooms.py"
_OF_GRIDS = ("envs/test_grids.py",)

FAULTS = (
    # The rooms of minigrid.
    Fault(
        "minigrid: a closed door hides nothing",
        "envs/grids/minigrid/view.py",
        "is_clear = ~is_wall & ~(is_door & (world.door != OPEN))",
        "is_clear = ~is_wall",
        _OF_MINIGRID,
    ),
    Fault(
        "minigrid: a door opens without its key",
        "envs/grids/minigrid/rules.py",
        "is_door & ((world.door != LOCKED) | world.has_key)",
        "is_door",
        _OF_MINIGRID,
    ),
    # Four rooms.
    Fault(
        "walls in the four rooms are those around another cell",
        _FOUR_ROOMS,
        "jnp.asarray(self.blocked, jnp.float32)[cell]",
        "jnp.asarray(self.blocked, jnp.float32)[cell - 1]",
        _OF_GRIDS,
    ),
    Fault(
        "sub-policies that see walls see the cell as well",
        _FOUR_ROOMS,
        "tuple(range(len(CELLS), self.observation_size)) or self.place_indices",
        "tuple(range(self.observation_size))",
        _OF_GRIDS,
    ),
    Fault(
        "sub-policies that see walls are taken to see cells in what can be had",
        "experiments/limits.py",
        'if subpolicies_see == "walls" else range(len(blocked))',
        'if subpolicies_see == "doors" else range(len(blocked))',
        ("test_limits.py",),
    ),
    # The taxi, keys and places.
    Fault(
        "taxi: a passenger is paid for where it boarded",
        "envs/grids/taxi.py",
        "drops = serves & world.on_board & (world.cell == jnp.asarray(self._destination)",
        "drops = serves & world.on_board & (world.cell == jnp.asarray(self._pick_up)",
        _OF_GRIDS,
    ),
    Fault(
        "taxi: who has got off is drawn where it waited",
        "envs/grids/taxi.py",
        "has_boarded = np.maximum.accumulate(on_board, axis=1) | (asked.pick_up is None)",
        "has_boarded = on_board | (asked.pick_up is None)",
        _OF_GRIDS,
    ),
    Fault(
        "key_door: either door pays",
        "envs/grids/points.py",
        'is_paid = has_key & _is_near(agent, world.points[state.info["task"]])',
        "is_paid = has_key & (_is_near(agent, world.points[0]) | _is_near(agent, world.points[1]))",
        _OF_GRIDS,
    ),
    Fault(
        "all_walk: the longer of both ways is what costs",
        "envs/grids/points.py",
        'reward = -jnp.abs(state.info["task"] - agent).sum() / DISTANCE_SCALE',
        'reward = -jnp.abs(state.info["task"] - agent).max() / DISTANCE_SCALE',
        _OF_GRIDS,
    ),
    Fault(
        "minigrid: a key that is carried is not drawn with the agent",
        "envs/grids/minigrid/tasks.py",
        "key_x, key_y = jnp.where(world.has_key, world.place, world.key).astype(jnp.float32)",
        "key_x, key_y = world.key.astype(jnp.float32)",
        ("viz/test_worlds.py",),
    ),
    Fault(
        "minigrid: an open door is drawn",
        "envs/grids/minigrid/tasks.py",
        '"door": np.where(is_open, np.nan, door),',
        '"door": np.where(is_open, door, door),',
        ("viz/test_worlds.py",),
    ),
    # The humanoid.
    Fault(
        "masters of the humanoid's course see no height",
        _HUMANOID,
        "return 0, 1, 2",
        "return 0, 1",
        _OF_HUMANOID,
    ),
    Fault(
        "the humanoid's course forgets that the mark was passed",
        _HUMANOID,
        'is_crawling = state.info["is_crawling"] | (x > MARK)',
        "is_crawling = x > MARK",
        _OF_HUMANOID,
    ),
    Fault(
        "who has never passed the mark comes back",
        _HUMANOID,
        "is_back = is_crawling & (x <",
        "is_back = (x <",
        _OF_HUMANOID,
    ),
    Fault(
        "the box of the course is there on the way there",
        _HUMANOID,
        'stepped = self._act(state, action, state.info["is_crawling"])',
        "stepped = self._act(state, action, jnp.ones((), bool))",
        _OF_HUMANOID,
    ),
    Fault(
        "the box of the course stands elsewhere",
        _HUMANOID,
        "_box_x = 12.0",
        "_box_x = 11.0",
        _OF_HUMANOID,
    ),
    Fault(
        "the humanoid's course pays up to a pace",
        _HUMANOID,
        "_walk_pace = _crawl_pace = np.inf",
        "_walk_pace, _crawl_pace = WALK_PACE, CRAWL_PACE",
        _OF_HUMANOID,
    ),
    Fault(
        "who walks runs into the box of those that crawl",
        _HUMANOID,
        "box = self.box(is_crawling)",
        "box = self.box(jnp.ones((), bool))",
        _OF_HUMANOID,
    ),
    Fault(
        "the box lets heads through",
        _HUMANOID,
        '_BOX_COLLIDERS = ("head", "torso_contact", "pelvis_contact")',
        '_BOX_COLLIDERS = ("torso_contact", "pelvis_contact")',
        _OF_HUMANOID,
    ),
    Fault(
        "a humanoid that has fallen walks on",
        _HUMANOID,
        "has_fallen = ~is_crawling & ~is_upright",
        "has_fallen = jnp.zeros((), bool)",
        _OF_HUMANOID,
    ),
    Fault(
        "humanoids act with all of their force",
        _HUMANOID,
        "forces = _FORCE * clip_action(action)",
        "forces = clip_action(action)",
        _OF_HUMANOID,
    ),
    Fault(
        "ceilings are drawn where they are not",
        "mlsh_jax/viz/animation.py",
        "recording.roofed is not None and recording.roofed[step]",
        "recording.roofed is not None",
        ("viz/test_animation.py",),
    ),
    Fault(
        "humanoids act for nothing",
        _HUMANOID,
        "reward -= _CONTROL_COST * jnp.sum(forces**2)",
        "reward -= 0.0 * jnp.sum(forces**2)",
        _OF_HUMANOID,
    ),
    Fault(
        "an infinite torque is the largest one",
        "envs/locomotion/bodies.py",
        "jnp.where(jnp.isfinite(action), jnp.clip(action, -1.0, 1.0), jnp.nan)",
        "jnp.clip(action, -1.0, 1.0)",
        _OF_HUMANOID,
    ),
    Fault(
        "minigrid: the plan opens a door without its key",
        "envs/grids/minigrid/plans.py",
        "        if now.has_key:\n            yield now._replace(is_open=True)",
        "        yield now._replace(is_open=True)",
        _OF_MINIGRID,
    ),
    Fault(
        "minigrid: the plan is paid a step too early",
        "envs/grids/minigrid/tasks.py",
        "self._pay[min(steps, len(self._pay) - 1)]",
        "self._pay[min(steps, len(self._pay) - 1) - 1]",
        _OF_MINIGRID,
    ),
    Fault(
        "minigrid: what is carried is not seen",
        "envs/grids/minigrid/view.py",
        "jnp.where(world.has_key, _KEY, _EMPTY)",
        "_EMPTY",
        _OF_MINIGRID,
    ),
    Fault(
        "minigrid: a key is dropped into an open door",
        "envs/grids/minigrid/rules.py",
        "~(is_wall | is_goal | is_door)",
        "~(is_wall | is_goal)",
        _OF_MINIGRID,
    ),
    Fault(
        "minigrid: the goal pays as if the step had not counted",
        "envs/grids/minigrid/tasks.py",
        "jnp.asarray(self._pay)[world.steps]",
        "jnp.asarray(self._pay)[world.steps - 1]",
        _OF_MINIGRID,
    ),
    Fault(
        "minigrid: the agent may start in the goal",
        "envs/grids/minigrid/layouts.py",
        "start = _pick_cell(chance[0], _with(~walls, goal, False))",
        "start = _pick_cell(chance[0], jnp.asarray(~walls))",
        _OF_MINIGRID,
    ),
)
