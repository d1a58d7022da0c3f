"""Faults in what runs keep and say of themselves, and in what they are compared with."""

from .fault import Fault

_METHODS = "experiments/harness/methods.py"
_SUMMARY = "experiments/harness/summary.py"
_TRPO = "mlsh_jax/rl/trpo.py"
_DQN = "mlsh_jax/rl/dqn.py"
_ANT = "envs/locomotion/ant.py"
_OF_METHODS = ("test_methods.py",)
_OF_SUMMARY = ("test_summary.py",)
_OF_TRPO = ("rl/test_trpo.py",)
_OF_DQN = ("rl/test_dqn.py",)
_OF_POSES = ("envs/test_poses.py",)
_OF_BUNDLE = ("test_bundle.py",)

FAULTS = (
    Fault(
        "a run measures untrained masters as those that have adapted",
        _METHODS,
        "start.lives.masters, end.lives.masters",
        "start.lives.masters, start.lives.masters",
        _OF_METHODS,
    ),
    Fault(
        "a course measures fresh masters as those that have learned",
        _METHODS,
        "fresh, lives.masters, lives.tasks",
        "fresh, fresh, lives.tasks",
        _OF_METHODS,
    ),
    Fault(
        "returns of sub-policies alone are lengths",
        _SUMMARY,
        "for row in mean_return(forced)]",
        "for row in lengths(forced)]",
        _OF_SUMMARY,
    ),
    Fault(
        "usage is that of untrained masters",
        _SUMMARY,
        "np.asarray(assessment.adapted.usage)",
        "np.asarray(assessment.initial.usage)",
        _OF_SUMMARY,
    ),
    Fault(
        "a task's return is that of a row",
        _SUMMARY,
        "float(returns[task_index == m].mean())",
        "float(returns[m].mean())",
        _OF_SUMMARY,
    ),
    Fault(
        "ends have x twice",
        _SUMMARY,
        'for name in ("x_position", "y_position")]',
        'for name in ("x_position", "x_position")]',
        _OF_SUMMARY,
    ),
    Fault(
        "the best master is the worst",
        _SUMMARY,
        '"best_master": float(returns.max())',
        '"best_master": float(returns.min())',
        _OF_SUMMARY,
    ),
    Fault(
        "a resume takes the trainer as it lies there",
        "mlsh_jax/host/checkpoint.py",
        "path = self._checked_path(iteration, list(abstract_items))",
        "path = self._checked_path(iteration, [])",
        ("host/test_checkpoint.py",),
    ),
    Fault(
        "code that was changed is said to be in a commit",
        "mlsh_jax/host/runs.py",
        'bool(_git("status", "--porcelain"))',
        'bool(_git("diff", "--quiet"))',
        ("host/test_runs.py",),
    ),
    Fault(
        "a checkpoint says that sub-policies see all",
        "mlsh_jax/transfer.py",
        '"observation_size": len(agent.subpolicy_indices),',
        '"observation_size": agent.env.observation_size,',
        _OF_BUNDLE,
    ),
    Fault(
        "baselines of a course have the library's K and N",
        "experiments/harness/course.py",
        "        trained=trained,\n    )\n    found",
        "    )\n    found",
        _OF_BUNDLE,
    ),
    Fault(
        "the single policy has tasks count alike",
        "mlsh_jax/baselines/single_policy.py",
        "equal_tasks=False,",
        "equal_tasks=True,",
        ("test_baselines.py",),
    ),
    Fault("trpo's bonus is on certainty", _TRPO, ".mean() + bonus", ".mean() - bonus", _OF_TRPO),
    Fault("trpo makes one pass", _TRPO, "length=config.num_passes", "length=1", _OF_TRPO),
    Fault(
        "trpo's critic forgets its moments",
        _TRPO,
        '"value": value}, state, metrics',
        '"value": value}, init(config, params, 0), metrics',
        _OF_TRPO,
    ),
    Fault(
        "dqn draws from beyond its memory",
        _DQN,
        "filled = jnp.minimum(added, config.replay_size)",
        "filled = added",
        _OF_DQN,
    ),
    Fault(
        "dqn draws the same in every gradient step",
        _DQN,
        "jax.random.split(key, config.gradient_steps)",
        "jnp.broadcast_to(key, (config.gradient_steps,))",
        _OF_DQN,
    ),
    Fault(
        "one foot goes through walls",
        _ANT,
        '    "third_foot_geom",\n',
        "",
        ("envs/test_walls.py",),
    ),
    Fault("ants stand straight", _ANT, "_POSE_NOISE = 0.1", "_POSE_NOISE = 0.01", _OF_POSES),
    Fault(
        "an ant is stood up alike each time",
        _ANT,
        "jax.random.fold_in(key, clock)",
        "key",
        _OF_POSES,
    ),
    Fault(
        "the enemy waits",
        "envs/locomotion/ant_obstacle.py",
        "ENEMY_ZONE = 15.0",
        "ENEMY_ZONE = 14.0",
        ("envs/test_ant_obstacle.py",),
    ),
)
