"""Trains every example, each beside its script: `python examples/train_all.py [NAME…]`. Prints each one's digest."""

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(names: list[str]) -> None:
    for script in sorted(HERE.glob("*/train.py")):
        if not names or script.parent.name in names:
            print(f"{script.parent.name}: {runpy.run_path(str(script))['train']()}")


if __name__ == "__main__":
    main(sys.argv[1:])
