// What Slipway's identity may do with data: state and evidence, queues, secrets, telemetry, images.

@description('Principal id of Slipway\'s identity.')
param principalId string

@description('Name of the Function App\'s own storage account.')
param storageName string

@description('Name of the account of backup sets.')
param backupStorageName string

@description('Name of the Service Bus namespace.')
param busName string

@description('Name of the vault.')
param vaultName string

@description('Name of the workspace.')
param workspaceName string

@description('Name of the Application Insights component.')
param componentsName string

@description('Name of the registry.')
param registryName string

@description('Whether the registry narrows roles to repositories (ABAC).')
param registryByRepository bool

@description('Whether Slipway may back secrets of the vault up, and restore them.')
param backsSecretsUp bool

var blobOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b' // Storage Blob Data Owner: the host's own need
var blobContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe' // Storage Blob Data Contributor
var queueContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88' // Storage Queue Data Contributor
var tableContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3' // Storage Table Data Contributor
var busOwner = '090c5cfd-751d-490a-894a-3ce6f1109419' // Service Bus Data Owner: scaling looks at queues
var secretsUser = '4633458b-17de-408a-b874-0445c86b69e6' // Key Vault Secrets User
var logReader = '73c42c96-874c-492b-b04d-ab87d138a893' // Log Analytics Reader
var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb' // Monitoring Metrics Publisher
var acrPull = '7f951dda-4ed3-4680-a7ca-43fe172d538d'
var repositoryReader = 'b93aa761-3e63-49ed-ac28-beffa264f7ac' // Container Registry Repository Reader
var pullRole = registryByRepository ? repositoryReader : acrPull

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: storageName
}

resource backupStorage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: backupStorageName
}

resource bus 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: busName
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource components 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentsName
}

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' existing = {
  name: registryName
}

resource onStorage 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for roleId in [blobOwner, queueContributor, tableContributor]: {
    scope: storage
    name: guid(storage.id, principalId, roleId)
    properties: {
      principalId: principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleId)
    }
  }
]

resource onBackups 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: backupStorage
  name: guid(backupStorage.id, principalId, blobContributor)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobContributor)
  }
}

resource onBus 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: bus
  name: guid(bus.id, principalId, busOwner)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', busOwner)
  }
}

resource onVault 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault
  name: guid(vault.id, principalId, secretsUser)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', secretsUser)
  }
}

// No built-in role holds these without the right to write any secret.
resource secretsKeeper 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (backsSecretsUp) {
  name: guid(resourceGroup().id, vaultName, 'slipway-secrets-keeper')
  properties: {
    roleName: 'Slipway keeper of ${vaultName}'
    description: 'Backs secrets up and restores those that are gone, without their values.'
    type: 'CustomRole'
    permissions: [
      {
        actions: []
        dataActions: [
          'Microsoft.KeyVault/vaults/secrets/backup/action'
          'Microsoft.KeyVault/vaults/secrets/readMetadata/action'
          'Microsoft.KeyVault/vaults/secrets/recover/action'
          'Microsoft.KeyVault/vaults/secrets/restore/action'
        ]
      }
    ]
    assignableScopes: [
      resourceGroup().id
    ]
  }
}

resource keepsSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (backsSecretsUp) {
  scope: vault
  name: guid(vault.id, principalId, 'slipway-secrets-keeper')
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: secretsKeeper.id
  }
}

resource onWorkspace 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: workspace
  name: guid(workspace.id, principalId, logReader)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', logReader)
  }
}

resource mayReport 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: components
  name: guid(components.id, principalId, metricsPublisher)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', metricsPublisher)
  }
}

resource onRegistry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: registry
  name: guid(registry.id, principalId, pullRole)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', pullRole)
  }
}
