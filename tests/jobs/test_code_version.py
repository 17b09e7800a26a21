"""Which code a manifest names: the version and, in a checkout, the commit and whether files differ from it."""

import subprocess
from importlib.metadata import version

from tastemaker_jobs.publishing.code_version import code_version
from tastemaker_jobs.publishing.manifests import new_manifest

VERSION = version("tastemaker")


def git(folder, *words):
    ran = subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=n@example.org", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


def test_a_checkout_is_named_by_its_commit_and_whether_files_differ(tmp_path):
    git(tmp_path, "init", "--quiet")
    assert code_version(tmp_path) == VERSION, "no commit yet"
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    git(tmp_path, "tag", "v9")
    commit = git(tmp_path, "rev-parse", "HEAD")[:12]
    assert code_version(tmp_path) == f"{VERSION}+{commit}"
    (tmp_path / "code.py").write_text("2\n")
    assert code_version(tmp_path) == f"{VERSION}+{commit}.dirty"


def test_without_a_checkout_there_is_the_version_alone(tmp_path):
    assert code_version(tmp_path) == VERSION


def test_a_manifest_has_it():
    assert new_manifest("rnn", contract_version=1, signatures=[]).code_version == code_version()
