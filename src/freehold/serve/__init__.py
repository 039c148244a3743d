"""The HTTP server: OpenAI's and DeepSeek's API, the app and its history, accounts and keys.

    from freehold.serve.registry import ModelRegistry
    from freehold.serve.server import run_server
    from freehold.serve.settings import ServeSettings

    run_server(ModelRegistry([model], {"my-name": "smollm2-135m-instruct"}), ServeSettings(port=8080))

The pieces: `app.py` puts the application together; `gate.py` decides who may knock at all (hosts, origins, draining);
`access.py` who is asking; `routes_*.py` answer, one file per API; `store.py`, `accounts.py` and `history.py` keep what
is kept. Importing the package imports none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freehold.serve.app import create_app
    from freehold.serve.registry import ModelRegistry
    from freehold.serve.server import run_server
    from freehold.serve.settings import ServeSettings

__all__ = ["ModelRegistry", "ServeSettings", "create_app", "run_server"]

_HOMES = {
    "ModelRegistry": "freehold.serve.registry",
    "ServeSettings": "freehold.serve.settings",
    "create_app": "freehold.serve.app",
    "run_server": "freehold.serve.server",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
