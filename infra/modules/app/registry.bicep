// The registry whose pushes start rollouts. No admin user: slots and controller pull by identity.

@description('Name of the registry: letters and digits.')
param registryName string

@description('Region.')
param location string

@description('Tags of the resource.')
param tags object

@description('Premium has private endpoints, replicas and zones.')
@allowed(['Standard', 'Premium'])
param skuName string

@description('Whether roles may be narrowed to single repositories. Slots then need Container Registry Repository Reader instead of AcrPull.')
param byRepository bool

@description('Region of a replica, which pulls go on from while the first region is down. Empty: none. Needs Premium.')
param replicaLocation string

@description('Whether it is reached from the internet. A pipeline outside of the network pushes that way.')
param publicAccess bool

@description('Addresses or ranges that alone may come from the internet. Empty: all. Needs Premium.')
param trustedAddresses array

var isPremium = skuName == 'Premium'
var addressRules = [
  for address in trustedAddresses: {
    action: 'Allow'
    value: address
  }
]
var ruleSet = {
  defaultAction: empty(trustedAddresses) ? 'Allow' : 'Deny'
  ipRules: addressRules
}

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' = {
  // checkov:skip=CKV_AZURE_139: pipelines outside of Azure push here; publicAccess closes it
  // checkov:skip=CKV_AZURE_163: a subscription-wide plan of Defender, no property of the registry; pipelines scan before the push
  // checkov:skip=CKV_AZURE_164: Docker's content trust is retired; images are signed with cosign
  // checkov:skip=CKV_AZURE_166: quarantine hides an image from those who pull until a scanner frees it; ours scan before the push
  // checkov:skip=CKV_AZURE_167: slots pin digests. Untagged manifests that a policy deletes are what the next restart asks for
  // checkov:skip=CKV_AZURE_237: data endpoints are for client firewalls by host name; nobody here has one
  name: registryName
  location: location
  tags: tags
  sku: {
    name: skuName
  }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
    roleAssignmentMode: byRepository ? 'AbacRepositoryPermissions' : 'LegacyRegistryPermissions'
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkRuleBypassOptions: 'AzureServices'
    networkRuleSet: isPremium ? ruleSet : null
  }
}

resource replica 'Microsoft.ContainerRegistry/registries/replications@2025-11-01' = if (isPremium && !empty(replicaLocation)) {
  parent: registry
  name: empty(replicaLocation) ? 'none' : replicaLocation
  location: replicaLocation
  tags: tags
  properties: {
    zoneRedundancy: 'Enabled'
  }
}

@description('Resource id of the registry.')
output registryId string = registry.id

@description('Name of the registry.')
output registryName string = registry.name

@description('Host that images are named by.')
output registryLoginServer string = registry.properties.loginServer
