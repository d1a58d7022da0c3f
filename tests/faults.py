"""Deliberate faults that the tests have to notice; `python -m tests.mutate` tries them.

Every fault is a change of a few words that still runs: what a slip while editing would leave.
"""

from typing import NamedTuple


class Fault(NamedTuple):
    """One deliberate fault.

    Attributes:
        name: what goes wrong.
        path: of the file, from the root of the repository.
        old: what is there, exactly once.
        new: what takes its place.
        tests: files of `tests/`, one of which has to fail.
    """

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]


_ROLLOUT, _LEARNERS, _MLSH = "mlsh_jax/rollout.py", "mlsh_jax/learners.py", "mlsh_jax/mlsh.py"
_AGENT, _ADAPT, _CREDIT = "mlsh_jax/agent.py", "mlsh_jax/adapt.py", "mlsh_jax/credit.py"
_UPDATES, _RULES = "mlsh_jax/rl/updates.py", "mlsh_jax/rl/rules.py"
_RETURNS, _STATISTICS = "mlsh_jax/rl/returns.py", "mlsh_jax/rl/normalization.py"
_LOSSES, _PPO, _BLOCKS = "mlsh_jax/rl/losses.py", "mlsh_jax/rl/ppo.py", "mlsh_jax/rl/blocks.py"
_TASKS, _USAGE = "mlsh_jax/tasks.py", "mlsh_jax/usage.py"

_OF_ROLLOUT, _OF_KEYS = ("test_rollout.py",), ("test_randomness.py",)
_OF_LEARNERS = ("test_learners.py", "test_targets.py")
_OF_MLSH, _OF_ADAPT = ("test_mlsh.py",), ("test_adapt.py",)
_OF_UPDATES = ("rl/test_updates.py",)
_OF_RETURNS, _OF_STATISTICS = ("rl/test_returns.py",), ("rl/test_normalization.py",)
_OF_MINIGRID = ("envs/test_minigrid.py",)

