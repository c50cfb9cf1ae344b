"""``dougong resume``: go on with a run that was stopped, exactly as if it had not been."""

from __future__ import annotations

from typing import Any

from dougong.cli.app import verb
from dougong.cli.sharing import RunFolder, show_run


@verb("dougong resume runs/first")
def resume(run: RunFolder) -> dict[str, Any]:
    """Go on with a stopped run from its last checkpoint."""
    from dougong.training import resume as go_on

    return show_run(go_on(run))
