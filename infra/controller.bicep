// The controller side: Slipway itself, what it remembers in, what it hears from, and what it may do.

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

@description('What runs Slipway: flex (Flex Consumption, a zip) or container (our image, which has pg_dump for backup sets of databases).')
@allowed(['flex', 'container'])
param variant string = 'flex'

@description('Slipway\'s image, by digest; for the container variant. Empty in the first deployment, which makes the registry.')
param controllerImage string = ''

@description('Resource id of the registry whose pushes start rollouts.')
param registryId string

@description('Name of that registry.')
param registryName string

@description('Whether the registry narrows roles to repositories (ABAC).')
param registryByRepository bool = false

@description('Resource id of the workspace that the apps report to.')
param workspaceId string

@description('Resource id of Application Insights.')
param componentsId string

@description('Name of the vault.')
param vaultName string

@description('Address of the vault.')
param vaultUri string

@description('Resource id of the subnet for outgoing traffic. Empty: none.')
param controllerSubnetId string = ''

@description('Resource id of the subnet of private endpoints. Needed without public access; its network has the zones.')
param endpointSubnetId string = ''

@description('Whether storage and Service Bus are reached from the internet. Without it they need private endpoints, and Service Bus Premium.')
param publicAccess bool = true

@description('Version of Python, on Flex Consumption.')
param pythonVersion string = '3.12'

@description('Most instances.')
@minValue(1)
param maximumInstances int = 40

@description('Memory of an instance in MB, on Flex Consumption.')
@allowed([512, 2048, 4096])
param instanceMemory int = 2048

@description('Size of the Elastic Premium plan, of the container variant.')
@allowed(['EP1', 'EP2', 'EP3'])
param planSku string = 'EP1'

@description('Whether on_image_pushed is deployed: only then Event Grid can be connected to it.')
param connectEvents bool = false

@description('Repository whose pushes count, with its colon: shop:. Empty: all.')
param repositoryPrefix string = ''

@description('When the sweep runs: NCRONTAB.')
param sweepSchedule string = '0 */1 * * * *'

@description('When apps are backed up: NCRONTAB, in UTC.')
param backupSchedule string = '0 0 2 * * *'

@description('When their newest sets are restored for practice: NCRONTAB, in UTC.')
param drillSchedule string = '0 0 4 * * 0'

@description('Days in which nobody can change or remove a blob of a backup set.')
@minValue(1)
@maxValue(365)
param immutableDays int = 5

@description('Days in which a removed blob can be brought back.')
@minValue(1)
@maxValue(365)
param softDeleteDays int = 14

@description('Secret that is the key of older backup sets, or of all.')
param backupKey string = ''

@description('Secret that is the passphrase of older backup sets, or of all.')
param backupPassphrase string = ''

@description('Whether backup sets are sealed with a key that never leaves the vault.')
param sealWithVaultKey bool = true

@description('Whether Slipway may back secrets of the vault up, and restore them.')
param backsSecretsUp bool = true

@description('Whether Slipway may make flexible servers, for `slipway backup pitr`.')
param pointInTime bool = false

@description('Whom the tokens of secure webhooks are for: application ids or URIs, comma-separated. Empty: no tokens.')
param alertsAudience string = ''

@description('Registries beside Azure\'s own that may be given Slipway\'s token, comma-separated.')
param acrHosts string = ''

@description('Locks what holds state against deletion.')
param lockResources bool = true

var unique = uniqueString(resourceGroup().id, name)
var isProduction = environment == 'production'
var componentsName = last(split(componentsId, '/'))
var workspaceName = last(split(workspaceId, '/'))
var identityName = '${name}-slipway'
var functionAppName = '${name}-slipway-${take(unique, 6)}'
var sealKeyName = 'slipway-backups'

module identity 'modules/controller/identity.bicep' = {
  name: 'controller-identity'
  params: {
    identityName: identityName
    location: location
    tags: tags
  }
}

module storage 'modules/controller/storage.bicep' = {
  name: 'controller-storage'
  params: {
    accountName: take('${name}sw${unique}', 24)
    backupAccountName: take('${name}bk${unique}', 24)
    location: location
    tags: tags
    sku: isProduction ? 'Standard_ZRS' : 'Standard_LRS'
    backupSku: isProduction ? 'Standard_GZRS' : 'Standard_LRS'
    publicAccess: publicAccess
    immutableDays: immutableDays
    softDeleteDays: softDeleteDays
  }
}

module bus 'modules/controller/bus.bicep' = {
  name: 'controller-bus'
  params: {
    busName: '${name}-slipway-${take(unique, 6)}'
    location: location
    tags: tags
    sku: publicAccess ? 'Standard' : 'Premium'
    publicAccess: publicAccess
  }
}

module seal 'modules/controller/seal.bicep' = if (sealWithVaultKey) {
  name: 'controller-seal'
  params: {
    vaultName: vaultName
    keyName: sealKeyName
    principalId: identity.outputs.principalId
  }
}

module role 'modules/controller/role.bicep' = {
  name: 'controller-role'
  params: {
    name: name
    principalId: identity.outputs.principalId
    pointInTime: pointInTime
  }
}

module access 'modules/controller/access.bicep' = {
  name: 'controller-access'
  params: {
    principalId: identity.outputs.principalId
    storageName: storage.outputs.storageName
    backupStorageName: storage.outputs.backupStorageName
    busName: bus.outputs.busName
    vaultName: vaultName
    workspaceName: workspaceName
    componentsName: componentsName
    registryName: registryName
    registryByRepository: registryByRepository
    backsSecretsUp: backsSecretsUp
  }
}

