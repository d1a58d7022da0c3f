"""Faults in what is learned from it, and in how that is measured."""

from .fault import Fault

_LEARNERS = "mlsh_jax/learners.py"
_MLSH = "mlsh_jax/mlsh.py"
_AGENT = "mlsh_jax/agent.py"
_ADAPT = "mlsh_jax/adapt.py"
_CREDIT = "mlsh_jax/credit.py"
_UPDATES = "mlsh_jax/rl/updates.py"
_RETURNS = "mlsh_jax/rl/returns.py"
_PPO = "mlsh_jax/rl/ppo.py"
_BLOCKS = "mlsh_jax/rl/blocks.py"
_TASKS = "mlsh_jax/tasks.py"
_USAGE = "mlsh_jax/usage.py"
_OF_LEARNERS = ("test_learners.py", "test_targets.py")
_OF_MLSH = ("test_mlsh.py",)
_OF_SUMMARY = ("test_summary.py",)
_OF_ADAPT = ("test_adapt.py",)
_OF_RANDOM_STARTS = ("test_random_starts.py",)
_OF_UPDATES = ("rl/test_updates.py",)
_OF_RETURNS = ("rl/test_returns.py",)

FAULTS = (
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
        "of_same = select(last_values, rollout.subpolicy)",
        "of_same = last_values[0]",
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
        "step sizes fall from the start",
        _UPDATES,
        "share = optax.linear_schedule(1.0, 0.0, decaying, num_steps - decaying)",
        "share = optax.linear_schedule(1.0, 0.0, num_steps)",
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
        "acted = lives.masters\n        lives, rollouts, metrics = learn_masters(\n"
        "            agent, state.subpolicies, lives, key_masters, is_joint\n        )",
        "lives, rollouts, metrics = learn_masters(\n"
        "            agent, state.subpolicies, lives, key_masters, is_joint\n        )\n"
        "        acted = lives.masters",
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
        "tasks that want the same count one by one",
        _USAGE,
        "weight = 1.0 / in_common.sum(axis=-1)",
        "weight = jnp.ones_like(in_common[0])",
        (*_OF_MLSH, "test_usage.py"),
    ),
    Fault(
        "a task that costs the same in every step never pays",
        _CREDIT,
        "return (most > least) | (most > 0) | is_spared",
        "return (most > least) | (most > 0)",
        _OF_LEARNERS,
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
        "is_free = (is_complete & (wasted > _WASTED)) | (divergence < _ALIKE)",
        "is_free = is_complete & (wasted > _WASTED)",
        ("test_renewal.py",),
    ),
    Fault(
        "a sub-policy that may serve a task that is not there begins anew",
        _MLSH,
        "usage.mean(axis=0), paid.any(axis=0), is_here.all()",
        "usage.mean(axis=0), paid.any(axis=0), is_here.any()",
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
        "a program is not told which sub-policies are never used",
        "mlsh_jax/training.py",
        'usage = [plain["usage_free"]]',
        "usage = ()",
        ("test_api.py",),
    ),
    Fault(
        "a run does not warn of sub-policies that act alike",
        "experiments/harness/closing.py",
        'if "subpolicy_divergence" in summary:',
        'if "subpolicy_divergence" not in summary:',
        _OF_SUMMARY,
    ),
    Fault(
        "the progress line tells of those that differ most",
        "experiments/harness/stages.py",
        "min(metrics['divergence'])",
        "max(metrics['divergence'])",
        _OF_SUMMARY,
    ),
    Fault(
        "a bootstrap draws from one of the groups as from the other",
        "mlsh_jax/statistics.py",
        'means = np.einsum("br,rs,bs->b", of_ones, wins, of_others)',
        'means = np.einsum("br,rs->b", of_ones, wins) / wins.shape[1]',
        ("test_statistics.py",),
    ),
    Fault(
        "groups of different worlds are compared",
        "experiments/harness/comparison.py",
        "if names and {run.world for run in group} == {run.world for run in than}:",
        "if names:",
        ("test_report.py",),
    ),
    Fault(
        "a run does not say with what its sub-policies are played",
        "experiments/harness/config.py",
        "left = [name for name in AS_TRAINED if getattr(self, name) is None]",
        "left = []",
        ("test_bundle.py",),
    ),
    Fault(
        "the first success may be one of a later episode",
        _ADAPT,
        "positive = time_last(metric * weight)",
        "positive = time_last(metric)",
        _OF_ADAPT,
    ),
    Fault(
        "the physics of a success may have failed",
        "experiments/harness/summary.py",
        "reached = steps[np.isfinite(steps) & ~np.asarray(episodes.failed)[of_task]]",
        "reached = steps[np.isfinite(steps)]",
        _OF_SUMMARY,
    ),
    Fault(
        "masters explore while they are measured",
        _ADAPT,
        "return hierarchy(agent.frozen(), subpolicies, master, forced_k, learning=False)",
        "return hierarchy(agent.frozen(), subpolicies, master, forced_k, learning=True)",
        _OF_ADAPT,
    ),
    Fault(
        "φ learns from slices that were imposed",
        _LEARNERS,
        "rollout.weight * ~rollout.imposed[:, :, None],",
        "rollout.weight,",
        _OF_RANDOM_STARTS,
    ),
    Fault(
        "returns go on into slices that were imposed",
        _CREDIT,
        "into_next &= ~rollout.imposed[:, 1:]",
        "into_next &= True",
        _OF_RANDOM_STARTS,
    ),
    Fault(
        "choices are imposed in the warmup too",
        _MLSH,
        "is_random &= jnp.reshape(is_joint, (-1, 1, 1))",
        "is_random &= True",
        _OF_RANDOM_STARTS,
    ),
    Fault(
        "what is imposed is imposed even on those who chose it",
        "mlsh_jax/rollout.py",
        "is_imposed = is_start & (start != choice)",
        "is_imposed = is_start",
        _OF_RANDOM_STARTS,
    ),
    Fault(
        "choices are imposed in the middle of episodes",
        "mlsh_jax/rollout.py",
        "is_start &= start >= 0",
        "is_start = start >= 0",
        _OF_RANDOM_STARTS,
    ),
    Fault(
        "choices are imposed after the master has begun to choose",
        "mlsh_jax/rollout.py",
        "        is_start &= start >= 0\n        is_imposed = is_start & (start != choice)",
        "        is_imposed = is_start & (start >= 0) & (start != choice)",
        _OF_RANDOM_STARTS,
    ),
    Fault(
        "nothing is imposed",
        "mlsh_jax/rollout.py",
        "choice = jnp.where(is_imposed, start, choice)",
        "choice = jnp.where(is_imposed, choice, choice)",
        _OF_RANDOM_STARTS,
    ),
    Fault(
        "frozen sub-policies explore",
        _AGENT,
        "deterministic=self.config.deterministic_when_frozen)",
        "deterministic=False)",
        ("test_adapt.py", "test_baselines.py"),
    ),
    Fault(
        "sub-policies do not explore while masters adapt, asked or not",
        _AGENT,
        "deterministic=self.config.deterministic_when_frozen)",
        "deterministic=True)",
        _OF_ADAPT,
    ),
    Fault(
        "masters adapt to sub-policies that explore",
        _ADAPT,
        "warmup(agent.frozen(), subpolicies",
        "warmup(agent, subpolicies",
        _OF_ADAPT,
    ),
    Fault(
        "sub-policies explore in the measurement",
        _ADAPT,
        "return hierarchy(agent.frozen(), subpolicies",
        "return hierarchy(agent, subpolicies",
        _OF_ADAPT,
    ),
    Fault(
        "a baseline explores in the measurement",
        "mlsh_jax/baselines/single_policy.py",
        "behavior(agent.frozen(), policy)",
        "behavior(agent, policy)",
        ("test_baselines.py",),
    ),
    Fault(
        "a baseline learns without exploring",
        "mlsh_jax/baselines/single_policy.py",
        "lambda _: behavior(agent, state.policy),",
        "lambda _: behavior(agent.frozen(), state.policy),",
        ("test_baselines.py",),
    ),
    Fault(
        "the first episode is as long as all that is played",
        _ADAPT,
        "lengths=jnp.sum(weight, axis=(0, 1)),",
        "lengths=jnp.sum(data.weight, axis=(0, 1)),",
        _OF_ADAPT,
    ),
    Fault(
        "an episode terminates where its last slice does",
        _ADAPT,
        "jnp.any(data.terminated, axis=(0, 1))",
        "jnp.any(data.terminated[-1], axis=0)",
        _OF_ADAPT,
    ),
    Fault(
        "episodes are said to be as long as they pay",
        "experiments/harness/summary.py",
        "_mean(episodes, episodes.lengths)",
        "_mean(episodes, episodes.returns)",
        _OF_SUMMARY,
    ),
    Fault(
        "a task is said to terminate where another one does",
        "experiments/harness/closing.py",
        "f\"{summary['per_task'][name]['terminated_rate']:.0%}\"",
        "f\"{summary['per_task'][names[0]]['terminated_rate']:.0%}\"",
        _OF_SUMMARY,
    ),
    Fault(
        "policies of tasks explore in the measurement",
        "mlsh_jax/baselines/policy_per_task.py",
        "functools.partial(single_policy.behavior, agent.frozen())",
        "functools.partial(single_policy.behavior, agent)",
        ("test_baselines.py",),
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
)
