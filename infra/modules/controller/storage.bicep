// Two accounts without keys. One is the Function App's own: its host, state, evidence, apps.yaml, the
// package. The other holds backup sets and nothing else, since versions and immutability cost where
// the host writes all day.

@description('Name of the Function App\'s own account.')
param accountName string

@description('Name of the account of backup sets.')
param backupAccountName string

@description('Region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Redundancy of the Function App\'s own account.')
param sku string

@description('Redundancy of the account of backup sets: Standard_GRS or Standard_GZRS keeps a copy in another region.')
param backupSku string

@description('Whether the accounts are reached from the internet.')
param publicAccess bool

@description('Days in which nobody can change or remove a blob of a backup set, Slipway included. Shorter than the shortest retention of apps.yaml.')
@minValue(1)
@maxValue(365)
param immutableDays int

@description('Days in which a removed blob can be brought back.')
@minValue(1)
@maxValue(365)
param softDeleteDays int

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' = {
  // checkov:skip=CKV_AZURE_33: the host's queues carry nothing of worth; diagnostics cover what is written
  // checkov:skip=CKV_AZURE_59: closed by publicAccess where there is a network
  // checkov:skip=CKV_AZURE_206: redundancy is chosen per environment
  // checkov:skip=CKV_AZURE_35: closed by publicAccess where there is a network; without one Slipway has no fixed addresses to let in
  // checkov:skip=CKV_AZURE_43: the name is a parameter, made of lower-case letters and digits
  name: accountName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: sku
  }
  properties: {
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: publicAccess ? 'Allow' : 'Deny'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: softDeleteDays
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: softDeleteDays
    }
  }
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = [
  for containerName in ['config', 'deadletters', 'evidence', 'packages']: {
    parent: blobs
    name: containerName
    properties: {
      publicAccess: 'None'
    }
  }
]

resource backupAccount 'Microsoft.Storage/storageAccounts@2025-01-01' = {
  // checkov:skip=CKV_AZURE_33: it has no queues
  // checkov:skip=CKV_AZURE_59: closed by publicAccess where there is a network
  // checkov:skip=CKV_AZURE_206: redundancy is chosen per environment
  // checkov:skip=CKV_AZURE_35: closed by publicAccess where there is a network; without one Slipway has no fixed addresses to let in
  // checkov:skip=CKV_AZURE_43: the name is a parameter, made of lower-case letters and digits
  name: backupAccountName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: backupSku
  }
  properties: {
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: publicAccess ? 'Allow' : 'Deny'
    }
  }
}

resource backupBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' = {
  parent: backupAccount
  name: 'default'
  properties: {
    isVersioningEnabled: true
    deleteRetentionPolicy: {
      enabled: true
      days: softDeleteDays
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: softDeleteDays
    }
  }
}

resource backups 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = {
  parent: backupBlobs
  name: 'backups'
  properties: {
    publicAccess: 'None'
  }
}

// Unlocked: who owns the account can still shorten it. Locking it is for ever, and a decision of yours.
resource immutable 'Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies@2025-01-01' = {
  parent: backups
  name: 'default'
  properties: {
    immutabilityPeriodSinceCreationInDays: immutableDays
    allowProtectedAppendWrites: false
  }
}

@description('Resource id of the Function App\'s own account.')
output storageId string = account.id

@description('Name of the Function App\'s own account.')
output storageName string = account.name

@description('Address of its blobs, with a slash at its end.')
output blobUrl string = account.properties.primaryEndpoints.blob

@description('Resource id of the account of backup sets.')
output backupStorageId string = backupAccount.id

@description('Name of the account of backup sets.')
output backupStorageName string = backupAccount.name

@description('Address of the container of backup sets: SLIPWAY_BACKUP_URL.')
output backupUrl string = '${backupAccount.properties.primaryEndpoints.blob}${backups.name}'
