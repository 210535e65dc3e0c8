"""App Service on loopback. Start at `AppService`."""

from sandbox.app_service.arm import ArmRequest
from sandbox.app_service.database_servers import DatabaseServers, FlexibleServer
from sandbox.app_service.errors import ArmError
from sandbox.app_service.faults import ArmFaults
from sandbox.app_service.images import Image, ImagePuller, ImagePullError, RegistryPuller
from sandbox.app_service.platform import Site, Slot
from sandbox.app_service.service import AppService, SiteStartError
from sandbox.app_service.swap_weather import SwapWeather
from sandbox.app_service.traffic import Answer, Failure, Traffic

__all__ = [
    "Answer",
    "AppService",
    "ArmError",
    "ArmFaults",
    "ArmRequest",
    "DatabaseServers",
    "Failure",
    "FlexibleServer",
    "Image",
    "ImagePullError",
    "ImagePuller",
    "RegistryPuller",
    "Site",
    "SiteStartError",
    "Slot",
    "SwapWeather",
    "Traffic",
]
