"""The plan: the nodes that a request's tasks resolve to, each once."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.core.errors import Fault
from app.core.operation import EngineSpec, Operation, Params

IMAGE_NODE = "image"


@dataclass(frozen=True, slots=True)
class Node:
    """An operation with its params, engine and inputs; equal ones of several tasks are one node.

    `work` is the key of the computation without its inputs: items of equal work may share a batch.
    `inputs` maps the names of the operation's needs to node ids. `height` is the length of the longest
    chain of nodes that wait for this one: higher nodes are started first.
    """

    id: str
    work: str
    operation: Operation
    params: Params
    engine: EngineSpec | None
    inputs: Mapping[str, str]
    height: int


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A client's task: the nodes that answer it, or the fault for which it was refused."""

    operation_id: str
    type: str
    operation: Operation | None = None
    params: Params | None = None
    node: str | None = None
    crop: str | None = None
    fault: Fault | None = None

    @property
    def is_plural(self) -> bool:
        return self.params is not None and self.params.is_plural


@dataclass(frozen=True, slots=True)
class Plan:
    """`nodes` are in an order in which every node follows its inputs, the image left out."""

    nodes: Mapping[str, Node]
    tasks: tuple[PlannedTask, ...]

    def upstream(self, node_id: str) -> set[str]:
        """The ids of the nodes that this one waits for, itself and the image included."""
        reached = {node_id}
        waiting = [node_id]
        while waiting:
            node = self.nodes.get(waiting.pop())
            for source in node.inputs.values() if node else ():
                if source not in reached:
                    reached.add(source)
                    waiting.append(source)
        return reached

    def maker(self, task: PlannedTask) -> Node | None:
        """The node that made a task's data; None for a refused task.

        It is the task's own, but for an operation that only passes on what a stage before it found: then it
        is the last node with an engine behind that need.
        """
        if task.node is None:
            return None
        own = self.nodes[task.node]
        if own.operation.model_of is None:
            return own
        behind = self.upstream(own.inputs[own.operation.model_of])
        with_engine = [node for node in self.nodes.values() if node.id in behind and node.engine]
        return with_engine[-1] if with_engine else own

    def users(self) -> dict[str, list[str]]:
        """For every node, the ids of the tasks that share it, in the order of the request."""
        users: dict[str, list[str]] = {node_id: [] for node_id in self.nodes}
        for task in self.tasks:
            wanted = [node_id for node_id in (task.node, task.crop) if node_id is not None]
            reached = set().union(*(self.upstream(node_id) for node_id in wanted))
            for node_id in reached & users.keys():
                users[node_id].append(task.operation_id)
        return users
