"""The examples in docstrings hold."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "module",
    ["tastemaker_jobs.data.movielens", "tastemaker_jobs.publishing.manifests", "tastemaker_jobs.training.request"],
)
def test_examples_in_docstrings_hold(module):
    result = doctest.testmod(import_module(module))
    assert result.attempted
    assert not result.failed
