// Keeps what holds state from being deleted by mistake. The Function App is not locked: it is made
// again in minutes.

@description('Name of the Function App\'s own storage account.')
param storageName string

@description('Name of the account of backup sets.')
param backupStorageName string

@description('Name of the Service Bus namespace.')
param busName string

var lockName = 'slipway-keep'

resource storage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: storageName
}

resource backupStorage 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: backupStorageName
}

resource bus 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: busName
}

resource keepStorage 'Microsoft.Authorization/locks@2020-05-01' = {
  scope: storage
  name: lockName
  properties: {
    level: 'CanNotDelete'
    notes: 'What Slipway remembers, and why it decided so. Remove the lock first if you mean it.'
  }
}

resource keepBackups 'Microsoft.Authorization/locks@2020-05-01' = {
  scope: backupStorage
  name: lockName
  properties: {
    level: 'CanNotDelete'
    notes: 'The backup sets. Remove the lock first if you mean it.'
  }
}

resource keepBus 'Microsoft.Authorization/locks@2020-05-01' = {
  scope: bus
  name: lockName
  properties: {
    level: 'CanNotDelete'
    notes: 'Wake-ups of rollouts that are under way. Remove the lock first if you mean it.'
  }
}