module configured 'modules/controller/settings.bicep' = {
  name: 'controller-settings'
  params: {
    clientId: identity.outputs.clientId
    storageName: storage.outputs.storageName
    blobUrl: storage.outputs.blobUrl
    busHostName: bus.outputs.hostName
    vaultUri: vaultUri
    backupUrl: storage.outputs.backupUrl
    backupVaultKey: sealWithVaultKey ? sealKeyName : ''
    backupKey: backupKey
    backupPassphrase: backupPassphrase
    sweepSchedule: sweepSchedule
    backupSchedule: backupSchedule
    drillSchedule: drillSchedule
    alertsAudience: alertsAudience
    acrHosts: acrHosts
  }
}

var zones = 'Microsoft.Network/privateDnsZones'
var storageSuffix = az.environment().suffixes.storage

module privateEndpoints 'modules/private_endpoints.bicep' = if (!publicAccess) {
  name: 'controller-private-endpoints'
  params: {
    prefix: 'pe-${name}-slipway'
    location: location
    tags: tags
    subnetId: endpointSubnetId
    targets: [
      {
        name: 'blob'
        resourceId: storage.outputs.storageId
        groupId: 'blob'
        zoneId: resourceId(zones, 'privatelink.blob.${storageSuffix}')
      }
      {
        name: 'queue'
        resourceId: storage.outputs.storageId
        groupId: 'queue'
        zoneId: resourceId(zones, 'privatelink.queue.${storageSuffix}')
      }
      {
        name: 'table'
        resourceId: storage.outputs.storageId
        groupId: 'table'
        zoneId: resourceId(zones, 'privatelink.table.${storageSuffix}')
      }
      {
        name: 'backups'
        resourceId: storage.outputs.backupStorageId
        groupId: 'blob'
        zoneId: resourceId(zones, 'privatelink.blob.${storageSuffix}')
      }
      {
        name: 'bus'
        resourceId: bus.outputs.busId
        groupId: 'namespace'
        zoneId: resourceId(zones, 'privatelink.servicebus.windows.net')
      }
    ]
  }
}

// Roles first: the host reads its storage when it starts.
module flex 'modules/controller/functions_flex.bicep' = if (variant == 'flex') {
  name: 'controller-functions-flex'
  params: {
    functionAppName: functionAppName
    location: location
    tags: tags
    identityId: identity.outputs.identityId
    blobUrl: storage.outputs.blobUrl
    appSettings: configured.outputs.appSettings
    componentsName: componentsName
    subnetId: controllerSubnetId
    pythonVersion: pythonVersion
    instanceMemory: instanceMemory
    maximumInstances: maximumInstances
  }
  dependsOn: [
    access
    privateEndpoints
  ]
}

module container 'modules/controller/functions_container.bicep' = if (variant == 'container') {
  name: 'controller-functions-container'
  params: {
    functionAppName: functionAppName
    location: location
    tags: tags
    identityId: identity.outputs.identityId
    clientId: identity.outputs.clientId
    image: controllerImage
    appSettings: configured.outputs.appSettings
    componentsName: componentsName
    subnetId: controllerSubnetId
    planSku: planSku
    maximumInstances: maximumInstances
  }
  dependsOn: [
    access
    privateEndpoints
  ]
}

var appId = resourceId('Microsoft.Web/sites', functionAppName)

module events 'modules/controller/events.bicep' = {
  name: 'controller-events'
  params: {
    topicName: '${name}-pushes'
    location: location
    tags: tags
    registryId: registryId
    functionAppId: appId
    storageName: storage.outputs.storageName
    subjectBeginsWith: repositoryPrefix
    connect: connectEvents
  }
  dependsOn: [
    flex
    container
  ]
}

module diagnostics 'modules/controller/diagnostics.bicep' = {
  name: 'controller-diagnostics'
  params: {
    workspaceId: workspaceId
    backupStorageName: storage.outputs.backupStorageName
    busName: bus.outputs.busName
    functionAppName: functionAppName
  }
  dependsOn: [
    flex
    container
  ]
}

module locks 'modules/controller/locks.bicep' = if (lockResources) {
  name: 'controller-locks'
  params: {
    storageName: storage.outputs.storageName
    backupStorageName: storage.outputs.backupStorageName
    busName: bus.outputs.busName
  }
  dependsOn: [
    diagnostics
  ]
}

@description('Resource id of the Function App.')
output functionAppId string = appId

@description('Name of the Function App.')
output functionAppName string = functionAppName

@description('Host name of the Function App: SLIPWAY_URL of the command line.')
output functionHostName string = variant == 'flex' ? flex!.outputs.hostName : container!.outputs.hostName

@description('Resource id of Slipway\'s identity.')
output identityId string = identity.outputs.identityId

@description('Client id of Slipway\'s identity.')
output identityClientId string = identity.outputs.clientId

@description('Principal id of Slipway\'s identity.')
output identityPrincipalId string = identity.outputs.principalId

@description('Resource id of the Service Bus namespace.')
output busId string = bus.outputs.busId

@description('Name of the Service Bus namespace.')
output busName string = bus.outputs.busName

@description('Resource id of the Function App\'s own storage account.')
output storageId string = storage.outputs.storageId

@description('Name of the Function App\'s own storage account, which holds apps.yaml.')
output storageName string = storage.outputs.storageName

@description('Address of the container of backup sets.')
output backupUrl string = storage.outputs.backupUrl
