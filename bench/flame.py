"""Flame graphs of a worker under load, by py-spy: case A (one row of iris, 16 connections) and B (1,000 rows x 30 of JSON, 4).

Run: python -m bench.flame [--seconds 10]
Writes results/flame_a.svg and flame_b.svg, and prints where the time goes, by part. A bar is a function, as wide as its share of the
samples, below what called it; its title has the share. Python's own functions are seen: what C does counts for its caller.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from zlib import crc32

from bench import wrk
from bench.cases import CASES, instances
from bench.contest import cpu_seconds, descendants, ours, started

RESULTS = Path(__file__).parent / "results"
SHOWN = {"a": ("A", 16), "b": ("B", 4)}  # graph: case, connections
_WIDTH, _BAR, _LEAST = 1200, 17, 0.003  # pixels, pixels, and the share below which a bar is left out
_WAITING = ("_worker (thread.py)", "Thread.run (threading.py)")  # threads that have nothing to do, which py-spy takes for busy
_PARTS = (  # the first whose pattern the innermost frame of ours, or of the model's, has
    ("the model's predict", r"\((pipeline|_base|_predict|_classification|validation|estimator|(gradient_)?boosting|leaf_masks)\.py\)"),
    ("batching", r"\((batcher|registry)\.py\)"),
    ("reading and checking rows", r"\((v1|json|json_matrix|table|check)\.py\)"),
    ("HTTP", r"\((http_\w+|httptools_impl|flow_control|app|(direct_)?exchange|admission|body|selector_events)\.py\)"),
    ("metrics", r"\((metrics|values|mmap_dict)\.py\)"),
)


@dataclass
class Frame:
    """A function at one place of the graph: its samples, and what it called."""

    samples: int = 0
    called: dict[str, Frame] = field(default_factory=dict)

    def add(self, stack: list[str], samples: int) -> None:
        self.samples += samples
        if stack:
            self.called.setdefault(stack[0], Frame()).add(stack[1:], samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    os.sched_setaffinity(0, {1})
    for name, (case, connections) in SHOWN.items():
        stacks, microseconds = sampled(case, connections, options.seconds)
        root = Frame()
        for stack, samples in stacks.items():
            root.add(stack.split(";"), samples)
        title = f"Case {case}: {CASES[case].title}, {connections} connections; {root.samples} samples"
        (RESULTS / f"flame_{name}.svg").write_text(drawn(root, title))
        print(f"{title}; {microseconds:.0f} us of CPU a request")
        for part, samples in parts(stacks).most_common():
            share = samples / root.samples
            print(f"  {share:6.1%}  {share * microseconds:7.1f} us  {part}")


def sampled(name: str, connections: int, seconds: int) -> tuple[Counter[str], float]:
    """Stacks of the worker, outermost first, `;` between them, with their samples; names of files without their folders.

    And the CPU that a request takes without py-spy, in microseconds.
    """
    case = CASES[name]
    command, url, management = ours(str(case.path))
    with started("flame", command, url, f"{management}/readyz") as server, tempfile.TemporaryDirectory() as folder:
        question, out = instances(case, f"/v1/models/{case.path.stem}:predict"), Path(folder) / "stacks"
        wrk.load(server.url, question, connections, 2)
        worker, before = descendants(server.pid)[-1], cpu_seconds(server.pid)
        quiet = wrk.load(server.url, question, connections, 4)
        microseconds = 1e6 * (cpu_seconds(server.pid) - before) / quiet.requests
        spy = ["py-spy", "record", "--pid", str(worker), "--duration", str(seconds), "--rate", "400", "--function", "--format", "raw"]
        with subprocess.Popen([*spy, "--output", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as recording:
            wrk.load(server.url, question, connections, seconds + 2)
            if recording.wait(30):
                raise SystemExit("py-spy could not record: it needs the right to trace processes (root, or CAP_SYS_PTRACE)")
        found: Counter[str] = Counter()
        for line in out.read_text().splitlines():
            stack, _, samples = line.rpartition(" ")
            stack = re.sub(r"\((?:[^()]*/)?([^()/:]+)(?::\d+)?\)", r"(\1)", stack)
            if not stack.endswith(_WAITING):
                found[_from_the_loop(stack)] += int(samples)
        return found, microseconds


def _from_the_loop(stack: str) -> str:
    """Without how the process came to run its event loop."""
    return stack[max(0, stack.find("BaseEventLoop._run_once")) :]


def parts(stacks: Counter[str]) -> Counter[str]:
    """Samples by part of a request."""
    found: Counter[str] = Counter()
    for stack, samples in stacks.items():
        found[_part(stack.split(";"))] += samples
    return found


def _part(stack: list[str]) -> str:
    if any(re.search(_PARTS[0][1], frame) for frame in stack):
        return _PARTS[0][0]
    for frame in reversed(stack):
        for part, pattern in _PARTS:
            if re.search(pattern, frame):
                return part
    return "the event loop"


def drawn(root: Frame, title: str) -> str:
    bars: list[str] = []
    depth = _draw(root, bars, 0.0, 0, root.samples)
    height = (depth + 2) * _BAR
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="monospace" font-size="11">'
    style = '<rect width="100%" height="100%" fill="#ffffff"/>'
    text = f'<text x="4" y="13" font-size="13">{escape(title)}</text>'
    return "\n".join([head, style, text, *bars, "</svg>", ""])


def _draw(frame: Frame, bars: list[str], left: float, depth: int, total: int) -> int:
    """The calls of a frame, from left to right by name; gives the depth of the deepest."""
    deepest = depth
    for name, called in sorted(frame.called.items()):
        share = called.samples / total
        width = share * _WIDTH
        if share >= _LEAST:
            y = (depth + 1) * _BAR
            colour = f"hsl({20 + crc32(name.encode()) % 40},80%,{65 + crc32(name.encode()) % 12}%)"
            label = name if len(name) * 6.7 < width else name[: max(0, int(width / 6.7) - 1)]
            bars.append(
                f'<g><title>{escape(name)}: {share:.1%}</title><rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{_BAR - 1}" '
                f'fill="{colour}"/><text x="{left + 2:.1f}" y="{y + 12}">{escape(label)}</text></g>'
            )
            deepest = max(deepest, _draw(called, bars, left, depth + 1, total))
        left += width
    return deepest


if __name__ == "__main__":
    main()
