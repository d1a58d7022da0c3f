"""What the pages say of the suite for separation is what its numbers say."""

from kept import RESULTS, ROOT, words

from experiments import separation
from experiments.harness import suite


def separate_seeds(table: separation.Table) -> dict[str, dict[str, int]]:
    """How many seeds separate, by variant and case."""
    return {
        variant: {
            name: int(separation.separated(trained.seeds).partition(" of ")[0])
            for name, trained in cases.items()
        }
        for variant, cases in table.items()
    }


def test_what_is_said_of_the_suite_is_so():
    good = separate_seeds(separation.read(RESULTS / "separation.json"))["default"]
    of_cases = [good[name] for name in suite.CASES]
    readme = words(ROOT / "README.md")
    assert f"on {sum(of_cases)} of {10 * len(of_cases)} seeds" in readme
    assert f"at least {min(of_cases)} of 10 on each" in readme
    words_of_new = "steps that cost the distance on 10 of 10, patterns of switches on 9 and"
    assert words_of_new in readme and "wanted goals where moves cost on 8;" in readme
    assert "a race on 10, wheels on 9, codes and ridges on 8 and four rooms on 0" in readme
    assert {name: good[name] for name in suite.HELD_OUT} == {
        "rooms": 0,
        "codes": 8,
        "wheel": 9,
        "race": 10,
        "ridges": 8,
        "effort": 10,
        "effort_crowd": 8,
        "near": 10,
        "patterns": 9,
    }


def test_what_is_said_of_ingredients_is_so():
    separate = separate_seeds(separation.read(RESULTS / "separation.json"))
    good, few = separate["default"], separate["U 1"]
    page, docs = words(RESULTS / "separation.md"), words(ROOT / "docs" / "choosing_k_n_w_u.md")
    none = separate["none of these seven"]
    lost = {"pay10", "points4", "star6", "crowd", "minority"}
    assert {name for name in none if not none[name]} == lost and none["star4"] == 1
    all_of_them = sum(good[name] for name in none)
    with_and_without = f"{sum(none.values())} of {5 * len(none)} seeds"
    assert f"elsewhere: {with_and_without} in all, and {all_of_them} of {10 * len(none)}" in page
    assert with_and_without in docs and f"{all_of_them} of {10 * len(none)} with them" in docs
    assert list(separate["W 0"].values()) == [5] * 14
    neither = separate["W 0, U 1"]
    assert len(neither) == 12 and sum(neither.values()) == 9
    assert (neither["relay"], neither["k8"], neither["points3"]) == (5, 3, 1)
    all_separate = dict.fromkeys(("corridor", "pay10", "minority", "relay"), 5)
    nobody = dict.fromkeys(("points4", "star2", "star4", "star6", "crowd"), 0)
    assert few == all_separate | nobody | {"points3": 4}
    updates = separate[suite.AS_MANY_UPDATES]
    assert updates == {"star4": 0, "star6": 0, "points4": 5, "points3": 5}
    others = {"star2": 5, "star4": 5, "points3": 1, "star6": 1, "points4": 0, "crowd": 0}
    assert separate[suite.STAGGERED] == all_separate | others
    at_random = {"points3": 5, "points4": 5, "star4": 5, "star6": 5, "ring": 4}
    assert separate["tasks drawn at random"] == at_random
    assert list(separate["G 10"].values()) == [5] * 8
    assert separate["N 1"] == {
        "corridor": 3, "pay3": 3, "pay10": 3, "k8": 5, "points2": 5, "points3": 4, "star2": 5,
        "relay": 0, "minority": 2,
    }  # fmt: skip
    missed = {
        name: {case: count for case, count in separate[name].items() if count < 5}
        for name, *_ in suite.INGREDIENTS
    }
    assert missed == {
        "credit of a slice alone": {"ring": 4, "chain2": 0, "chain3": 0, "crowd": 4},
        "critics that do not know the task": {"ring": 4},
        "tasks by their pay": {"star6": 3, "crowd": 4},
        "usage not balanced": {"points4": 4, "star6": 2, "ring": 4},
        "masters see standardized observations": {
            "points3": 4, "points4": 0, "star4": 4, "star6": 3, "ring": 3, "crowd": 4,
        },
        "no bonus on masters' entropy": {},
        "no sub-policy begins anew": {"star4": 4, "crowd": 0, "minority": 0},
    }  # fmt: skip
    assert all(set(separate[name]) >= set(none) for name in missed)
    without = separate["no bonus on masters' entropy"]
    beside = {name: without[name] for name in without if name in suite.HELD_OUT}
    assert beside == {"codes": 9, "wheel": 10, "ridges": 9, "effort_crowd": 8, "patterns": 8}
    assert (without["star4"], without["ring"]) == (10, 10)
    assert len(without) - len(beside) == 15 and "all fifteen cases separate on every seed" in page
    for _, alone, *_ in suite.INGREDIENTS:
        counts = [separate[alone][name] for name in ("pay10", "points4", "star4", "star6")]
        cells = [f"{count} of 5" if count > 3 else str(count) for count in counts]
        label = alone.removeprefix("only ")
        assert f"| {label} | {' | '.join(cells)} | {sum(counts)} |" in page
        assert list(separate[alone]) == ["pay10", "points4", "star4", "star6"]
