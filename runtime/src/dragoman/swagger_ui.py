"""The docs page: Swagger UI, as its package from the registry holds it."""

from __future__ import annotations

import html
import importlib.util
import json
from functools import cache
from pathlib import Path


@cache
def folder() -> Path:
    """Its style sheet, its script, its icons."""
    spec = importlib.util.find_spec("swagger_ui")
    assert spec is not None
    return Path(next(iter(spec.submodule_search_locations or ()))) / "static"


def page(title: str, assets: str, document: str, *, try_it_out: bool) -> bytes:
    """A page that shows an OpenAPI document. `assets` and `document` are URLs; `try_it_out`: its requests are ready to be sent."""
    assets = html.escape(assets)
    options = f'url: {json.dumps(document).replace("<", "%3C")}, dom_id: "#docs", deepLinking: true, '
    options += "tryItOutEnabled: true, validatorUrl: null" if try_it_out else "validatorUrl: null"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="icon" href="{assets}/favicon-32x32.png">
<link rel="stylesheet" href="{assets}/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="{assets}/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({{ {options} }});
</script>
</body>
</html>
""".encode()
