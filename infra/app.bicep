// The app side: what an app under Slipway's care runs on, reports to and keeps its data in. What
// Slipway changes in a rollout (image, its settings, traffic rules) is declared nowhere in here.

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

@description('Names of the app settings that stay with their slot in a swap.')
param stickySettingNames array = ['SLOT_NAME']

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

@description('What the controller runs on; it decides whose subnet it gets.')
@allowed(['Microsoft.App/environments', 'Microsoft.Web/serverFarms'])
param controllerDelegation string = 'Microsoft.App/environments'

@description('Addresses or ranges that reach vault and registry from outside of the network.')
param trustedAddresses array = []

@description('Lets all of Azure try to sign in to the database; without a network only.')
param databaseAllowAzureServices bool = false

@description('Locks what cannot be made again against deletion.')
param lockResources bool = true

@description('Locks the database server, too. Not where Slipway makes backups on demand there: it could not delete the oldest.')
param lockDatabase bool = true

var unique = take(uniqueString(resourceGroup().id), 6)
var stem = '${name}-${environment}'
var siteName = 'app-${stem}-${unique}'
var planName = 'plan-${stem}'
var registryName = 'cr${name}${unique}'
var redisName = 'redis-${stem}-${unique}'
var workspaceName = 'log-${stem}'
var componentsName = 'appi-${stem}'
var vaultName = 'kv-${name}-${unique}'
var serverName = 'psql-${stem}-${unique}'
var autoscaleName = 'autoscale-${stem}'
var hasPassword = !empty(databasePasswordLogin)

module network 'modules/network.bicep' = if (privateNetwork) {
  name: 'app-network'
  params: {
    networkName: 'vnet-${stem}'
    location: location
    tags: tags
    addressPrefix: addressPrefix
    sitePrefix: sitePrefix
    controllerPrefix: controllerPrefix
    endpointPrefix: endpointPrefix
    controllerDelegation: controllerDelegation
  }
}

module plan 'modules/app/plan.bicep' = {
  name: 'app-plan'
  params: {
    planName: planName
    location: location
    tags: tags
    skuName: planSku
    capacity: planCapacity
    zoneRedundant: zoneRedundant
  }
}

module registry 'modules/app/registry.bicep' = {
  name: 'app-registry'
  params: {
    registryName: registryName
    location: location
    tags: tags
    skuName: registrySku
    byRepository: registryByRepository
    replicaLocation: registryReplicaLocation
    publicAccess: registryPublicAccess
    trustedAddresses: trustedAddresses
  }
}

module telemetry 'modules/app/telemetry.bicep' = {
  name: 'app-telemetry'
  params: {
    workspaceName: workspaceName
    componentsName: componentsName
    location: location
    tags: tags
    retentionDays: retentionDays
    localAuthentication: telemetryLocalAuthentication
  }
}

module vault 'modules/app/vault.bicep' = {
  name: 'app-vault'
  params: {
    vaultName: vaultName
    location: location
    tags: tags
    publicAccess: !privateNetwork || !empty(trustedAddresses)
    trustedAddresses: trustedAddresses
    createMode: vaultCreateMode
  }
}

module site 'modules/app/site.bicep' = {
  name: 'app-site'
  params: {
    siteName: siteName
    location: location
    tags: tags
    planId: plan.outputs.planId
    slotNames: slotNames
    healthCheckPath: healthCheckPath
    clientAffinity: clientAffinity
    stickySettingNames: stickySettingNames
    subnetId: privateNetwork ? network!.outputs.siteSubnetId : ''
  }
}

var principalIds = concat([site.outputs.sitePrincipalId], site.outputs.slotPrincipalIds)

module redis 'modules/app/redis.bicep' = {
  name: 'app-redis'
  params: {
    redisName: redisName
    location: location
    tags: tags
    skuName: redisSku
    highAvailability: redisHighAvailability
    publicAccess: !privateNetwork
    principalIds: principalIds
  }
}

