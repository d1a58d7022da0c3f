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
    table = separation.read(RESULTS / "separation_one_by_one.json")
    page = (RESULTS / "separation.md").read_text()
    marks = ("<!-- tasks one by one -->\n", "\n<!-- end of tasks one by one -->")
    there = page.partition(marks[0])[2].partition(marks[1])[0]
    assert f"{there}\n" == separation.tables(table).rpartition("\n\n")[2]
    separate = separate_seeds(table)
    good, few = separate["default"], separate["U 1"]
    page, docs = words(RESULTS / "separation.md"), words(ROOT / "docs" / "choosing_k_n_w_u.md")
    assert sorted(few.values()) == [0] * 3 + [3, 4] + [5] * 7
    assert f"the star of two on {few['star2']} and three points on {few['points3']}, and" in page
    assert few["points4"] == few["star4"] == few["star6"] == 0
    none = separate["none of these seven"]
    assert {name for name in none if not none[name]} == {"pay10", "points4", "star4", "star6"}
    total = f"{sum(none.values())} of {5 * len(none)} seeds"
    assert f"elsewhere: {total} in all" in page and total in docs
    without_warmup = separate["W 0"]
    assert sorted(without_warmup.values()) == [4] * 2 + [5] * 10
    assert without_warmup["points4"] == without_warmup["ring"] == 4
    neither = separate["W 0, U 1"]
    assert len(neither) == 12 and sum(not count for count in neither.values()) == 7
    assert sorted(neither.values())[-2:] == [3, 5] and neither["relay"] == 5
    updates = separate[suite.AS_MANY_UPDATES]
    assert updates == {"star4": 0, "star6": 0, "points4": 5, "points3": 5}
    staggered = separate[suite.STAGGERED]
    hard = ("points4", "star6", "star4", "points3", "ring")
    assert [staggered[name] for name in hard] == [0, 1, 2, 4, 4]
    at_random = separate["tasks drawn at random"]
    assert [at_random[name] for name in hard] == [5, 2, 5, 5, 5]
    assert list(separate["G 10"].values()) == [5] * len(none)
    assert sorted(staggered.values())[5:] == [5] * 7
    at_once = {"corridor": 2, "pay3": 3, "pay10": 4, "star4": 0, "relay": 0}
    fine = dict.fromkeys(("k8", "points2", "points3", "star2"), 5)
    assert separate["N 1"] == at_once | fine
    missed = {
        name: {case: count for case, count in separate[name].items() if case in good and count < 5}
        for name, *_ in suite.INGREDIENTS
    }
    assert missed == {
        "credit of a slice alone": {"ring": 4, "rooms": 0},
        "critics that do not know the task": {},
        "tasks by their pay": {"star4": 4, "star6": 3},
        "usage not balanced": {"points4": 4, "star6": 2, "ring": 4},
        "masters see standardized observations": {"points4": 0, "star6": 4, "ring": 4},
        "no bonus on masters' entropy": {},
        "no sub-policy begins anew": {"star4": 4},
    }
    assert all(set(separate[name]) >= set(none) for name in missed)
    for _, alone, *_ in suite.INGREDIENTS:
        counts = [separate[alone][name] for name in ("pay10", "points4", "star4", "star6")]
        cells = [f"{count} of 5" if count > 3 else str(count) for count in counts]
        label = alone.removeprefix("only ")
        assert f"| {label} | {' | '.join(cells)} | {sum(counts)} |" in page
        assert list(separate[alone]) == ["pay10", "points4", "star4", "star6"]
