// The flexible server that blue and green share. People and apps sign in with Entra; a password is
// there only where an old app knows nothing else, and then it comes from Key Vault.

@description('Name of the server.')
param serverName string

@description('Region.')
param location string

@description('Tags of the resource.')
param tags object

@description('Name of the database in it.')
param databaseName string

@description('Major version of PostgreSQL. pg_dump of the controller has to be of this version or newer.')
param version string

@description('Size, such as Standard_D2ds_v5.')
param skuName string

@description('Tier of that size. Burstable can take no backup on demand: database.backup of apps.yaml cannot be platform.')
@allowed(['Burstable', 'GeneralPurpose', 'MemoryOptimized'])
param skuTier string

@description('Size of the disk; it grows by itself and never shrinks.')
param storageGigabytes int

@description('Days back to which the server can be restored.')
@minValue(7)
@maxValue(35)
param backupRetentionDays int

@description('Keeps the backups in the paired region, too. Chosen when the server is created and for ever.')
param geoRedundantBackup bool

@description('A standby that takes over: none, in the same zone, or in another one. Not on Burstable.')
@allowed(['Disabled', 'SameZone', 'ZoneRedundant'])
param highAvailability string

@description('Entra administrator: object id.')
param administratorObjectId string

@description('Entra administrator: name of the user, group or application.')
param administratorName string

@description('Entra administrator: what it is.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param administratorType string

@description('Name of the administrator that has a password. Empty: passwords are off.')
param passwordLogin string = ''

@description('That password. Give it by Key Vault (getSecret), never as a text.')
@secure()
param passwordValue string = ''

@description('Whether it is reached from the internet. Closed where it has a private endpoint.')
param publicAccess bool

@description('Lets in whatever runs in Azure, of other customers too; they still have to sign in. Only for development without a network.')
param allowAzureServices bool

var hasPassword = !empty(passwordLogin)

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2025-08-01' = {
  name: serverName
  location: location
  tags: tags
  sku: {
    name: skuName
    tier: skuTier
  }
  properties: {
    version: version
    administratorLogin: hasPassword ? passwordLogin : null
    administratorLoginPassword: hasPassword ? passwordValue : null
    authConfig: {
      activeDirectoryAuth: 'Enabled'
      passwordAuth: hasPassword ? 'Enabled' : 'Disabled'
      tenantId: tenant().tenantId
    }
    storage: {
      storageSizeGB: storageGigabytes
      autoGrow: 'Enabled'
    }
    backup: {
      backupRetentionDays: backupRetentionDays
      geoRedundantBackup: geoRedundantBackup ? 'Enabled' : 'Disabled'
    }
    highAvailability: highAvailability == 'Disabled' ? null : {
      mode: highAvailability
    }
    network: {
      publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    }
  }
}

// The server takes one change at a time, hence the chain of dependsOn.
resource database 'Microsoft.DBforPostgreSQL/flexibleServers/databases@2025-08-01' = {
  parent: server
  name: databaseName
  properties: {
    charset: 'UTF8'
    collation: 'en_US.utf8'
  }
}

resource administrator 'Microsoft.DBforPostgreSQL/flexibleServers/administrators@2025-08-01' = {
  parent: server
  name: administratorObjectId
  properties: {
    principalName: administratorName
    principalType: administratorType
    tenantId: tenant().tenantId
  }
  dependsOn: [
    database
  ]
}

resource tls 'Microsoft.DBforPostgreSQL/flexibleServers/configurations@2025-08-01' = {
  parent: server
  name: 'ssl_min_protocol_version'
  properties: {
    source: 'user-override'
    value: 'TLSv1.2'
  }
  dependsOn: [
    administrator
  ]
}

resource azureServices 'Microsoft.DBforPostgreSQL/flexibleServers/firewallRules@2025-08-01' = if (publicAccess && allowAzureServices) {
  parent: server
  name: 'azure-services'
  properties: {
    startIpAddress: '0.0.0.0'
    endIpAddress: '0.0.0.0'
  }
  dependsOn: [
    tls
  ]
}

@description('Resource id of the server.')
output databaseId string = server.id

@description('Name of the server.')
output databaseName string = server.name

@description('Host of the server.')
output databaseHostName string = server.properties.fullyQualifiedDomainName
