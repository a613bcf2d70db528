"""What a run shows of warnings."""

import logging
import warnings
from pathlib import Path

import pytest

import labelrepair
from labelrepair.hooks import WarningHook

OURS = str(Path(labelrepair.__file__).with_name("transition.py"))
TOLD = "transition: condition number 1e+06"


@pytest.fixture
def logged(caplog):
    """Return what is logged of a warning that comes from a file, with logging as Kedro sets it."""

    def warn(filename):
        caplog.clear()
        warnings.warn_explicit(TOLD, UserWarning, filename, 7)
        return caplog.records[-1].getMessage().rstrip()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)  # a run in this process may have begun it, outside of here
        logging.captureWarnings(True)
        yield warn
        logging.captureWarnings(False)


@pytest.mark.parametrize("end", ["after_pipeline_run", "on_pipeline_error"])
def test_ours_are_the_sentence_alone_while_a_run_lasts(logged, end):
    hook, usual = WarningHook(), warnings.formatwarning
    hook.before_pipeline_run()

    assert logged(OURS) == TOLD
    assert logged("/elsewhere/theirs.py").startswith(f"/elsewhere/theirs.py:7: UserWarning: {TOLD}")
    hook.before_pipeline_run()  # again, without an end
    assert logged(OURS) == TOLD

    getattr(hook, end)()
    assert warnings.formatwarning is usual
    assert logged(OURS).startswith(f"{OURS}:7: UserWarning")
