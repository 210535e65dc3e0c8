"""A small configuration that is right, and a way to load a variation of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from controller.config.load import load_text
from controller.config.problems import InvalidConfigurationError, Problem

ROOT = Path(__file__).parents[2]

MINIMAL = """\
apps:
  shop:
    target:
      subscription: 00000000-0000-0000-0000-000000000001
      resource_group: rg-web
      site: contoso-shop
      slots: [blue, green]
    source:
      registry: contoso.azurecr.io
      repository: shop
    analysis:
      workspace: 00000000-0000-0000-0000-000000000002
"""


@pytest.fixture
def minimal() -> str:
    return MINIMAL


@pytest.fixture
def example() -> str:
    return (ROOT / "apps.example.yaml").read_text(encoding="utf-8")


@pytest.fixture
def problems_of() -> Callable[[str], tuple[Problem, ...]]:
    def load(text: str) -> tuple[Problem, ...]:
        with pytest.raises(InvalidConfigurationError) as caught:
            load_text(text, name="apps.yaml")
        return caught.value.problems

    return load
