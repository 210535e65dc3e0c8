"""What the release workflow asks, so that it holds no logic of its own.

    python tools/release.py check TAG [--repository OWNER/NAME]   tag, version and changelog agree?
    python tools/release.py notes TAG --image IMAGE --assets DIR  the release's text, as Markdown
    python tools/release.py checksums DIR                         writes DIR/SHA256SUMS

`check` prints lines for $GITHUB_OUTPUT. Needs nothing but Python.
"""

import argparse
import hashlib
import re
import sys
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
SUMS: Final = "SHA256SUMS"
_TAG: Final = re.compile(r"v(\d+\.\d+\.\d+)")
_HEADING: Final = re.compile(r"^## \[(?P<version>[^\]]+)\](?P<rest>.*)$", re.MULTILINE)
_DATED: Final = re.compile(r" - \d{4}-\d{2}-\d{2}")
_IMAGE: Final = re.compile(r"(?P<name>[a-z0-9./_-]+)@sha256:[0-9a-f]{64}")
_REGISTRY: Final = "ghcr.io"


class ReleaseError(SystemExit):
    """This must not be released; the text says why, and what to do."""


def checked_version(tag: str, root: Path = ROOT) -> str:
    """Return the version that *tag* names.

    Raises:
        ReleaseError: tag, pyproject.toml, CHANGELOG.md and tests/upgrades do not agree.
    """
    found = _TAG.fullmatch(tag)
    if found is None:
        raise ReleaseError(f"{tag!r} is no tag of a release: name it v1.2.3.")
    version = found[1]
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    if declared != version:
        raise ReleaseError(f"The tag is {tag}, but pyproject.toml says {declared}: change one.")
    if f'__version__ = "{version}"' not in (root / "controller" / "__init__.py").read_text():
        raise ReleaseError(f"controller/__init__.py has another __version__ than {version}.")
    changes(version, root)
    if not (root / "tests" / "upgrades" / tag).is_dir():
        raise ReleaseError(
            f"tests/upgrades/{tag} is missing: run `python tools/freeze.py`, and commit what it"
            " writes. Later versions are tested against it."
        )
    return version


def changes(version: str, root: Path = ROOT) -> str:
    """Return what CHANGELOG.md says of *version*.

    Raises:
        ReleaseError: nothing, or it has no date.
    """
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = list(_HEADING.finditer(text))
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        if heading["version"] != version:
            continue
        if _DATED.fullmatch(heading["rest"]) is None:
            raise ReleaseError(
                f"CHANGELOG.md gives {version} no date: '## [{version}] - 2026-12-24'."
            )
        body = text[heading.end() : following.start() if following else len(text)].strip()
        if body:
            return body
        raise ReleaseError(f"CHANGELOG.md has a section for {version}, and nothing in it.")
    raise ReleaseError(f"CHANGELOG.md has no section '## [{version}]': rename [Unreleased].")


def image_of(repository: str) -> str:
    """Return the name of the image that *repository* builds: registries take small letters only."""
    return f"{_REGISTRY}/{repository.lower()}"


def write_checksums(folder: Path) -> Path:
    """Write SHA256SUMS of the files in *folder*, in the form that sha256sum --check reads."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    if not files:
        raise ReleaseError(f"{folder} has no files to release.")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    sums = folder / SUMS
    sums.write_text("".join(lines))
    return sums


def notes(tag: str, image: str, folder: Path, root: Path = ROOT) -> str:
    """Return the release's text: what changed, the image by digest, and how to check both.

    Raises:
        ReleaseError: the image is not named by digest, or something is missing.
    """
    named = _IMAGE.fullmatch(image)
    if named is None:
        raise ReleaseError(f"{image!r} is no image by digest: NAME@sha256:...")
    if not (folder / SUMS).is_file():
        raise ReleaseError(f"{folder / SUMS} is missing: run `checksums` first.")
    version = checked_version(tag, root)
    repository = named["name"].removeprefix(f"{_REGISTRY}/")
    return (
        f"{changes(version, root)}\n\n"
        "## How to get it\n\n"
        "Read docs/upgrading.md first.\n\n"
        f"Image: `{image}`\n\n"
        "## How to check it\n\n"
        "```console\n"
        f"sha256sum --check {SUMS}\n"
        f"gh attestation verify slipway-{version}.zip --repo {repository}\n"
        f"cosign verify {image} \\\n"
        f"    --certificate-identity-regexp '/release\\.yml@refs/tags/{re.escape(tag)}$' \\\n"
        "    --certificate-oidc-issuer https://token.actions.githubusercontent.com\n"
        "```\n\n"
        "```text\n"
        f"{(folder / SUMS).read_text()}"
        "```\n"
    )


def main(arguments: list[str] | None = None) -> None:
    """Answer one question of the workflow."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    check = verbs.add_parser("check")
    check.add_argument("tag")
    check.add_argument("--repository", default="")
    text = verbs.add_parser("notes")
    text.add_argument("tag")
    text.add_argument("--image", required=True)
    text.add_argument("--assets", type=Path, required=True)
    verbs.add_parser("checksums").add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    if given.verb == "check":
        print(f"version={checked_version(given.tag)}")
        if given.repository:
            print(f"image={image_of(given.repository)}")
    elif given.verb == "notes":
        sys.stdout.write(notes(given.tag, given.image, given.assets))
    else:
        print(write_checksums(given.folder))


if __name__ == "__main__":
    main()
