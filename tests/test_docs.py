"""Every code block of the README and of docs/ is run, or says why it is not.

The blocks of a page are run from top to bottom in a copy of the packages, as a reader would: Python
in one namespace, shell commands in bash. A paragraph that ends in "file `NAME`:" makes a file of
the next block; one that ends in "A line in `NAME` of `PATH`:" puts it into that table. The word
after the language says of a block when it is run: `slow` with the slow tests, `needs=PACKAGE` where
it is installed, `no-run` never, for the reason in the comment above it. What `text` holds is no
code.
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from launches import QUICK_FLAGS

ROOT = Path(__file__).parents[1]
LIMIT_SECONDS = 600
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]

QUICK = {
    "README.md": {"meta_iterations=10": "meta_iterations=1"},
    "docs/your_own_environment.md": {
        "meta_iterations=5": "meta_iterations=1",
        "warmup_iterations=4": "warmup_iterations=1, joint_iterations=1",
    },
    "docs/your_own_update_rule.md": {
        "meta_iterations=10": "meta_iterations=1",
        "MLSHConfig(": "MLSHConfig(warmup_iterations=1, joint_iterations=1,",
    },
}
"""What quick tests make smaller; slow ones run these pages as they are."""

FILE = re.compile(r"[Ff]ile `([^`]+)`:$")
LINE = re.compile(r"A line in `(\w+)` of `([^`]+)`:$")
ADAPTED = re.compile(r"fresh masters: \S+ -> (\S+)")
"""What the program of the README prints at its end."""
REASON = re.compile(r"<!-- no-run: .{10,} -->$")

RUNNER = """
import json, pathlib, subprocess, sys
sys.path.insert(0, "")
namespace = {"__name__": "page"}
for kind, target, name, code in json.load(open(sys.argv[1])):
    print(f"== {name}: {kind} {target}", flush=True)
    if kind == "python":
        exec(compile(code, name, "exec"), namespace)
    elif kind == "sh":
        subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True)
    elif kind == "file":
        pathlib.Path(target).write_text(code)
    elif kind == "line":
        table, path = target.split()
        text = pathlib.Path(path).read_text()
        head, begin, rest = text.partition(next(
            line for line in text.splitlines(True) if line.startswith(table) and "{" in line
        ))
        begin, brace, inside = begin.partition("{")
        pathlib.Path(path).write_text(head + begin + brace + "\\n" + code + inside + rest)
