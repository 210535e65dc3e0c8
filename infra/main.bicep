// Everything that an app and its controller need in one resource group: the app side, the controller
// side, and the alerts on both. `slipway infra deploy` runs it; never while a rollout runs.

targetScope = 'resourceGroup'

@description('Short name that every resource is named by.')
@minLength(3)
@maxLength(12)
param name string

@description('Region.')
param location string = resourceGroup().location

@description('Which environment this is.')
@allowed(['dev', 'staging', 'production'])
param environment string

@description('Tags of every resource.')
param tags object = {}

@description('Slots that take turns with each other, as target.slots in apps.yaml.')
@minLength(1)
param slotNames array = ['blue', 'green']

@description('Size of the plan\'s instances.')
param planSku string = 'P1v3'

@description('Instances of the plan. On a later deployment pass what it has now, else autoscale starts again from here.')
@minValue(1)
param planCapacity int = 2

@description('Most instances that autoscale makes of it.')
@minValue(1)
param planCapacityMaximum int = 10

@description('Spreads the plan over availability zones; chosen when it is created.')
param zoneRedundant bool = false

@description('Path of the health check, as health.readiness_path in apps.yaml.')
param healthCheckPath string = '/health/ready'

@description('Pins each client to one instance by cookie (ARR affinity).')
param clientAffinity bool = false

@description('Size of the registry. Private endpoints need Premium.')
@allowed(['Standard', 'Premium'])
param registrySku string = 'Standard'

@description('Whether roles on the registry may be narrowed to repositories (ABAC).')
param registryByRepository bool = false

@description('Region of a replica of the registry. Empty: none.')
param registryReplicaLocation string = ''

@description('Whether pipelines reach the registry from the internet.')
param registryPublicAccess bool = true

@description('Size of Azure Managed Redis.')
param redisSku string = 'Balanced_B0'

@description('Keeps a second node of Redis.')
param redisHighAvailability bool = false

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param retentionDays int = 30

@description('Lets the app report without an identity.')
param telemetryLocalAuthentication bool = false

@description('recover brings a deleted vault of this name back.')
@allowed(['default', 'recover'])
param vaultCreateMode string = 'default'

@description('Name of the database on the server.')
param databaseSchemaName string = 'app'

@description('Major version of PostgreSQL.')
param databaseVersion string = '17'

@description('Size of the database server.')
param databaseSku string = 'Standard_B2s'

@description('Tier of that size.')
@allowed(['Burstable', 'GeneralPurpose', 'MemoryOptimized'])
param databaseTier string = 'Burstable'

@description('Disk of the database server, in GiB.')
param databaseStorage int = 32

@description('Days back to which the database can be restored.')
@minValue(7)
@maxValue(35)
param databaseBackupDays int = 7

@description('Keeps its backups in the paired region, too; chosen when the server is created.')
param databaseGeoBackup bool = false

@description('Standby of the database server.')
@allowed(['Disabled', 'SameZone', 'ZoneRedundant'])
param databaseHighAvailability string = 'Disabled'

@description('Entra administrator of the database: object id.')
param databaseAdministratorId string

@description('Entra administrator of the database: name.')
param databaseAdministratorName string