module access 'modules/app/access.bicep' = {
  name: 'app-access'
  params: {
    principalIds: principalIds
    registryName: registry.outputs.registryName
    byRepository: registryByRepository
    vaultName: vault.outputs.vaultName
    componentsName: telemetry.outputs.componentsName
  }
}

// Twice, as a secret can only be handed over directly: here without a password ...
module database 'modules/app/database.bicep' = if (!hasPassword) {
  name: 'app-database'
  params: {
    serverName: serverName
    location: location
    tags: tags
    databaseName: databaseSchemaName
    version: databaseVersion
    skuName: databaseSku
    skuTier: databaseTier
    storageGigabytes: databaseStorage
    backupRetentionDays: databaseBackupDays
    geoRedundantBackup: databaseGeoBackup
    highAvailability: databaseHighAvailability
    administratorObjectId: databaseAdministratorId
    administratorName: databaseAdministratorName
    administratorType: databaseAdministratorType
    publicAccess: !privateNetwork
    allowAzureServices: databaseAllowAzureServices
  }
}

resource passwordVault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: hasPassword ? databasePasswordVaultName : vaultName
  scope: resourceGroup(empty(databasePasswordVaultGroup) ? resourceGroup().name : databasePasswordVaultGroup)
}

// ... and here with one, which goes from Key Vault to the server and is seen nowhere in between.
module databaseWithPassword 'modules/app/database.bicep' = if (hasPassword) {
  name: 'app-database-with-password'
  params: {
    serverName: serverName
    location: location
    tags: tags
    databaseName: databaseSchemaName
    version: databaseVersion
    skuName: databaseSku
    skuTier: databaseTier
    storageGigabytes: databaseStorage
    backupRetentionDays: databaseBackupDays
    geoRedundantBackup: databaseGeoBackup
    highAvailability: databaseHighAvailability
    administratorObjectId: databaseAdministratorId
    administratorName: databaseAdministratorName
    administratorType: databaseAdministratorType
    passwordLogin: databasePasswordLogin
    passwordValue: passwordVault.getSecret(databasePasswordSecretName)
    publicAccess: !privateNetwork
    allowAzureServices: databaseAllowAzureServices
  }
}

module autoscale 'modules/app/autoscale.bicep' = {
  name: 'app-autoscale'
  params: {
    autoscaleName: autoscaleName
    location: location
    tags: tags
    planId: plan.outputs.planId
    minimum: 2
    maximum: planCapacityMaximum
    growAbove: 70
    shrinkBelow: 30
  }
}

module diagnostics 'modules/app/diagnostics.bicep' = {
  name: 'app-diagnostics'
  params: {
    workspaceId: telemetry.outputs.workspaceId
    planName: planName
    siteName: siteName
    slotNames: slotNames
    registryName: registryName
    vaultName: vaultName
    redisName: redisName
    serverName: serverName
    autoscaleName: autoscaleName
  }
  dependsOn: [
    site
    registry
    vault
    redis
    database
    databaseWithPassword
    autoscale
  ]
}

var zones = 'Microsoft.Network/privateDnsZones'

module privateEndpoints 'modules/private_endpoints.bicep' = if (privateNetwork) {
  name: 'app-private-endpoints'
  params: {
    prefix: 'pe-${stem}'
    location: location
    tags: tags
    subnetId: privateNetwork ? network!.outputs.endpointSubnetId : ''
    targets: [
      {
        name: 'registry'
        resourceId: registry.outputs.registryId
        groupId: 'registry'
        zoneId: resourceId(zones, 'privatelink.azurecr.io')
      }
      {
        name: 'vault'
        resourceId: vault.outputs.vaultId
        groupId: 'vault'
        zoneId: resourceId(zones, 'privatelink.vaultcore.azure.net')
      }
      {
        name: 'redis'
        resourceId: redis.outputs.redisId
        groupId: 'redisEnterprise'
        zoneId: resourceId(zones, 'privatelink.redis.azure.net')
      }
      {
        name: 'database'
        resourceId: resourceId('Microsoft.DBforPostgreSQL/flexibleServers', serverName)
        groupId: 'postgresqlServer'
        zoneId: resourceId(zones, 'privatelink.postgres.database.azure.com')
      }
    ]
  }
  dependsOn: [
    database
    databaseWithPassword
  ]
}

