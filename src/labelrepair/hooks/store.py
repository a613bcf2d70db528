"""The hook that asks MLflow's server for a sign of life."""

import http.client
import os
import urllib.error
import urllib.request

from kedro.config import AbstractConfigLoader, MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

from labelrepair.errors import StoreError, shown
from labelrepair.provenance import without_password

TIMEOUT = 5.0  # seconds that MLflow's server has for its first answer
_LOCKED, _BROKEN = (401, 403), 500  # status codes of HTTP


class StoreHook:
    """Refuses to start while MLflow's server cannot be reached, before any work is done."""

    @hook_impl(tryfirst=True)  # before kedro-mlflow, whose calls would be retried for minutes
    def after_context_created(self, context: KedroContext) -> None:
        """Ask the server that ``mlflow.yml`` or the environment names for a sign of life.

        Raises:
            StoreError: there is none within ``TIMEOUT`` seconds, or it does not let us in; the
                message names the address.
        """
        loader = context.config_loader
        patterns = {"mlflow": ["mlflow*", "mlflow*/**", "**/mlflow*"]}
        loader.config_patterns.update(patterns)  # type: ignore[attr-defined]
        try:
            server = loader["mlflow"].get("server") or {}
        except MissingConfigException:
            server = {}
        if credentials := server.get("credentials"):
            _export(loader, credentials)
        # Kedro-mlflow will show who we are by headers that are not there yet.
        calls = not (server.get("request_header_provider") or {}).get("type")
        named = [server.get("mlflow_tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI")]
        named.append(server.get("mlflow_registry_uri"))
        for address in {str(name) for name in named if name}:
            check_store(address, calls=calls)


def _export(loader: AbstractConfigLoader, name: str) -> None:
    """Put an entry of credentials.yml into the environment, as kedro-mlflow will do."""
    try:
        found = loader["credentials"].get(name) or {}
    except MissingConfigException:
        return
    os.environ.update({key: str(value) for key, value in found.items()})


def check_store(address: str, timeout: float = TIMEOUT, *, calls: bool = True) -> None:
    """Raise StoreError unless an MLflow server at an http address answers and lets us in.

    Args:
        address: of a store; those that are no servers are passed over.
        timeout: seconds that the server has for its sign of life.
        calls: make a first call, too.
    """
    if not address.startswith(("http://", "https://")):
        return
    place = without_password(address)  # urllib would take it for the name of a host
    try:
        urllib.request.urlopen(f"{place.rstrip('/')}/health", timeout=timeout).close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        # One below 500 is there; whether it lets us in is asked with MLflow's credentials.
        if not isinstance(error, urllib.error.HTTPError) or error.code >= _BROKEN:
            raise StoreError(
                f"MLflow at {place} cannot be reached ({error}); nothing has been done. Start the "
                "server, or name another store in conf/local/mlflow.yml"
            ) from None
    if calls:
        _check_answer(address, place)


def _check_answer(address: str, place: str) -> None:
    """Make the call that kedro-mlflow begins with, too."""
    try:
        import mlflow  # noqa: PLC0415
    except ModuleNotFoundError:
        return
    try:
        mlflow.MlflowClient(address).search_experiments(max_results=1)
    except mlflow.exceptions.MlflowException as error:
        status = error.get_http_status_code()  # type: ignore[no-untyped-call]
        said = shown(" ".join(str(error).split()), 200)
        told = f"MLflow at {place} does not answer as it should ({said})"
        advice = "look at this address in a browser, and correct it in conf/local/mlflow.yml"
        if status in _LOCKED:
            told = f"MLflow at {place} does not let us in ({status})"
            advice = (
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                "MLFLOW_TRACKING_TOKEN, to those of somebody who may write there"
            )
        raise StoreError(f"{told}; nothing has been done. To go on, {advice}") from None
