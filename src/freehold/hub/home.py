"""Where Freehold keeps its data: `$FREEHOLD_HOME`, else `$XDG_DATA_HOME/freehold`, else `~/.local/share/freehold`."""

from __future__ import annotations

import os
from pathlib import Path

from freehold.errors import ConfigError

__all__ = ["home", "models_folder"]


def home() -> Path:
    """Gives the data folder; it need not exist yet.

    Returns:
        An absolute path. It holds `models/<name>/`, `freehold.db` and, where the user wrote one, `catalog.toml`.

    Raises:
        ConfigError: `$FREEHOLD_HOME` is set to a relative path, which would move with the working folder.
    """
    own = os.environ.get("FREEHOLD_HOME")
    if own:
        folder = Path(own).expanduser()
        if not folder.is_absolute():
            raise ConfigError(f"FREEHOLD_HOME is {own!r}, a relative path; set it to an absolute one.")
        return folder
    shared = os.environ.get("XDG_DATA_HOME")
    # The XDG specification says that relative values are to be ignored.
    if shared and Path(shared).is_absolute():
        return Path(shared) / "freehold"
    return Path.home() / ".local" / "share" / "freehold"


def models_folder() -> Path:
    """Gives the folder of pulled models, `home()/models`; it need not exist yet."""
    return home() / "models"