module locks 'modules/app/locks.bicep' = if (lockResources) {
  name: 'app-locks'
  params: {
    siteName: siteName
    registryName: registryName
    vaultName: vaultName
    workspaceName: workspaceName
    serverName: serverName
    lockDatabase: lockDatabase
  }
  dependsOn: [
    diagnostics
    access
    privateEndpoints
  ]
}

@description('Resource id of the plan.')
output planId string = plan.outputs.planId

@description('Resource id of the site.')
output siteId string = site.outputs.siteId

@description('Name of the site: target.site in apps.yaml.')
output siteName string = site.outputs.siteName

@description('Host that users call.')
output siteHostName string = site.outputs.hostName

@description('Names of the slots: target.slots in apps.yaml.')
output slotNames array = slotNames

@description('Resource id of the registry.')
output registryId string = registry.outputs.registryId

@description('Name of the registry.')
output registryName string = registry.outputs.registryName

@description('Host of the registry: source.registry in apps.yaml.')
output registryLoginServer string = registry.outputs.registryLoginServer

@description('Resource id of the workspace.')
output workspaceId string = telemetry.outputs.workspaceId

@description('Id that queries name the workspace by: analysis.workspace in apps.yaml.')
output workspaceCustomerId string = telemetry.outputs.workspaceCustomerId

@description('Resource id of Application Insights.')
output componentsId string = telemetry.outputs.componentsId

@description('Name of Application Insights.')
output componentsName string = telemetry.outputs.componentsName

@description('Resource id of the vault.')
output vaultId string = vault.outputs.vaultId

@description('Name of the vault.')
output vaultName string = vault.outputs.vaultName

@description('Address of the vault.')
output vaultUri string = vault.outputs.vaultUri

@description('Resource id of the database server.')
output databaseId string = hasPassword ? databaseWithPassword!.outputs.databaseId : database!.outputs.databaseId

@description('Name of the database server.')
output databaseName string = serverName

@description('Host of the database server.')
output databaseHostName string = hasPassword ? databaseWithPassword!.outputs.databaseHostName : database!.outputs.databaseHostName

@description('Host of Redis.')
output redisHostName string = redis.outputs.redisHostName

@description('Resource id of the network. Empty: there is none.')
output networkId string = privateNetwork ? network!.outputs.networkId : ''

@description('Resource id of the subnet of the controller. Empty: there is none.')
output controllerSubnetId string = privateNetwork ? network!.outputs.controllerSubnetId : ''

@description('Resource id of the subnet of private endpoints. Empty: there is none.')
output endpointSubnetId string = privateNetwork ? network!.outputs.endpointSubnetId : ''

@description('First app settings of production and of every slot, besides the connection string of Application Insights; none is a secret.')
output firstSettings object = {
  WEBSITES_PORT: '8080'
  WEBSITES_ENABLE_APP_SERVICE_STORAGE: 'false'
  WEBSITE_SWAP_WARMUP_PING_PATH: healthCheckPath
  WEBSITE_SWAP_WARMUP_PING_STATUSES: '200'
  WEBSITE_HEALTHCHECK_MAXPINGFAILURES: '10'
  KEY_VAULT_URL: vault.outputs.vaultUri
  REDIS_HOST: redis.outputs.redisHostName
  REDIS_PORT: '10000'
  DATABASE_HOST: hasPassword ? databaseWithPassword!.outputs.databaseHostName : database!.outputs.databaseHostName
  DATABASE_NAME: databaseSchemaName
}
