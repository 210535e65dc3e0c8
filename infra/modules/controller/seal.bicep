// The key that seals backup sets. It is made in the vault and never leaves it; purge protection keeps
// it for as long as there are sets that need it.

@description('Name of the vault.')
param vaultName string

@description('Name of the key.')
param keyName string

@description('Principal id of Slipway\'s identity.')
param principalId string

var cryptoUser = '12338af0-0e69-4776-bea7-57ae8d297424' // Key Vault Crypto User

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource key 'Microsoft.KeyVault/vaults/keys@2024-11-01' = {
  // checkov:skip=CKV_AZURE_112: not in hardware, which needs a premium vault
  // checkov:skip=CKV_AZURE_40: it never expires: a set from last year still has to open
  parent: vault
  name: keyName
  properties: {
    kty: 'RSA'
    keySize: 3072
    keyOps: ['sign', 'unwrapKey', 'verify', 'wrapKey']
    attributes: {
      enabled: true
    }
  }
}

resource maySeal 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: key
  name: guid(key.id, principalId, cryptoUser)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', cryptoUser)
  }
}

@description('Name of the key: SLIPWAY_BACKUP_VAULT_KEY.')
output keyName string = key.name