"""


@dataclasses.dataclass(frozen=True)
class Block:
    """A code block: its language, the word after it, its text, and the paragraph above it."""

    page: str
    line: int
    language: str
    word: str
    text: str
    above: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    def step(self) -> tuple[str, str, str, str]:
        """What the runner does: kind, target, name, code."""
        if line := LINE.search(self.above):
            return "line", " ".join(line.groups()), self.name, self.text
        if file := FILE.search(self.above):
            return "file", file.group(1), self.name, self.text
        return self.language, "", self.name, self.text


def blocks_of(page: str) -> list[Block]:
    """The code blocks of a page, in order."""
    blocks: list[Block] = []
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    start, paragraph = None, ""
    for number, line in enumerate(lines):
        if line.startswith("```") and start is None:
            start = number
        elif line.startswith("```"):
            language, _, word = lines[start][3:].partition(" ")
            text = "\n".join(lines[start + 1 : number]) + "\n"
            blocks.append(Block(page, start + 1, language, word, text, paragraph.strip()))
            start, paragraph = None, ""
        elif start is None:
            is_new = line and (not lines[number - 1].strip() or lines[number - 1][:3] == "```")
            paragraph = (line if is_new else f"{paragraph} {line}") if line else paragraph
    assert start is None, f"{page}: a code block does not end"
    return blocks


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def is_run(block: Block, slow: bool) -> bool:
    """Whether a block is run with the quick or the slow test of its page."""
    return block.language != "text" and block.word in (("", "slow") if slow else ("",))


def run_blocks(blocks: list[Block], directory: Path, *, slow: bool) -> str:
    """Runs blocks of one page in a copy of the packages; returns what they print."""
    for package in ("mlsh_jax", "envs", "experiments"):
        shutil.copytree(ROOT / package, directory / package)
    steps = [block.step() for block in blocks]
    for old, new in {} if slow else QUICK.get(blocks[0].page, {}).items():
        assert any(old in step[3] for step in steps), f"{blocks[0].page} has no {old} any more"
        steps = [(*step[:3], step[3].replace(old, new)) for step in steps]
    (directory / "steps.json").write_text(json.dumps(steps))
    # Without the devices of the other tests; what runs quickly is compiled quickly.
    is_small = not slow and blocks[0].page in QUICK
    flags = QUICK_FLAGS if is_small else ""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    try:
        result = subprocess.run(
            [sys.executable, "-c", RUNNER, "steps.json"],
            cwd=directory,
            env=os.environ | {"PATH": path, "XLA_FLAGS": flags, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            timeout=None if slow else LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        # jaxlib 0.10.0 to 0.10.2 stop for ever on a CPU with two cores inside a jitted scan as
        # large as a meta-iteration of default size, as that of the README is, with all threads
        # idle. Such a hang cannot be interrupted from within.
        pytest.fail(
            f"{blocks[0].page} did not end in {LIMIT_SECONDS} s with jaxlib {version('jaxlib')}: "
            "this release perhaps hangs, as 0.10.0 to 0.10.2 do"
        )
    assert result.returncode == 0, f"{result.stdout[-3000:]}\n{result.stderr[-4000:]}"
    return result.stdout


def pages(slow: bool) -> list[str]:
    """The pages that the quick or the slow test has something to run of."""
    if slow:  # what the quick test does not do already
        return [p for p in PAGES if p in QUICK or any(b.word == "slow" for b in blocks_of(p))]
    return [p for p in PAGES if any(is_run(block, slow=False) for block in blocks_of(p))]


@pytest.mark.whole
@pytest.mark.parametrize("page", pages(slow=False))
def test_a_page_does_what_it_says(page, tmp_path):
    blocks = [block for block in blocks_of(page) if is_run(block, slow=False)]
    printed = run_blocks(blocks, tmp_path, slow=False)
    assert page != "README.md" or ADAPTED.search(printed)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages(slow=True))
def test_a_page_does_all_that_it_says(page, tmp_path):
    blocks = [block for block in blocks_of(page) if is_run(block, slow=True)]
    printed = run_blocks(blocks, tmp_path, slow=True)
    if page == "README.md":
        adapted = ADAPTED.search(printed)
        # The best possible is 43.81; two equal sub-policies average 22.95.
        assert adapted is not None and float(adapted.group(1)) > 35


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.word.startswith("needs=")], ids=lambda block: block.name
)
def test_a_block_that_needs_a_package_works_where_it_is(block, tmp_path):
    pytest.importorskip(block.word.partition("=")[2])
    files = [b for b in blocks_of(block.page) if b.step()[0] == "file"]
    run_blocks([*files, block], tmp_path, slow=True)


def test_no_block_is_skipped_without_a_reason():
    assert BLOCKS
    for block in BLOCKS:
        assert block.language in ("python", "sh", "json", "text"), block.name
        known = ("", "slow", "no-run") if block.language == "sh" else ("",)
        is_needing = block.language == "python" and block.word.startswith("needs=")
        assert block.word in known or is_needing, f"{block.name}: {block.word}"
        if block.word == "no-run":
            assert REASON.search(block.above), f"{block.name}: no reason is given"
        if block.language == "json":
            json.loads(block.text)
            assert block.step()[0] == "file", f"{block.name}: not used"


def anchors_of(page: Path) -> set[str]:
    """What links can point to in a page: its headings as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_and_named_files_are_there():
    results = sorted(f"results/{path.name}" for path in (ROOT / "results").glob("*.md"))
    for page in [*PAGES, *results, "CONTRIBUTING.md"]:
        text = (ROOT / page).read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
            path = (ROOT / page).parent / target if target else ROOT / page
            assert path.exists(), f"{page}: {target}"
            assert not anchor or anchor in anchors_of(path), f"{page}: {target}#{anchor}"
        for name in re.findall(
            r"`((?:mlsh_jax|envs|experiments|tests|results|benchmarks)/[\w/.]+)`", text
        ):
            made = any(name in b.step()[1] for b in blocks_of(page))
            assert made or (ROOT / name).exists(), f"{page}: {name}"
