// Addresses inside the network for what the app and Slipway talk to, with the names that lead there.

@description('Prefix of the endpoints\' names.')
param prefix string

@description('Region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Resource id of the subnet that they stand in.')
param subnetId string

@description('What gets one: name, resource id, group id and the resource id of its private DNS zone.')
param targets array

resource endpoints 'Microsoft.Network/privateEndpoints@2025-05-01' = [
  for target in targets: {
    name: '${prefix}-${target.name}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: subnetId
      }
      privateLinkServiceConnections: [
        {
          name: target.name
          properties: {
            privateLinkServiceId: target.resourceId
            groupIds: [
              target.groupId
            ]
          }
        }
      ]
    }
  }
]

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [
  for (target, index) in targets: {
    parent: endpoints[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: target.name
          properties: {
            privateDnsZoneId: target.zoneId
          }
        }
      ]
    }
  }
]
