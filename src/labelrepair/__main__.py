"""``python -m labelrepair``: run the project's pipelines, as ``kedro run`` does."""

import sys
from pathlib import Path


def main() -> None:
    """Run Kedro's ``run`` command with the arguments given."""
    from kedro.framework.cli.utils import find_run_command  # noqa: PLC0415
    from kedro.framework.project import configure_project  # noqa: PLC0415

    configure_project(Path(__file__).parent.name)
    find_run_command("labelrepair")(standalone_mode=True, args=sys.argv[1:])


if __name__ == "__main__":
    main()
