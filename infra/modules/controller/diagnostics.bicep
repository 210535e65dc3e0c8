// Sends the platform's own logs of Slipway's resources to the workspace: who read a backup, what the
// bus refused. Slipway's own words come by Application Insights.

@description('Resource id of the workspace.')
param workspaceId string

@description('Name of the account of backup sets.')
param backupStorageName string

@description('Name of the Service Bus namespace.')
param busName string

@description('Name of the Function App.')
param functionAppName string

resource backupStorage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: backupStorageName
}

resource backupBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' existing = {
  parent: backupStorage
  name: 'default'
}

resource bus 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: busName
}

resource functionApp 'Microsoft.Web/sites@2025-03-01' existing = {
  name: functionAppName
}

resource ofBackups 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: backupBlobs
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        categoryGroup: 'audit'
        enabled: true
      }
    ]
  }
}

resource ofBus 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: bus
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}

resource ofFunctions 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: functionApp
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'FunctionAppLogs'
        enabled: true
      }
    ]
  }
}
