"""The plan: the nodes that a request's tasks resolve to, each once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from app.core.errors import Fault
from app.core.operation import Chosen, Operation, Params
from app.core.resource import Resource

IMAGE_NODE = "image"


@dataclass(frozen=True, slots=True)
class Node:
    """An operation with its params, engine and inputs; equal ones of several tasks are one node.

    `work` is the key of the computation without its inputs: items of equal work may share a batch.
    `inputs` maps the names of the operation's needs to node ids, and `given` those that are the client's own
    values to these. The needs in `gathered` bring all their items to every item of this node. `height` is
    the length of the longest chain of nodes that wait for this one: higher nodes are started first.
    `resource` is what the operation uses of the server's own.
    """

    id: str
    work: str
    operation: Operation
    params: Params
    engine: Chosen | None
    inputs: Mapping[str, str]
    height: int
    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gathered: frozenset[str] = frozenset()
    resource: Resource | None = None


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A client's task: the nodes that answer it, or the fault for which it was refused.

    `warnings` are what the client should know of how it was planned.
    """

    operation_id: str
    type: str
    operation: Operation | None = None
    params: Params | None = None
    node: str | None = None
    crop: str | None = None
    fault: Fault | None = None
    warnings: tuple[str, ...] = ()

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
        edges = {node.id: set(node.inputs.values()) for node in self.nodes.values()}
        return _reachable([node_id], edges)

    def maker(self, task: PlannedTask) -> Node | None:
        """The node that made a task's data; None for a refused task."""
        return None if task.node is None else self.maker_of(task.node)

    def maker_of(self, node_id: str) -> Node:
        """The node that made another one's data.

        It is the node itself, but for an operation that only passes on what a stage before it found: then it
        is the last node with an engine behind that need.
        """
        own = self.nodes[node_id]
        if own.operation.model_of is None:
            return own
        behind = self.upstream(own.inputs[own.operation.model_of])
        with_engine = [node for node in self.nodes.values() if node.id in behind and node.engine]
        return with_engine[-1] if with_engine else own

    def space(self, node_id: str, made_by: Chosen | None = None) -> str | None:
        """The space of the vectors that a node gives; None where it gives none.

        Args:
            node_id: of a node of this plan.
            made_by: the engine that really made them, where that is known; else the planned one counts.
        """
        node, maker = self.nodes[node_id], self.maker_of(node_id)
        if not node.operation.gives_vectors:
            return None
        return node.operation.space(node.params, maker.operation.version, made_by or maker.engine)

    def held_for_batches(self) -> dict[str, frozenset[str]]:
        """For nodes whose items can share a batch: the nodes to wait for until all of them can start.

        Nodes of equal work start together when the inputs of all are there, so that a request sends its items
        in one batch and not in several. Where that would make a node wait for itself, it starts on its own.
        """
        waits_for = {node.id: set(node.inputs.values()) for node in self.nodes.values()}
        peers: dict[str, list[Node]] = {}
        for node in self.nodes.values():
            if node.engine is not None and node.engine.spec.batch > 1:
                peers.setdefault(node.work, []).append(node)
        held: dict[str, frozenset[str]] = {}
        for group in peers.values():
            ids = {node.id for node in group}
            before = frozenset(
                source for node in group for source in node.inputs.values() if source in waits_for
            )
            if len(group) > 1 and before and not ids & _reachable(before, waits_for):
                for node_id in ids:
                    held[node_id] = before
                    waits_for[node_id] |= before
        return held

    def users(self) -> dict[str, list[str]]:
        """For every node, the ids of the tasks that share it, in the order of the request."""
        users: dict[str, list[str]] = {node_id: [] for node_id in self.nodes}
        for task in self.tasks:
            wanted = [node_id for node_id in (task.node, task.crop) if node_id is not None]
            reached = set().union(*(self.upstream(node_id) for node_id in wanted))
            for node_id in reached & users.keys():
                users[node_id].append(task.operation_id)
        return users


def _reachable(starts: Iterable[str], edges: Mapping[str, set[str]]) -> set[str]:
    reached = set(starts)
    waiting = list(reached)
    while waiting:
        new = edges.get(waiting.pop(), set()) - reached
        reached |= new
        waiting.extend(new)
    return reached
