// Azure Managed Redis, which follows Azure Cache for Redis. No access keys: apps sign in with their
// identity, by TLS on port 10000.

@description('Name of the cache.')
param redisName string

@description('Region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Size, such as Balanced_B0.')
param skuName string

@description('Keeps a copy on a second node.')
param highAvailability bool

@description('Whether it is reached from the internet. Closed where it has a private endpoint.')
param publicAccess bool

@description('Principal ids of the identities that may read and write.')
param principalIds array

resource redis 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: redisName
  location: location
  tags: tags
  sku: {
    name: skuName
  }
  properties: {
    minimumTlsVersion: '1.2'
    highAvailability: highAvailability ? 'Enabled' : 'Disabled'
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
  }
}

resource cache 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: redis
  name: 'default'
  properties: {
    clientProtocol: 'Encrypted'
    port: 10000
    accessKeysAuthentication: 'Disabled'
    clusteringPolicy: 'EnterpriseCluster' // one address: clients need not know of shards
    evictionPolicy: 'AllKeysLRU'
  }
}

@batchSize(1)
resource access 'Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments@2025-07-01' = [
  for principalId in principalIds: {
    parent: cache
    name: replace(principalId, '-', '')
    properties: {
      accessPolicyName: 'default'
      user: {
        objectId: principalId
      }
    }
  }
]

@description('Resource id of the cache.')
output redisId string = redis.id

@description('Host of the cache.')
output redisHostName string = redis.properties.hostName
