"""Raw data that `dvc add` has taken over: a clone has them as they were, and nothing runs again."""

import shutil
import subprocess
from pathlib import Path

import pytest

import labelrepair
from labelrepair.defaults import starter_folder

ROOT = Path(labelrepair.__file__).parents[2]
GITIGNORES = {
    "checkout": ROOT / ".gitignore",
    "starter": starter_folder() / "{{ cookiecutter.repo_name }}/.gitignore",
}
STAGE = (
    "stages: {read: {cmd: cat data/01_raw/images/a > data/b, deps: [data/01_raw], outs: [data/b]}}"
)
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")


@pytest.mark.slow
@pytest.mark.parametrize("kind", GITIGNORES)
def test_a_clone_with_a_folder_of_raw_data_is_up_to_date(kind, tmp_path, command_environment):
    def command(folder, *words):
        done = subprocess.run(
            words, cwd=folder, env=command_environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    made, clone = tmp_path / "made", tmp_path / "clone"
    (made / "data/01_raw/images").mkdir(parents=True)
    (made / "data/01_raw/images/a").write_text("a")
    (made / "dvc.yaml").write_text(STAGE)
    shutil.copy(GITIGNORES[kind], made / ".gitignore")
    command(made, "git", "init", "-q")
    command(made, "dvc", "init", "-q")
    command(made, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    command(made, "dvc", "add", "data/01_raw/images")
    command(made, "dvc", "repro")
    command(made, "git", "add", "-A")
    command(made, *GIT, "commit", "-qm", "test")
    command(made, "dvc", "push")

    command(tmp_path, "git", "clone", "-q", str(made), str(clone))
    command(clone, "dvc", "pull")

    assert (clone / "data/01_raw/images/a").read_text() == "a"
    assert "up to date" in command(clone, "dvc", "status")
