// Keeps what cannot be made again from being deleted by mistake. A lock also covers what is beneath
// its resource: slots of the site, and backups on demand of the database server.

@description('Name of the site.')
param siteName string

@description('Name of the registry.')
param registryName string

@description('Name of the vault.')
param vaultName string

@description('Name of the workspace.')
param workspaceName string

@description('Name of the database server.')
param serverName string

@description('Locks the server, too. Its backups on demand can then not be deleted, and there may be seven: leave it unlocked where database.backup of apps.yaml is platform.')
param lockDatabase bool

var lockName = 'slipway-keep'

resource site 'Microsoft.Web/sites@2025-03-01' existing = {
  name: siteName
}

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' existing = {
  name: registryName
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2025-08-01' existing = {
  name: serverName
}

resource keepSite 'Microsoft.Authorization/locks@2020-05-01' = {
  scope: site
  name: lockName
  properties: {
    level: 'CanNotDelete'
    notes: 'Production and the slots behind it. Remove the lock first if you mean it.'
  }
}

resource keepRegistry 'Microsoft.Authorization/locks@2020-05-01' = {
  scope: registry
  name: lockName
  properties: {
    level: 'CanNotDelete'
    notes: 'The images that slots restart from. Remove the lock first if you mean it.'
  }
}

resource keepVault 'Microsoft.Authorization/locks@2020-05-01' = {
  scope: vault
  name: lockName
  properties: {
    level: 'CanNotDelete'
    notes: 'Secrets, and the key that opens backup sets. Remove the lock first if you mean it.'
  }
}

resource keepWorkspace 'Microsoft.Authorization/locks@2020-05-01' = {
  scope: workspace
  name: lockName
  properties: {
    level: 'CanNotDelete'
    notes: 'What the judge reads and what alerts ask. Remove the lock first if you mean it.'
  }
}

resource keepServer 'Microsoft.Authorization/locks@2020-05-01' = if (lockDatabase) {
  scope: server
  name: lockName
  properties: {
    level: 'CanNotDelete'
    notes: 'A deleted server takes its backups with it. Remove the lock first if you mean it.'
  }
}
