"""What of a slot's configuration counts for which kind of container."""

from pathlib import Path

import pytest

from controller.ports import PullAccess, PullMeans
from tests.adapters.stands import BLUE, TARGET, digest, image, sandbox_stand


@pytest.mark.parametrize("modern", [False, True])
async def test_the_sites_own_right_to_pull_counts_for_a_classic_container_only(
    tmp_path: Path,
    modern: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """A site container has its own; what stands in config/web and in settings is a leftover."""
    async with sandbox_stand(tmp_path, site_containers=modern) as stand:
        blue = stand.site.slot("blue")
        blue.app_settings |= {
            "DOCKER_REGISTRY_SERVER_URL": "https://r.test",
            "DOCKER_REGISTRY_SERVER_USERNAME": "u",
            "DOCKER_REGISTRY_SERVER_PASSWORD": "p",
        }

        pull = (await stand.platform.read(TARGET)).slots[BLUE].pull

        site = PullAccess(PullMeans.PASSWORD, "r.test")
        assert pull == (PullAccess(PullMeans.ANONYMOUS) if modern else site)


@pytest.mark.parametrize("modern", [False, True])
async def test_port_limits_and_storage_stay_as_the_slot_has_them(
    tmp_path: Path,
    modern: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """They belong to whoever runs the site; a write of the whole set must carry them along."""
    own = {
        "WEBSITES_PORT": "8080",
        "WEBSITES_CONTAINER_START_TIME_LIMIT": "600",
        "WEBSITES_CONTAINER_STOP_TIME_LIMIT": "60",
        "WEBSITES_ENABLE_APP_SERVICE_STORAGE": "false",
    }
    async with sandbox_stand(tmp_path, site_containers=modern) as stand:
        blue = stand.site.slot("blue")
        blue.app_settings |= own

        await stand.platform.stage(
            TARGET, BLUE, image=image("new"), release=digest("new"), request_id="rollout/1/stage"
        )

        kept = {name: blue.app_settings[name] for name in own}
        assert (blue.image, kept) == (image("new"), own)
