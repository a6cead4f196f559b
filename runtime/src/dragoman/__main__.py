"""`dragoman`, and `python -m dragoman`: the command line."""

from __future__ import annotations

import os
import sys


def main() -> None:
    from dragoman import serve_arguments

    asked = serve_arguments.read(sys.argv[1:], os.environ)
    if asked is not None:
        from dragoman import startup

        sys.exit(startup.serve(asked))
    from dragoman import cli

    cli.main()


if __name__ == "__main__":
    main()
