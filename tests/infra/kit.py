"""Parameters that ask the templates for all that there is."""

from tools.infra_check.check import EVERYTHING

PARAMETERS = {
    "name": "shop",
    "environment": "production",
    "databaseAdministratorId": "00000000-0000-4000-8000-000000000001",
    "databaseAdministratorName": "people",
    **EVERYTHING,
}
