"""``dougong resume``: go on with a run or a search that was stopped, exactly as if it had not been."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dougong.cli.app import verb
from dougong.cli.sharing import show_run, show_search


@verb("dougong resume runs/first")
def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a run, or of a search.")],
) -> dict[str, Any]:
    """Go on with a stopped run or search from its last checkpoint."""
    from dougong.training import Search
    from dougong.training import resume as go_on

    found = go_on(run)
    return show_search(found) if isinstance(found, Search) else show_run(found)
