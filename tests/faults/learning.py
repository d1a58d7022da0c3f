"""Faults in what is learned from it."""

from .fault import Fault

_LEARNERS = "mlsh_jax/learners.py"
_MLSH = "mlsh_jax/mlsh.py"
_AGENT = "mlsh_jax/agent.py"
_CREDIT = "mlsh_jax/credit.py"
_UPDATES = "mlsh_jax/rl/updates.py"
_RETURNS = "mlsh_jax/rl/returns.py"
_PPO = "mlsh_jax/rl/ppo.py"
_BLOCKS = "mlsh_jax/rl/blocks.py"
_TASKS = "mlsh_jax/tasks.py"
_USAGE = "mlsh_jax/usage.py"
_OF_LEARNERS = ("test_learners.py", "test_targets.py")
_OF_MLSH = ("test_mlsh.py",)
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
        "usage is balanced on top of the bias of before",
        _MLSH,
        "masters = dataclasses.replace(lives.masters, bias=jnp.zeros_like(lives.masters.bias))",
        "masters = lives.masters",
        _OF_MLSH,
    ),
    Fault(
        "who is needless is judged by what was drawn at random",
        _MLSH,
        "served = subpolicy_usage(agent, rollouts, ~rollouts.imposed), is_paid(rollouts)",
        "served = subpolicy_usage(agent, rollouts), is_paid(rollouts)",
        ("test_random_starts.py",),
    ),
    Fault(
        "who is needless is judged by the warmup too",
        _MLSH,
        "joint = slice(warmup_iterations, None)",
        "joint = slice(None)",
        ("test_random_starts.py",),
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
)
