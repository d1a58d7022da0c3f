"""Faults in how learning is measured and told."""

from .fault import Fault

_LEARNERS = "mlsh_jax/learners.py"
_MLSH = "mlsh_jax/mlsh.py"
_AGENT = "mlsh_jax/agent.py"
_ADAPT = "mlsh_jax/adapt.py"
_CREDIT = "mlsh_jax/credit.py"
_OF_SUMMARY = ("test_summary.py",)
_OF_ADAPT = ("test_adapt.py",)
_OF_RANDOM_STARTS = ("test_random_starts.py",)

FAULTS = (
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
        "one.is_of_the_world_of(run) for one in group",
        "one is not None for one in group",
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
        "jnp.any(data.terminated & (weight > 0), axis=(0, 1))",
        "jnp.any((data.terminated & (weight > 0))[-1], axis=0)",
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
