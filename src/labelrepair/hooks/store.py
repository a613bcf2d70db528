"""The hook that asks MLflow's server for a sign of life."""

import http.client
import os
import urllib.error
import urllib.request

from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

from labelrepair.errors import StoreError
from labelrepair.provenance import without_password

TIMEOUT = 5.0  # seconds that MLflow's server has for its first answer


class StoreHook:
    """Refuses to start while MLflow's server cannot be reached, before any work is done."""

    @hook_impl(tryfirst=True)  # before kedro-mlflow, whose calls would be retried for minutes
    def after_context_created(self, context: KedroContext) -> None:
        """Ask the server that ``mlflow.yml`` or the environment names for a sign of life.

        Raises:
            StoreError: there is none within ``TIMEOUT`` seconds; the message names the address.
        """
        loader = context.config_loader
        patterns = {"mlflow": ["mlflow*", "mlflow*/**", "**/mlflow*"]}
        loader.config_patterns.update(patterns)  # type: ignore[attr-defined]
        try:
            server = loader["mlflow"].get("server") or {}
        except MissingConfigException:
            server = {}
        named = [server.get("mlflow_tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI")]
        named.append(server.get("mlflow_registry_uri"))
        for address in {str(name) for name in named if name}:
            check_store(address)


def check_store(address: str, timeout: float = TIMEOUT) -> None:
    """Raise StoreError unless a server at an http address answers, whatever it says."""
    if not address.startswith(("http://", "https://")):
        return
    shown = without_password(address)  # urllib would take it for the name of a host
    try:
        urllib.request.urlopen(f"{shown.rstrip('/')}/health", timeout=timeout).close()
    except urllib.error.HTTPError:
        return  # it is there; whether it lets us in, the first real call will tell
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise StoreError(
            f"MLflow at {shown} cannot be reached ({error}); nothing has been done. Start the "
            "server, or name another store in conf/local/mlflow.yml"
        ) from None
