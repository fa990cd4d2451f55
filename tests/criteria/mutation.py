"""Mutation testing of the criteria: each small change to a decision must make a test fail.

    python -m tests.criteria.mutation [--modules recist best ...] [--every N]

Changed are comparisons, `and` and `or`, `not`, arithmetic, numbers, truths and
response codes; texts are left alone. Each mutant runs in a process of its own,
which the clock ends if the mutant does not; the fast tests stop at the first failure.
"""

from __future__ import annotations

import argparse
import ast
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib.abc import Loader, MetaPathFinder
from importlib.util import spec_from_loader
from pathlib import Path

import hypothesis  # noqa: F401 - imported once, here, not anew by each mutant
import pytest

import imaging_pipeline.config
import imaging_pipeline.domain.case  # noqa: F401

PACKAGE = Path(__file__).parents[2] / "imaging_pipeline" / "criteria"
TESTS = (
    "test_vectors",
    "test_documents",
    "test_table",
    "test_assessment",
    "test_roles",
    "test_reconcile",
    "test_readings",
    "test_reference_case",
    "test_second_opinion",
)
LIMIT_SECONDS = 60
UNCHANGED = -1
CODES = {"CR", "PR", "SD", "PD", "NE", "NED", "NON-CR/NON-PD", "UPD"}
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}


class Mutator(ast.NodeTransformer):
    """Changes the one decision of the given number, and counts them all."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.count = 0
        self.changed = ""

    def _is_the_one(self, node: ast.AST, change: str) -> bool:
        self.count += 1
        if self.count - 1 != self.wanted:
            return False
        self.changed = f"line {node.lineno}: {change}"
        return True

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [self.visit(statement) for statement in node.body]  # what decorates it is no decision
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        return node if node.arg == "strict" else self.generic_visit(node)  # a check of our own, no decision

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        for place, operator in enumerate(node.ops):
            other = COMPARISONS[type(operator)]
            if self._is_the_one(node, f"{type(operator).__name__} to {other.__name__}"):
                node.ops[place] = other()
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        if self._is_the_one(node, f"{type(node.op).__name__} to its opposite"):
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, (ast.Not, ast.USub)) and self._is_the_one(node, "without its sign"):
            return ast.copy_location(node.operand, node)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        other = ARITHMETIC.get(type(node.op))
        texts = (isinstance(side, (ast.JoinedStr, ast.Constant)) for side in (node.left, node.right))
        if other and not any(texts) and self._is_the_one(node, f"{type(node.op).__name__} to {other.__name__}"):
            node.op = other()
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        value, other = node.value, None
        if isinstance(value, bool):
            other = not value
        elif isinstance(value, int):
            other = value + 1
        elif isinstance(value, str) and (value in CODES or value.replace(".", "", 1).isdigit()):
            other = "XX" if value in CODES else f"{float(value) + 0.0001:.4f}"
        if other is not None and self._is_the_one(node, f"{value!r} to {other!r}"):
            return ast.copy_location(ast.Constant(other), node)
        return node


def mutated(module: str, number: int) -> tuple[ast.Module, Mutator]:
    """A module with its decision of that number changed."""
    mutator = Mutator(number)
    tree = mutator.visit(ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8")))
    return ast.fix_missing_locations(tree), mutator


class MutantFinder(MetaPathFinder, Loader):
    """Gives the changed module in place of the real one."""

    def __init__(self, module: str, number: int) -> None:
        self._module, self._number = module, number

    def find_spec(self, fullname, path=None, target=None):
        name = f"imaging_pipeline.criteria.{self._module}"
        return (
            spec_from_loader(fullname, self, origin=str(PACKAGE / f"{self._module}.py")) if fullname == name else None
        )

    def exec_module(self, module):
        exec(
            compile(mutated(self._module, self._number)[0], f"{self._module}.py", "exec"), module.__dict__
        )  # the mutant


def survives(module: str, number: int) -> bool:
    """Whether all tests pass in spite of the change; one that never ends is found too."""
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_SECONDS)
        os._exit(run_mutant(module, number))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def run_mutant(module: str, number: int) -> int:
    """Run the fast tests against one mutant, unheard."""
    sys.meta_path.insert(0, MutantFinder(module, number))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    files = [str(Path(__file__).parent / f"{name}.py") for name in TESTS]
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        return int(pytest.main([*files, "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider"]))


def campaign(modules: list[str], every: int) -> Iterator[tuple[str, int, list[str]]]:
    """For each module how many mutants were tried, and those that survived."""
    for module in modules:
        numbers = range(0, mutated(module, UNCHANGED)[1].count, every)
        survivors = [mutated(module, number)[1].changed for number in numbers if survives(module, number)]
        yield module, len(numbers), survivors


def main() -> int:
    """Print each module's score and its survivors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", nargs="*", default=sorted(path.stem for path in PACKAGE.glob("[a-z]*.py")))
    parser.add_argument("--every", type=int, default=1, help="Try one mutant in so many.")
    given = parser.parse_args()
    if not survives(given.modules[0], UNCHANGED):
        sys.exit("the tests fail without any change")
    tried = survived = 0
    for module, count, survivors in campaign(given.modules, given.every):
        tried, survived = tried + count, survived + len(survivors)
        print(f"{module}: {count - len(survivors)} of {count} found", *survivors, sep="\n    ", flush=True)
    print(f"score {100 * (tried - survived) / max(tried, 1):.1f} % of {tried}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
