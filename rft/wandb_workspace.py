"""Writes a wandb workspace for the runs of a project: the charts of docs/curves.md, in its order.

    python rft/wandb_workspace.py ENTITY PROJECT
    python rft/wandb_workspace.py ENTITY PROJECT --print

Needs the package wandb-workspaces and a wandb login; `--print` needs no login, and shows what would be written. Exit
status 2 and one line where wandb refuses.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from rft.extras import need
from rft.process_exit import FINISHED, leave, refused, status_of
from rft.telemetry.charts import CHARTS
from rft.telemetry.trackers import first_line, shown_name


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write a wandb workspace with the charts of docs/curves.md.")
    parser.add_argument("entity", help="a user or team of wandb")
    parser.add_argument("project", help="log.project of the runs")
    parser.add_argument("--name", default="rft", help="of the workspace")
    parser.add_argument("--print", action="store_true", help="show what would be written, and write nothing")
    arguments = parser.parse_args(argv)
    try:
        need("wandb_workspaces", "rft/wandb_workspace.py")
    except ValueError as error:
        return refused(error)
    workspace = make_workspace(arguments.entity, arguments.project, arguments.name)
    if arguments.print:
        print(json.dumps(as_json(workspace), indent=2))
        return FINISHED
    try:
        workspace.save()
    except Exception as error:  # no login, no such project, no network: wandb has an exception for each
        return refused(ValueError(f"wandb did not take the workspace: {first_line(error)}; try `wandb login`"))
    print(workspace.url)
    return FINISHED


def make_workspace(entity: str, project: str, name: str) -> Any:
    """A `wandb_workspaces.workspaces.Workspace` that is not saved yet."""
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces

    sections = [
        workspaces.Section(
            name=title,
            is_open=True,
            panels=[
                reports.LinePlot(title=chart, x="Step", y=[shown_name(metric) for metric in metrics])
                for chart, metrics in charts.items()
            ],
        )
        for title, charts in CHARTS.items()
    ]
    settings = workspaces.WorkspaceSettings(group_by_prefix="first")
    return workspaces.Workspace(entity=entity, project=project, name=name, sections=sections, settings=settings)


def as_json(workspace: Any) -> dict[str, Any]:
    """The specification that wandb would be sent."""
    view: dict[str, Any] = workspace._to_model().spec.model_dump(by_alias=True, exclude_none=True)
    return view


if __name__ == "__main__":
    leave(status_of(main))
