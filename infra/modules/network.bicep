// The optional network: one subnet each for the slots' and the controller's outgoing traffic, one for
// private endpoints, and the private DNS zones that make the usual host names lead to them.

@description('Name of the network.')
param networkName string

@description('Region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Addresses of the network.')
param addressPrefix string

@description('Addresses of the subnet of the slots. An instance takes one; upgrades need as many again.')
param sitePrefix string

@description('Addresses of the subnet of the controller.')
param controllerPrefix string

@description('Addresses of the subnet of private endpoints.')
param endpointPrefix string

@description('Whose subnet the controller gets: Microsoft.App/environments for Flex Consumption and Container Apps, Microsoft.Web/serverFarms for Elastic Premium.')
@allowed(['Microsoft.App/environments', 'Microsoft.Web/serverFarms'])
param controllerDelegation string

var storageSuffix = az.environment().suffixes.storage
var zoneNames = [
  'privatelink.azurecr.io'
  'privatelink.vaultcore.azure.net'
  'privatelink.redis.azure.net'
  'privatelink.postgres.database.azure.com'
  'privatelink.servicebus.windows.net'
  'privatelink.blob.${storageSuffix}'
  'privatelink.table.${storageSuffix}'
  'privatelink.queue.${storageSuffix}'
]

resource closed 'Microsoft.Network/networkSecurityGroups@2025-05-01' = {
  name: '${networkName}-inside'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'only-from-the-network'
        properties: {
          priority: 4000
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: 'Internet'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: networkName
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        addressPrefix
      ]
    }
    subnets: [
      {
        name: 'site'
        properties: {
          addressPrefix: sitePrefix
          networkSecurityGroup: {
            id: closed.id
          }
          delegations: [
            {
              name: 'site'
              properties: {
                serviceName: 'Microsoft.Web/serverFarms'
              }
            }
          ]
        }
      }
      {
        name: 'controller'
        properties: {
          addressPrefix: controllerPrefix
          networkSecurityGroup: {
            id: closed.id
          }
          delegations: [
            {
              name: 'controller'
              properties: {
                serviceName: controllerDelegation
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: endpointPrefix
          networkSecurityGroup: {
            id: closed.id
          }
          privateEndpointNetworkPolicies: 'Enabled'
        }
      }
    ]
  }
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zoneName in zoneNames: {
    name: zoneName
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zoneName, index) in zoneNames: {
    parent: zones[index]
    name: networkName
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: network.id
      }
    }
  }
]

@description('Resource id of the network.')
output networkId string = network.id

@description('Resource id of the subnet of the slots.')
output siteSubnetId string = '${network.id}/subnets/site'

@description('Resource id of the subnet of the controller.')
output controllerSubnetId string = '${network.id}/subnets/controller'

@description('Resource id of the subnet of private endpoints.')
output endpointSubnetId string = '${network.id}/subnets/endpoints'
