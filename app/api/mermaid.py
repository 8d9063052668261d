"""A plan as a Mermaid flowchart."""

from typing import Any


def flowchart(plan: dict[str, Any]) -> str:
    """Draw an answer of `/plan/`: nodes with their engines, tasks as rounded boxes, refusals dashed.

    Args:
        plan: as `PlanResponse` describes it.
    """
    names = {"image": "image"} | {node["id"]: f"n{number}" for number, node in enumerate(plan["nodes"])}
    lines = ["flowchart LR", '    image(["image"])']
    for node in plan["nodes"]:
        told = [node["operation"]]
        told += [f"{name}: {_shown(value)}" for name, value in node["params"].items() if value]
        if node["engine"]:
            told.append(f"{node['engine']} ({node['state']})")
        if node["cached"]:
            told.append("cached")
        lines.append(f'    {names[node["id"]]}["{"<br/>".join(map(_escaped, told))}"]')
    for node in plan["nodes"]:
        lines += [
            f"    {names[source]} --> {names[node['id']]}" for source in dict.fromkeys(node["needs"].values())
        ]
    for number, task in enumerate(plan["tasks"]):
        lines.append(f'    t{number}(["{_escaped(task["operation_id"])}"])')
        if task["node"] is not None:
            lines.append(f"    {names[task['node']]} ==> t{number}")
        else:
            lines.append(f'    t{number} -.- x{number}[/"{_escaped(task["error_code"])}"/]')
        if task["crop"] is not None:
            lines.append(f"    {names[task['crop']]} -. crop .-> t{number}")
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _escaped(text: str) -> str:
    """Mermaid reads entities by number; a client's name must not become a part of the drawing."""
    return "".join(
        char if char.isalnum() or (char in " _-.:,()#" and char != "#") else f"#{ord(char)};" for char in text
    )
