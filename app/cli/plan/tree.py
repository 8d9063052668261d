"""A plan as a tree: every stage below the last of those that it needs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text
from rich.tree import Tree

from app.cli.analyze.rendering import inline
from app.cli.printing import printable, table_console
from app.core.wording import shortened

_IMAGE = "image"
_SHOWN = 60


def print_plan(plan: Mapping[str, Any]) -> None:
    """Print an answer of `/plan/`: its stages, the tasks that cannot run, and what all cost."""
    console = table_console()
    if plan["nodes"]:
        console.print(tree_of(plan))
    for task in plan["tasks"]:
        if task["node"] is None:
            told = f"{task['operation_id']}  {task['error_code']}: {task['error_message']}"
            console.print(Text(printable(told), "yellow"))
    console.print(Text(printable(" ".join(_totals(plan))), "dim"))


def tree_of(plan: Mapping[str, Any]) -> Tree:
    names = {node["id"]: node["operation"] for node in plan["nodes"]}
    tree = Tree(Text(_IMAGE, "bold"))
    branches, depths = {_IMAGE: tree}, {_IMAGE: 0}
    for node in plan["nodes"]:
        needs = list(dict.fromkeys(node["needs"].values())) or [_IMAGE]
        parent = max(needs, key=lambda need: depths[need])
        beside = [names[need] for need in needs if need not in (parent, _IMAGE)]
        branches[node["id"]] = branches[parent].add(_label(node, beside, plan["tasks"]))
        depths[node["id"]] = depths[parent] + 1
    return tree


def _label(node: Mapping[str, Any], beside: Sequence[str], tasks: Sequence[Mapping[str, Any]]) -> Text:
    label = Text(printable(node["operation"]), "bold")
    for words, style in _facts(node, beside):
        label.append(f"  {printable(words)}", style)
    results = [task["operation_id"] for task in tasks if task["node"] == node["id"]]
    crops = [task["operation_id"] for task in tasks if task["crop"] == node["id"]]
    if results:
        label.append(f"  => {printable(', '.join(results))}", "green")
    if crops:
        label.append(f"  => the crop of {printable(', '.join(crops))}", "green")
    return label


def _facts(node: Mapping[str, Any], beside: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name, value in {**node["params"], **node["given"]}.items():
        if value not in (None, "", [], {}):
            yield f"{name} {shortened(inline(value), _SHOWN)}", ""
    if beside:
        yield f"with {', '.join(beside)}", ""
    if node["engine"]:
        yield f"{node['engine']} ({node['state']})", "cyan" if node["state"] == "ready" else "yellow"
    if node["cached"]:
        yield "cached", "cyan"
    if node["estimate_ms"] is not None and not node["cached"]:
        yield f"{node['estimate_ms']:.3g} ms", "dim"
    if len(node["tasks"]) > 1:
        yield f"shared by {', '.join(node['tasks'])}", "magenta"


def _totals(plan: Mapping[str, Any]) -> Iterator[str]:
    stages = len(plan["nodes"])
    alone = sum(len(node["tasks"]) for node in plan["nodes"])
    saved = f", in place of {alone}" if alone > stages else ""
    tasks = len(plan["tasks"])
    yield f"{stages} stage{'s' * (stages != 1)} for {tasks} task{'s' * (tasks != 1)}{saved}."
    if plan["cold_models"]:
        yield f"Loaded first: {', '.join(plan['cold_models'])}."
    if plan["estimate_ms"] is not None and stages:
        yield f"About {plan['estimate_ms']:.0f} ms."
