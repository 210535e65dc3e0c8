// Sends the platform's own logs and metrics of the app's resources to the workspace. Requests are not
// among them: the app reports those itself, and paying for them twice tells nobody more.

@description('Resource id of the workspace.')
param workspaceId string

@description('Name of the plan.')
param planName string

@description('Name of the site.')
param siteName string

@description('Names of the slots.')
param slotNames array

@description('Name of the registry.')
param registryName string

@description('Name of the vault.')
param vaultName string

@description('Name of the cache.')
param redisName string

@description('Name of the database server.')
param serverName string

@description('Name of the autoscale setting.')
param autoscaleName string

var settingName = 'to-workspace'
var everyLog = [
  {
    categoryGroup: 'allLogs'
    enabled: true
  }
]
var everyMetric = [
  {
    category: 'AllMetrics'
    enabled: true
  }
]
var siteLogs = [
  {
    category: 'AppServiceConsoleLogs'
    enabled: true
  }
  {
    category: 'AppServicePlatformLogs'
    enabled: true
  }
  {
    category: 'AppServiceAuditLogs'
    enabled: true
  }
]

resource plan 'Microsoft.Web/serverfarms@2025-03-01' existing = {
  name: planName
}

resource site 'Microsoft.Web/sites@2025-03-01' existing = {
  name: siteName
}

resource slots 'Microsoft.Web/sites/slots@2025-03-01' existing = [
  for slotName in slotNames: {
    parent: site
    name: slotName
  }
]

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' existing = {
  name: registryName
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource redis 'Microsoft.Cache/redisEnterprise@2025-07-01' existing = {
  name: redisName
}

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2025-08-01' existing = {
  name: serverName
}

resource autoscale 'Microsoft.Insights/autoscalesettings@2022-10-01' existing = {
  name: autoscaleName
}

resource planMetrics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: plan
  name: settingName
  properties: {
    workspaceId: workspaceId
    metrics: everyMetric
  }
}

resource siteDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: site
  name: settingName
  properties: {
    workspaceId: workspaceId
    logs: siteLogs
    metrics: everyMetric
  }
}

resource slotDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = [
  for (slotName, index) in slotNames: {
    scope: slots[index]
    name: settingName
    properties: {
      workspaceId: workspaceId
      logs: siteLogs
      metrics: everyMetric
    }
  }
]

resource registryDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: registry
  name: settingName
  properties: {
    workspaceId: workspaceId
    logs: everyLog
    metrics: everyMetric
  }
}

resource vaultDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vault
  name: settingName
  properties: {
    workspaceId: workspaceId
    logs: everyLog
    metrics: everyMetric
  }
}

resource redisMetrics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: redis
  name: settingName
  properties: {
    workspaceId: workspaceId
    metrics: everyMetric
  }
}

resource serverDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: server
  name: settingName
  properties: {
    workspaceId: workspaceId
    logs: everyLog
    metrics: everyMetric
  }
}

resource autoscaleDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: autoscale
  name: settingName
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'AutoscaleEvaluations'
        enabled: true
      }
      {
        category: 'AutoscaleScaleActions'
        enabled: true
      }
    ]
  }
}
