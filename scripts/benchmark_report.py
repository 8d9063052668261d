"""A benchmark of serving as tables."""

from typing import Any

from benchmark_figures import OURS
from rich.console import Console
from rich.table import Table


def print_scenario(console: Console, name: str, found: dict[str, Any]) -> None:
    console.rule(f"{name}: {found['about']}")
    if "memory" in found:
        print_memory(console, found)
        return
    table = Table(
        "server", "at once", "requests", "images/s", "p50 ms", "p95 ms", "p99 ms", "light p99 ms", "CPU s"
    )
    table.add_column("client CPU s")
    table.add_column("failed")
    levels = list(found["servers"][OURS]["load"])
    for level in levels:
        for server, figures in found["servers"].items():
            load = figures["load"][level]
            table.add_row(
                server,
                level,
                str(load["count"]),
                _number(load["throughput"], 2),
                *(_number(load[f"p{percent}_ms"]) for percent in (50, 95, 99)),
                _number(load["light"]["p99_ms"]),
                _number(load["cpu_seconds"], 1),
                _number(load["client_cpu_seconds"], 1),
                f"{load['failed']} {load['problem'][:40]}" if load["failed"] else "0",
            )
    console.print(table)
    if "bound" in found:
        one, several = (found["bound"][kind]["p50_ms"] for kind in ("one_thread", "all_threads"))
        console.print(f"bare models, p50: {_number(one)} ms on one thread, {_number(several)} ms on all")
    for server, figures in found["servers"].items():
        if figures.get("peak_memory_bytes"):
            console.print(f"{server}: at most {figures['peak_memory_bytes'] / 1e6:,.0f} MB resident")
        if figures.get("probe"):
            p50, p99 = (_number(figures["probe"][f"p{percent}_ms"], 1) for percent in (50, 99))
            console.print(f"{server}, asked by a bare client, one after another: p50 {p50} ms, p99 {p99} ms")
        if figures.get("overload"):
            over = figures["overload"]
            console.print(
                f"{server} at 4 times its peak throughput ({over['offered_per_second']:.1f}/s, deadline "
                f"{over['deadline_seconds']:.1f} s): of {over['arrived']} in time {over['in_time']}, refused "
                f"{over['refused']}, failed {over['failed']}; goodput {_number(over['goodput_share'], 2)} of "
                f"the peak; light p99 {_number(over['light']['p99_ms'])} ms"
            )
    alike = found["agreement"]
    console.print(
        f"ours and plain on {alike['images']} images: {'alike' if alike['holds'] else 'DIFFERENT'}; least "
        f"cosine {alike['least_cosine']:.6f}, boxes within {alike['most_pixels']} px, "
        f"{alike['other_texts']} other texts, {alike['only_one_found']} found by one only"
    )


def print_memory(console: Console, found: dict[str, Any]) -> None:
    memory = found["memory"]
    warm, end = (_number(memory[key] and memory[key] / 1e6) for key in ("warm_bytes", "end_bytes"))
    console.print(
        f"{memory['requests']:,} requests, {found['per_second']:,.0f}/s; resident after "
        f"{memory['warm_up']:,}: {warm} MB, at the end {end} MB: "
        f"{_number(memory['growth_percent'], 1)} %"
    )
    for kind, statuses in found["statuses"].items():
        console.print(
            f"  {kind}: {', '.join(f'{status} {times:,} times' for status, times in statuses.items())}"
        )


def print_ratios(console: Console, ratios: dict[str, Any]) -> None:
    console.rule("ratios")
    table = Table("ratio", "of", "value")
    for name, value in ratios.items():
        for scenario, each in value.items() if isinstance(value, dict) else [("", value)]:
            shown = (
                ", ".join(f"{number} at {level}" for level, number in each.items())
                if isinstance(each, dict)
                else str(each)
            )
            table.add_row(name, scenario, shown)
    console.print(table)


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
