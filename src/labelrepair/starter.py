"""``kedro new --starter labelrepair``: the project template that ships with the package."""

from kedro.framework.cli.starters import KedroStarterSpec

from labelrepair.defaults import starter_folder

starters = [KedroStarterSpec(alias="labelrepair", template_path=str(starter_folder()))]
