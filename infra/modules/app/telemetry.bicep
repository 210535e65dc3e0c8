// Where the apps report to and what the judge reads: a Log Analytics workspace and Application
// Insights on top of it. It takes data by identity only, not from whoever knows the connection string.

@description('Name of the workspace.')
param workspaceName string

@description('Name of the Application Insights component.')
param componentsName string

@description('Region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Days that the data is kept.')
@minValue(30)
@maxValue(730)
param retentionDays int

@description('Lets an app report without an identity, by the connection string alone. Only for an app whose telemetry cannot sign in.')
param localAuthentication bool

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    features: {
      disableLocalAuth: true
      enableLogAccessUsingOnlyResourcePermissions: true
    }
  }
}

resource components 'Microsoft.Insights/components@2020-02-02' = {
  name: componentsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    IngestionMode: 'LogAnalytics'
    DisableLocalAuth: !localAuthentication
  }
}

@description('Resource id of the workspace.')
output workspaceId string = workspace.id

@description('Workspace id that queries name: analysis.workspace of apps.yaml.')
output workspaceCustomerId string = workspace.properties.customerId

@description('Resource id of Application Insights.')
output componentsId string = components.id

@description('Name of Application Insights.')
output componentsName string = components.name
