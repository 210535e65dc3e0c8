// The namespace with Slipway's four queues. Sessions keep an app's messages in order and apart;
// duplicate detection drops what was sent twice. Both can be chosen only when a queue is made.

@description('Name of the namespace.')
param busName string

@description('Region.')
param location string

@description('Tags of the resource.')
param tags object

@description('Standard has all that Slipway needs; private endpoints need Premium.')
@allowed(['Standard', 'Premium'])
param sku string

@description('Whether the namespace is reached from the internet.')
param publicAccess bool

var queuesWithSessions = ['maintenance', 'observations', 'rollouts']

resource bus 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  // checkov:skip=CKV_AZURE_199: no double encryption: messages hold names of images and no data
  // checkov:skip=CKV_AZURE_201: no key of our own, for the same reason
  // checkov:skip=CKV_AZURE_204: closed by publicAccess where the size allows it
  name: busName
  location: location
  tags: tags
  sku: {
    name: sku
    tier: sku
  }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
  }
}

resource queues 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = [
  for queueName in queuesWithSessions: {
    parent: bus
    name: queueName
    properties: {
      requiresSession: true
      requiresDuplicateDetection: true
      duplicateDetectionHistoryTimeWindow: 'PT10M'
      lockDuration: 'PT1M'
      maxDeliveryCount: 20 // a crash or a scale-in counts as a delivery
      deadLetteringOnMessageExpiration: true
      defaultMessageTimeToLive: 'P14D'
    }
  }
]

// What cannot be carried out is looked at by people, who have two weeks.
resource rejected 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: bus
  name: 'rejected'
  properties: {
    requiresSession: false
    defaultMessageTimeToLive: 'P14D'
  }
}

@description('Resource id of the namespace.')
output busId string = bus.id

@description('Name of the namespace.')
output busName string = bus.name

@description('Host name of the namespace.')
output hostName string = '${bus.name}.servicebus.windows.net'
