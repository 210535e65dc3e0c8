// The vault of the app's and the controller's secrets. Roles open it, no access policies; what is
// deleted in it can be brought back for 90 days, and nobody can shorten that.

@description('Name of the vault.')
param vaultName string

@description('Region.')
param location string

@description('Tags of the resource.')
param tags object

@description('Whether it is reached from the internet.')
param publicAccess bool

@description('Addresses or ranges that alone may come from the internet, such as that of whoever fills it. Empty: all.')
param trustedAddresses array

@description('recover: bring back a vault of this name that was deleted; else a new one cannot take the name for 90 days.')
@allowed(['default', 'recover'])
param createMode string

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  // checkov:skip=CKV_AZURE_109: closed by publicAccess and trustedAddresses where there is a network; without one the slots have no fixed addresses to let in
  // checkov:skip=CKV_AZURE_189: the same
  name: vaultName
  location: location
  tags: tags
  properties: {
    createMode: createMode
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: publicAccess && empty(trustedAddresses) ? 'Allow' : 'Deny'
      ipRules: [
        for address in trustedAddresses: {
          value: address
        }
      ]
    }
  }
}

@description('Resource id of the vault.')
output vaultId string = vault.id

@description('Name of the vault.')
output vaultName string = vault.name

@description('Address of the vault.')
output vaultUri string = vault.properties.vaultUri
