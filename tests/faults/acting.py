"""Faults in what agents see and do: keys, observations, rollouts."""

from .fault import Fault

_ROLLOUT = "mlsh_jax/rollout.py"
_LEARNERS = "mlsh_jax/learners.py"
_MLSH = "mlsh_jax/mlsh.py"
_AGENT = "mlsh_jax/agent.py"
_UPDATES = "mlsh_jax/rl/updates.py"
_RULES = "mlsh_jax/rl/rules.py"
_STATISTICS = "mlsh_jax/rl/normalization.py"
_OF_ROLLOUT = ("test_rollout.py",)
_OF_KEYS = ("test_randomness.py",)
_OF_LEARNERS = ("test_learners.py", "test_targets.py")
_OF_MLSH = ("test_mlsh.py",)
_OF_UPDATES = ("rl/test_updates.py",)
_OF_STATISTICS = ("rl/test_normalization.py",)

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
        "(jax.random.split(key, num_slices), starts)",
        "(jnp.broadcast_to(key, (num_slices,)), starts)",
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
        "critics are standardized by the last batch alone",
        _LEARNERS,
        "SubPolicyLearner(critics, critic_statistics, opt_state),",
        "SubPolicyLearner(critics, learner.statistics, opt_state),",
        _OF_LEARNERS,
    ),
    Fault(
        "statistics of critics count steps after the end of an episode",
        _LEARNERS,
        "critic_statistics = _absorb(config, learner.statistics, seen, rollout.weight)",
        "critic_statistics = _absorb(\n"
        "            config, learner.statistics, seen, jnp.ones_like(rollout.weight)\n        )",
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
        "lambda n, o: jnp.where(ended, n, o), new, old",
        "lambda n, o: jnp.where(ended, o, o), new, old",
        _OF_ROLLOUT,
    ),
    Fault(
        "the macro transition has the mean reward",
        _ROLLOUT,
        "reward=(rollout.reward * ~ended_before).sum(axis=1),",
        "reward=(rollout.reward * ~ended_before).mean(axis=1),",
        _OF_ROLLOUT,
    ),
    Fault(
        "a macro transition terminates by its first step alone",
        _ROLLOUT,
        "terminated=rollout.terminated.any(axis=1),",
        "terminated=rollout.terminated[:, 0],",
        _OF_ROLLOUT,
    ),
    Fault(
        "rewards after the first termination of a slice count for masters",
        _ROLLOUT,
        "reward=(rollout.reward * ~ended_before).sum(axis=1),",
        "reward=rollout.reward.sum(axis=1),",
        ("test_restarts.py",),
    ),
    Fault(
        "episodes restart within slices after time limits",
        _ROLLOUT,
        'restart(env_state.info["terminated"], fresh, env_state)',
        "restart(env_state.done > 0, fresh, env_state)",
        ("test_restarts.py",),
    ),
    Fault(
        "the observation after the action",
        _ROLLOUT,
        '"observation": observation,',
        '"observation": env_state.obs,',
        _OF_ROLLOUT,
    ),
)
