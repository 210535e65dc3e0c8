// Slipway on Flex Consumption: it costs nothing while idle. This host has no pg_dump: apps whose
// backup sets hold a database need the container variant.

@description('Name of the Function App.')
param functionAppName string

@description('Region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Resource id of Slipway\'s identity.')
param identityId string

@description('Address of the blobs of the Function App\'s own account, with a slash at its end.')
param blobUrl string

@description('Settings as name and value.')
param appSettings array

@description('Name of the Application Insights component.')
param componentsName string

@description('Resource id of the subnet for outgoing traffic. Empty: none.')
param subnetId string

@description('Version of Python.')
param pythonVersion string

@description('Memory of an instance, in MB.')
@allowed([512, 2048, 4096])
param instanceMemory int

@description('Most instances.')
@minValue(1)
param maximumInstances int

resource components 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentsName
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  // checkov:skip=CKV_AZURE_225: instances are the platform's own business here
  // checkov:skip=CKV_AZURE_212: the same
  name: '${functionAppName}-plan'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource functionApp 'Microsoft.Web/sites@2025-03-01' = {
  // checkov:skip=CKV_AZURE_13: function keys and tokens open it; there are no sessions to sign in to
  // checkov:skip=CKV_AZURE_17: registries and Azure Monitor have no client certificates
  // checkov:skip=CKV_AZURE_222: registries call it from the internet
  // checkov:skip=CKV_AZURE_78: this plan has no FTP
  // checkov:skip=CKV_AZURE_212: how many there are follows the queues
  // checkov:skip=CKV_AZURE_213: the host watches its instances itself
  name: functionAppName
  location: location
  tags: tags
  kind: 'functionapp,linux'
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
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${blobUrl}packages'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: pythonVersion
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemory
        maximumInstanceCount: maximumInstances
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      http20Enabled: true
      appSettings: concat(appSettings, [
        { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: components.properties.ConnectionString }
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
