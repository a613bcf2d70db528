"""DVC stages made from the Kedro graph."""