FAULTS = (
    # Keys.
    Fault(
        "one key for all steps of a slice",
        _ROLLOUT,
        "jax.random.split(key_steps, macro_length),",
        "jnp.broadcast_to(key_steps, (macro_length,)),",
        _OF_KEYS,
    ),
    Fault(
        "one key for restart, choice and steps",
        _ROLLOUT,
        "key_restart, key_choice, key_steps = jax.random.split(key, 3)",
        "key_restart = key_choice = key_steps = key",
        _OF_KEYS,
    ),
    Fault(
        "one key for choice and steps",
        _ROLLOUT,
        "choice, memory = behavior.choose(env_state.obs, memory, key_choice)",
        "choice, memory = behavior.choose(env_state.obs, memory, key_steps)",
        _OF_KEYS,
    ),
    Fault(
        "one key for all slices",
        _ROLLOUT,
        "one_slice, (env_state, memory), jax.random.split(key, num_slices)",
        "one_slice, (env_state, memory), jnp.broadcast_to(key, (num_slices,))",
        _OF_KEYS,
    ),
    Fault(
        "one key for all tasks",
        _ROLLOUT,
        "keys = jax.random.split(key, tasks.index.shape[0])",
        "keys = jnp.broadcast_to(key, (tasks.index.shape[0],))",
        _OF_KEYS,
    ),
    Fault(
        "one key for all environments",
        _ROLLOUT,
        "keys = jax.random.split(key, num_envs)",
        "keys = jnp.broadcast_to(key, (num_envs,))",
        _OF_KEYS,
    ),
    Fault(
        "one key for tasks and lives",
        _MLSH,
        "lives = begin_lives(agent, key_lives, shard(tasks))",
        "lives = begin_lives(agent, key_tasks, shard(tasks))",
        _OF_KEYS,
    ),
    Fault(
        "one key for lives and what they learn",
        _MLSH,
        "lives = begin_lives(agent, key_lives, shard(tasks))",
        "lives = begin_lives(agent, key_learn, shard(tasks))",
        _OF_KEYS,
    ),
    Fault(
        "φ updated with the masters' keys",
        _MLSH,
        "            acted,\n            key_subpolicies,\n            is_last,\n        )\n"
        "        lives = balance",
        "            acted,\n            key_masters,\n            is_last,\n        )\n"
        "        lives = balance",
        _OF_KEYS,
    ),
    Fault(
        "masters learn with the key that they collected with",
        _MLSH,
        "lives, master_metrics = update_masters(agent, lives, rollouts, key_masters)",
        "lives, master_metrics = update_masters(agent, lives, rollouts, key_collect)",
        _OF_KEYS,
    ),
    Fault(
        "one key for all masters",
        _MLSH,
        "keys = jax.random.split(key, lives.tasks.index.shape[0])",
        "keys = jnp.broadcast_to(key, (lives.tasks.index.shape[0],))",
        _OF_KEYS,
    ),
    Fault(
        "every iteration has the same key",
        _MLSH,
        "keys = jax.random.split(key, iterations)\n    (state",
        "keys = jnp.broadcast_to(key, (iterations,))\n    (state",
        _OF_KEYS,
    ),
    Fault(
        "the key of the next meta-iteration is the last one",
        _MLSH,
        "return dataclasses.replace(state, key=key), last",
        "return state, last",
        _OF_MLSH,
    ),
    Fault(
        "a second epoch repeats the first minibatch",
        _UPDATES,
        "keys = jax.random.split(key, config.num_passes)",
        "keys = jnp.broadcast_to(key, (config.num_passes,))",
        _OF_UPDATES,
    ),
    Fault(
        "one key for all parts of a minibatch",
        _UPDATES,
        "keys = jax.random.split(key, num_parts)",
        "keys = jnp.broadcast_to(key, (num_parts,))",
        _OF_UPDATES,
    ),
    # Observations as they are and standardized.
    Fault(
        "masters act on raw observations",
        _AGENT,
        "view = normalize(master.statistics, agent.master_view(observation))",
        "view = agent.master_view(observation)",
        ("test_agent.py", "test_targets.py"),
    ),
    Fault(
        "sub-policies act on raw observations",
        _AGENT,
        "view = normalize(subpolicies.statistics, agent.subpolicy_view(observation))",
        "view = agent.subpolicy_view(observation)",
        ("test_agent.py", "test_targets.py"),
    ),
    Fault(
        "old probabilities of sub-policies under the old statistics",
        _LEARNERS,
        "select(for_all(network.policy, subpolicies.params, observation), k),",
        "select(for_all(network.policy, subpolicies.params, "
        "normalize(subpolicies.statistics, agent.subpolicy_view(rollout.observation))), k),",
        _OF_LEARNERS,
    ),
    Fault(
        "old probabilities of masters from raw observations",
        _RULES,
        "        network.policy(params, observation),\n        observation,",
        "        network.policy(params, transitions.observation),\n        observation,",
        _OF_LEARNERS,
    ),
    Fault(
        "a master's bootstrap from a raw observation",
        _RULES,
        "network.value(params, normalize(transitions.next_observation)),",
        "network.value(params, transitions.next_observation),",
        _OF_LEARNERS,
    ),
    Fault(
        "a sub-policy's bootstrap from a raw observation",
        _LEARNERS,
        "last_observation = normalize(\n        critic_statistics, "
        "agent.critic_view(rollout.next_observation, tasks)\n    )",
        "last_observation = agent.critic_view(rollout.next_observation, tasks)",
        _OF_LEARNERS,
    ),
    Fault(
        "masters learn under the statistics of before",
        _LEARNERS,
        "functools.partial(normalize, statistics),",
        "functools.partial(normalize, master.statistics),",
        _OF_LEARNERS,
    ),
    Fault(
        "statistics count steps after the end of an episode",
        _LEARNERS,
        "statistics = _absorb(config, subpolicies.statistics, seen, rollout.weight)",
        "statistics = _absorb(config, subpolicies.statistics, seen, jnp.ones_like(rollout.weight))",
        _OF_LEARNERS,
    ),
    Fault(
        "batches add to the variance and not to the distance of means",
        _STATISTICS,
        "+ delta**2 * fraction * (1 - fraction)",
        "+ delta**2 * fraction * 0.0",
        _OF_STATISTICS,
    ),
    Fault(
        "standardized observations are not clipped",
        _STATISTICS,
        "clipped = jnp.clip(standardized, -_CLIP, _CLIP)",
        "clipped = standardized",
        _OF_STATISTICS,
    ),
    # Rollouts.
    Fault(
        "steps after the end of an episode count",
        _ROLLOUT,
        '"weight": weight,',
        '"weight": jnp.ones_like(weight),',
        _OF_ROLLOUT,
    ),
    Fault(
        "a failed step counts",
        _ROLLOUT,
        'weight = jnp.where(env_state.info["failed"], 0.0, running)',
        "weight = running",
        _OF_ROLLOUT,
    ),
    Fault(
        "nothing restarts",
        _ROLLOUT,
        "lambda n, o: jnp.where(done > 0, n, o), new, old",
        "lambda n, o: jnp.where(done > 1, n, o), new, old",
        _OF_ROLLOUT,
    ),
    Fault(
        "the macro transition has the mean reward",
        _ROLLOUT,
        "reward=rollout.reward.sum(axis=1),",
        "reward=rollout.reward.mean(axis=1),",
        _OF_ROLLOUT,
    ),
    Fault(
        "a macro transition terminates by its first step alone",
        _ROLLOUT,
        "terminated=rollout.terminated[:, -1],",
        "terminated=rollout.terminated[:, 0],",
        _OF_ROLLOUT,
    ),
    Fault(
        "the observation after the action",
        _ROLLOUT,
        '"observation": observation,',
        '"observation": env_state.obs,',
        _OF_ROLLOUT,
    ),
    # Credit and returns.
    Fault(
        "a time limit ends returns like a termination",
        _RETURNS,
        "delta = reward + discount * next_value * continues - value",
        "delta = reward + discount * next_value * carries_on - value",
        _OF_RETURNS,
    ),
    Fault(
        "returns go on through a time limit",
        _RETURNS,
        "carries_on = continues * (1.0 - last.astype(reward.dtype))",
        "carries_on = continues",
        _OF_RETURNS,
    ),
    Fault(
        "λ is forgotten",
        _RETURNS,
        "advantage = delta_t + discount * gae_lambda * carries_on_t * following",
        "advantage = delta_t + discount * carries_on_t * following",
        _OF_RETURNS,
    ),
    Fault(
        "advantages are not centred",
        _RETURNS,
        "deviation = advantage - jnp.sum(advantage * weight) / total",
        "deviation = advantage",
        _OF_RETURNS,
    ),
    Fault(
        "a sub-policy is credited by the first critic",
        _CREDIT,
        "return select(last_values, rollout.subpolicy), jnp.zeros_like(rollout.truncated)",
        "return last_values[0], jnp.zeros_like(rollout.truncated)",
        _OF_LEARNERS,
    ),
    Fault(
        "credit ends with the slice",
        _CREDIT,
        "return following, jnp.zeros_like(rollout.truncated).at[:, :-1].set(into_next)",
        "return following, jnp.zeros_like(rollout.truncated)",
        _OF_LEARNERS,
    ),
    Fault(
        "credit goes on through a time limit",
        _CREDIT,
        "into_next = ~rollout.truncated[:, :-1] & (rollout.weight[:, 1:, 0] > 0)",
        "into_next = rollout.weight[:, 1:, 0] > 0",
        _OF_LEARNERS,
    ),
    Fault(
        "a task that pays nothing has advantages",
        _CREDIT,
        "return of_tasks * paid[:, None]",
        "return of_tasks",
        _OF_LEARNERS,
    ),
    Fault(
        "advantages of a task that is served are scaled up",
        _CREDIT,
        "_LITTLE_LEFT = 0.2",
        "_LITTLE_LEFT = 0.0",
        _OF_LEARNERS,
    ),
    Fault(
        "rewards are not in units of returns",
        _LEARNERS,
        "scale = 1.0 / unit if agent.config.equal_tasks else agent.config.reward_scale",
        "scale = agent.config.reward_scale",
        _OF_LEARNERS,
    ),
    # Updates.
    Fault(
        "old probabilities are those of the first sub-policy",
        _LEARNERS,
        "select(for_all(network.policy, subpolicies.params, observation), k),",
        "select(for_all(network.policy, subpolicies.params, observation), 0 * k),",
        _OF_LEARNERS,
    ),
    Fault(
        "a sub-policy learns from the slices of another",
        _LEARNERS,
        "k = jnp.broadcast_to(rollout.subpolicy[:, :, None], shape)",
        "k = jnp.broadcast_to(rollout.subpolicy[:, :1, None], shape)",
        _OF_LEARNERS,
    ),
    Fault(
        "the clip is one-sided",
        _PPO,
        "jnp.clip(ratio, 1 - config.clip_epsilon, 1 + config.clip_epsilon)",
        "jnp.clip(ratio, 0.0, 1 + config.clip_epsilon)",
        _OF_UPDATES,
    ),
    Fault(
        "the objective is the greater of the two",
        _PPO,
        "-jnp.minimum(ratio * batch.advantage, clipped_ratio * batch.advantage)",
        "-jnp.maximum(ratio * batch.advantage, clipped_ratio * batch.advantage)",
        _OF_UPDATES,
    ),
    Fault(
        "a minibatch without weight moves the optimizer",
        _UPDATES,
        "return choose(has_data, new, (params, opt_state)), (metrics, has_data)",
        "return new, (metrics, has_data)",
        _OF_UPDATES,
    ),
    Fault(
        "gradients are sums and not means",
        _UPDATES,
        "return gradients / count[:, None], {name: x / count for name, x in means.items()}, total",
        "return gradients, {name: x / count for name, x in means.items()}, total",
        _OF_UPDATES,
    ),
    Fault(
        "rows that fill up blocks count",
        _UPDATES,
        "weight = jnp.where(blocks.is_row, minibatch.weight, 0.0)",
        "weight = minibatch.weight",
        _OF_UPDATES,
    ),
    Fault(
        "a block belongs to its neighbor",
        _BLOCKS,
        'jnp.searchsorted(last_block, jnp.arange(num_blocks), side="right")',
        'jnp.searchsorted(last_block, jnp.arange(num_blocks), side="left")',
        ("rl/test_blocks.py",),
    ),
    # The algorithm.
    Fault(
        "φ learns in the warmup",
        _MLSH,
        "is_joint = jnp.arange(iterations) >= warmup_iterations",
        "is_joint = jnp.arange(iterations) >= 0",
        _OF_MLSH,
    ),
    Fault(
        "φ is credited by the masters of after",
        _MLSH,
        "acted = lives.masters\n        lives, rollouts, metrics = learn_masters("
        "agent, state.subpolicies, lives, key_masters)",
        "lives, rollouts, metrics = learn_masters("
        "agent, state.subpolicies, lives, key_masters)\n        acted = lives.masters",
        _OF_MLSH,
    ),
    Fault(
        "usage is balanced in the warmup too",
        _MLSH,
        "bias = jnp.broadcast_to(jnp.where(is_on[..., None], bias, 0.0), masters.bias.shape)",
        "bias = jnp.broadcast_to(bias, masters.bias.shape)",
        _OF_MLSH,
    ),
    Fault(
        "failures are those of the last iteration",
        _MLSH,
        'last["physics_failures"] = metrics["physics_failures"].sum()',
        'last["physics_failures"] = metrics["physics_failures"][-1]',
        _OF_MLSH,
    ),
    Fault(
        "the bias of choices is left out",
        _AGENT,
        "return Categorical(policy.logits + master.bias)",
        "return Categorical(policy.logits)",
        (*_OF_MLSH, "test_usage.py"),
    ),
    Fault(
        "tasks are not stratified",
        _TASKS,
        "index = jax.random.permutation(key, num_kinds)[jnp.arange(num_tasks) % num_kinds]",
        "index = jax.random.randint(key, (num_tasks,), 0, num_kinds)",
        ("test_tasks.py",),
    ),
    Fault(
        "a double is not needless",
        _USAGE,
        "is_free = (wasted > _WASTED) | (divergence < _ALIKE)",
        "is_free = wasted > _WASTED",
        ("test_renewal.py",),
    ),
    # The measurement.
    Fault(
        "usage counts later episodes",
        _ADAPT,
        "usage = jax.nn.one_hot(data.subpolicy, num_subpolicies) * in_first[..., None]",
        "usage = jax.nn.one_hot(data.subpolicy, num_subpolicies)",
        _OF_ADAPT,
    ),
    Fault(
        "returns count later episodes",
        _ADAPT,
        "in_first = (ended_before == 0).astype(data.reward.dtype)",
        "in_first = (ended_before >= 0).astype(data.reward.dtype)",
        _OF_ADAPT,
    ),
    Fault(
        "masters explore while they are measured",
        _ADAPT,
        "return hierarchy(agent, subpolicies, master, forced_k, learning=False)",
        "return hierarchy(agent, subpolicies, master, forced_k, learning=True)",
        _OF_ADAPT,
    ),
    Fault(
        "nobody is forced",
        _AGENT,
        "return choice if forced is None else jnp.where(forced >= 0, forced, choice)",
        "return choice",
        _OF_ADAPT,
    ),
    Fault(
        "adapted masters are the untrained ones",
        _ADAPT,
        "        start.lives.masters,\n        end.lives.masters,",
        "        start.lives.masters,\n        start.lives.masters,",
        _OF_ADAPT,
    ),
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
