// Slipway on Elastic Premium, from an image that has PostgreSQL's own programs in it: pg_dump makes
// backup sets of databases. One instance is always there, and so is never cold.

@description('Name of the Function App.')
param functionAppName string

@description('Region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Resource id of Slipway\'s identity.')
param identityId string

@description('Client id of Slipway\'s identity, which pulls the image.')
param clientId string

@description('Slipway\'s image, by digest: REGISTRY/REPOSITORY@sha256:... Empty: the host without functions, until there is one.')
param image string

@description('Settings as name and value.')
param appSettings array

@description('Name of the Application Insights component.')
param componentsName string

@description('Resource id of the subnet for outgoing traffic. Empty: none.')
param subnetId string

@description('Size of the plan.')
@allowed(['EP1', 'EP2', 'EP3'])
param planSku string

@description('Most instances.')
@minValue(1)
param maximumInstances int

// The registry is made by the same deployment, so the first one has nothing to pull from it.
var hasImage = !empty(image)
var hostAlone = 'mcr.microsoft.com/azure-functions/python:4-python3.12'

resource components 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentsName
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  // checkov:skip=CKV_AZURE_225: a queue keeps what a zone's outage delays
  // checkov:skip=CKV_AZURE_212: the same
  name: '${functionAppName}-plan'
  location: location
  tags: tags
  kind: 'elastic'
  sku: {
    name: planSku
    tier: 'ElasticPremium'
  }
  properties: {
    reserved: true
    maximumElasticWorkerCount: maximumInstances
  }
}

resource functionApp 'Microsoft.Web/sites@2025-03-01' = {
  // checkov:skip=CKV_AZURE_13: function keys and tokens open it; there are no sessions to sign in to
  // checkov:skip=CKV_AZURE_17: registries and Azure Monitor have no client certificates
  // checkov:skip=CKV_AZURE_222: registries call it from the internet
  // checkov:skip=CKV_AZURE_212: how many there are follows the queues
  // checkov:skip=CKV_AZURE_213: the host watches its instances itself
  name: functionAppName
  location: location
  tags: tags
  kind: 'functionapp,linux,container'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      linuxFxVersion: 'DOCKER|${hasImage ? image : hostAlone}'
      acrUseManagedIdentityCreds: hasImage
      acrUserManagedIdentityID: clientId
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      minimumElasticInstanceCount: 1
      functionsRuntimeScaleMonitoringEnabled: true
      appSettings: concat(appSettings, [
        { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: components.properties.ConnectionString }
        { name: 'FUNCTIONS_EXTENSION_VERSION', value: '~4' }
        { name: 'FUNCTIONS_WORKER_RUNTIME', value: 'python' }
        { name: 'WEBSITES_ENABLE_APP_SERVICE_STORAGE', value: 'false' }
        { name: 'WEBSITES_PORT', value: '8080' }
      ])
    }
  }
}

@description('Resource id of the Function App.')
output functionAppId string = functionApp.id

@description('Name of the Function App.')
output functionAppName string = functionApp.name

@description('Host name of the Function App.')
output hostName string = functionApp.properties.defaultHostName