@description('Entra administrator of the database: what it is.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param databaseAdministratorType string = 'Group'

@description('Name of an administrator with a password, for an app that knows no Entra. Empty: passwords are off.')
param databasePasswordLogin string = ''

@description('Vault that holds that password and is there already. The deployer may read it (vaults/deploy/action), and it is enabled for template deployment.')
param databasePasswordVaultName string = ''

@description('Resource group of that vault. Empty: this one.')
param databasePasswordVaultGroup string = ''

@description('Name of the secret in it.')
param databasePasswordSecretName string = 'database-password'

@description('Whether there is a network, private endpoints in it, and a closed door elsewhere. Needs a Premium registry.')
param privateNetwork bool = false

@description('Addresses of that network.')
param addressPrefix string = '10.20.0.0/24'

@description('Addresses of the subnet of the slots.')
param sitePrefix string = '10.20.0.0/26'

@description('Addresses of the subnet of the controller.')
param controllerPrefix string = '10.20.0.64/26'

@description('Addresses of the subnet of private endpoints.')
param endpointPrefix string = '10.20.0.128/26'

@description('Addresses or ranges that reach vault and registry from outside of the network.')
param trustedAddresses array = []

@description('Lets all of Azure try to sign in to the database; without a network only.')
param databaseAllowAzureServices bool = false

@description('Locks what cannot be made again against deletion.')
param lockResources bool = true

@description('Locks the database server, too. Not where Slipway makes backups on demand there: it could not delete the oldest.')
param lockDatabase bool = true

@description('What runs the controller: flex (Flex Consumption, a zip) or container (our image, which has pg_dump for backup sets).')
@allowed(['flex', 'container'])
param variant string = 'flex'

@description('Image of the controller, by digest; for the container variant. Empty in the first deployment, which makes the registry that it is pushed to.')
param controllerImage string = ''

@description('Whether storage and Service Bus of Slipway are closed to the internet, too: private endpoints, and Service Bus Premium. Needs privateNetwork.')
param privateController bool = false

@description('Registries beside Azure\'s own that may be given Slipway\'s token, comma-separated.')
param acrHosts string = ''

@description('Whether Slipway may make flexible servers, for `slipway backup pitr`.')
param pointInTime bool = false

@description('Whether Slipway may back secrets of the vault up, and restore them.')
param backsSecretsUp bool = true

@description('Days in which nobody can change or remove a blob of a backup set.')
@minValue(1)
@maxValue(365)
param immutableDays int = 5

@description('Whether on_image_pushed is deployed: only then Event Grid can be connected to it. False in the first deployment.')
param connectEvents bool = false

@description('Chat that people are told in. Needs alertsApplicationId, and the chat\'s address as secret notify-slack.')
@allowed(['', 'slack'])
param chat string = ''

@description('Addresses that alerts are mailed to.')
param alertEmails array = []

@description('Application (client) id that the tokens for Slipway\'s alerts door are for. Empty: Slipway does not hear of alerts.')
param alertsApplicationId string = ''

@description('Object id of that application.')
param alertsObjectId string = ''

module app 'app.bicep' = {
  name: 'app'
  params: {
    name: name
    location: location
    environment: environment
    tags: tags
    slotNames: slotNames
    planSku: planSku
    planCapacity: planCapacity
    planCapacityMaximum: planCapacityMaximum
    zoneRedundant: zoneRedundant
    healthCheckPath: healthCheckPath
    clientAffinity: clientAffinity
    registrySku: registrySku
    registryByRepository: registryByRepository
    registryReplicaLocation: registryReplicaLocation
    registryPublicAccess: registryPublicAccess
    redisSku: redisSku
    redisHighAvailability: redisHighAvailability
    retentionDays: retentionDays
    telemetryLocalAuthentication: telemetryLocalAuthentication
    vaultCreateMode: vaultCreateMode
    databaseSchemaName: databaseSchemaName
    databaseVersion: databaseVersion
    databaseSku: databaseSku
    databaseTier: databaseTier
    databaseStorage: databaseStorage
    databaseBackupDays: databaseBackupDays
    databaseGeoBackup: databaseGeoBackup
    databaseHighAvailability: databaseHighAvailability
    databaseAdministratorId: databaseAdministratorId
    databaseAdministratorName: databaseAdministratorName
    databaseAdministratorType: databaseAdministratorType
    databasePasswordLogin: databasePasswordLogin
    databasePasswordVaultName: databasePasswordVaultName
    databasePasswordVaultGroup: databasePasswordVaultGroup
    databasePasswordSecretName: databasePasswordSecretName
    privateNetwork: privateNetwork
    addressPrefix: addressPrefix
    sitePrefix: sitePrefix
    controllerPrefix: controllerPrefix
    endpointPrefix: endpointPrefix
    trustedAddresses: trustedAddresses
    databaseAllowAzureServices: databaseAllowAzureServices
    lockResources: lockResources
    lockDatabase: lockDatabase
    controllerDelegation: variant == 'flex' ? 'Microsoft.App/environments' : 'Microsoft.Web/serverFarms'
  }
}

module controller 'controller.bicep' = {
  name: 'controller'
  params: {
    name: name
    location: location
    environment: environment
    tags: tags
    variant: variant
    controllerImage: controllerImage
    acrHosts: acrHosts
    pointInTime: pointInTime
    backsSecretsUp: backsSecretsUp
    immutableDays: immutableDays
    registryId: app.outputs.registryId
    registryName: app.outputs.registryName
    registryByRepository: registryByRepository
    workspaceId: app.outputs.workspaceId
    componentsId: app.outputs.componentsId
    vaultName: app.outputs.vaultName
    vaultUri: app.outputs.vaultUri
    controllerSubnetId: app.outputs.controllerSubnetId
    endpointSubnetId: app.outputs.endpointSubnetId
    publicAccess: !privateController
    connectEvents: connectEvents
    alertsAudience: empty(alertsApplicationId) ? '' : 'api://${alertsApplicationId}'
    lockResources: lockResources
  }
}

module monitoring 'monitoring.bicep' = {
  name: 'monitoring'
  params: {
    name: name
    location: location
    tags: tags
    planId: app.outputs.planId
    siteId: app.outputs.siteId
    slotNames: app.outputs.slotNames
    workspaceId: app.outputs.workspaceId
    componentsId: app.outputs.componentsId
    busId: controller.outputs.busId
    functionHostName: controller.outputs.functionHostName
    emails: alertEmails
    chat: chat
    alertsApplicationId: alertsApplicationId
    alertsObjectId: alertsObjectId
  }
}

@description('Name of the Function App that runs Slipway.')
output functionAppName string = controller.outputs.functionAppName

@description('Address of Slipway: SLIPWAY_URL of the command line.')
output slipwayUrl string = 'https://${controller.outputs.functionHostName}'

@description('Name of the storage account that holds apps.yaml, in its container config.')
output storageName string = controller.outputs.storageName

@description('Address of the container of backup sets.')
output backupUrl string = controller.outputs.backupUrl

@description('Name of the site.')
output siteName string = app.outputs.siteName

@description('Login server of the registry.')
output registryLoginServer string = app.outputs.registryLoginServer

@description('Workspace id that apps.yaml names: analysis.workspace.')
output workspaceCustomerId string = app.outputs.workspaceCustomerId

@description('Name of the vault.')
output vaultName string = app.outputs.vaultName
