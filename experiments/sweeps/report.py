"""What a sweep leaves behind: tables, figures and the best configuration."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import optuna
from optuna.trial import TrialState

from experiments import table
from experiments.sweeps.scheduler import seed_returns
from experiments.sweeps.space import Space
from mlsh_jax.errors import RunError
from mlsh_jax.host.runs import Run
from mlsh_jax.host.serialization import to_json, write_json
from mlsh_jax.host.telemetry import print_table

BEST = "best.json"
TRIALS = "trials.json"
_SHOWN = 10


def progress(study: optuna.Study) -> str:
    """One line on how far the sweep is."""
    trials = study.get_trials(deepcopy=False)
    counts = {
        name: sum(t.state == state for t in trials)
        for name, state in (
            ("running", TrialState.RUNNING),
            ("complete", TrialState.COMPLETE),
            ("dropped", TrialState.PRUNED),
            ("failed", TrialState.FAIL),
        )
    }
    text = "  ".join(f"{name} {count}" for name, count in counts.items())
    values = [t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    return f"sweep: {text}" + (f"  best {max(values):.2f}" if values else "")


def write(
    run: Run,
    config: Any,
    experiment: Any,
    space: Space,
    study: optuna.Study,
    costs: dict[str, Any],
) -> None:
    """Writes the trials, the figures and the best configuration, and prints a table.

    Args:
        run: of the sweep.
        config: of the sweep.
        experiment: configuration of the experiment that was swept.
        space: what was tried.
        study: with all trials.
        costs: of the sweep.

    Raises:
        RunError: there is no best trial.
    """
    trials = [_as_row(trial) for trial in study.get_trials(deepcopy=False)]
    write_json(run.directory / TRIALS, trials)
    complete = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    complete.sort(key=lambda trial: trial.value or 0.0, reverse=True)
    summary: dict[str, Any] = {
        "experiment": config.env,
        "seed": config.seed,
        "trials": len(trials),
        "complete": len(complete),
        "pruned": sum(row["state"] == "pruned" for row in trials),
        "failed": sum(row["state"] == "fail" for row in trials),
        **costs,
    }
    if complete:
        best = complete[0]
        training = dataclasses.replace(experiment.training, mlsh=space.config(best.params))
        best_config = dataclasses.replace(experiment, training=training)
        if hasattr(best_config, "seed"):
            best_config = dataclasses.replace(best_config, seed=config.seed)
        write_json(run.directory / BEST, to_json(best_config))
        summary["best"] = {"trial": best.number, "return": best.value, **best.params}
        rows = [{"trial": t.number, "return": t.value} | t.params for t in complete[:_SHOWN]]
        print_table(f"best trials of {len(trials)}", rows)
        module = table.module_name(config.env)
        print(f"best: python -m {module} --config {run.directory / BEST}")
    run.write_summary(summary)
    if complete:
        _draw(run.directory, study, len(complete))
    print(f"summary: {run.directory / 'summary.json'}", flush=True)
    if not complete:
        raise RunError(f"no trial was trained to its end; {run.directory / TRIALS} says why")


def _as_row(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "return": trial.value,
        "values": trial.params,
        "returns": [trial.intermediate_values[i] for i in sorted(trial.intermediate_values)],
        "seed_returns": seed_returns(trial),
        "failure": trial.user_attrs.get("failure"),
    }


def _draw(directory: Path, study: optuna.Study, num_complete: int) -> None:
    """Parallel coordinates of all trials and, from two on, the importance of each field."""
    plots = optuna.visualization.matplotlib
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Optuna, on experimental functions and narrow axes
        plots.plot_parallel_coordinate(study)
        plt.savefig(directory / "parallel_coordinate.png", dpi=120, bbox_inches="tight")
        if num_complete > 1:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            plots.plot_param_importances(study, evaluator=evaluator)
            plt.savefig(directory / "importance.png", dpi=120, bbox_inches="tight")
    plt.close("all")
