"""Whom clients trust: read once, and again when it has changed."""

from pathlib import Path

from controller.adapters.tls import trust
from sandbox.tls import create_authority


def test_an_authority_is_read_once_and_again_when_its_file_has_changed(tmp_path: Path) -> None:
    first = create_authority(tmp_path / "first")
    second = create_authority(tmp_path / "second")
    context = trust(first.ca_file)
    assert trust(first.ca_file) is context
    assert trust() is not context
    known = context.get_ca_certs(binary_form=True)

    first.ca_file.write_bytes(first.ca_file.read_bytes() + second.ca_file.read_bytes())
    assert trust(first.ca_file) is not context
    assert len(trust(first.ca_file).get_ca_certs(binary_form=True)) == len(known) + 1
