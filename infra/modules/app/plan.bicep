// The Linux plan that production and its slots share: a slot that warms up takes its processor time
// from the same instances, so the plan is sized for both.

@description('Name of the plan.')
param planName string

@description('Region.')
param location string

@description('Tags of the resource.')
param tags object

@description('Size of an instance. Slots need Standard or better.')
param skuName string

@description('Number of instances. On a later deployment pass what the plan has now: this is written as it stands, and autoscale may have grown it.')
@minValue(1)
param capacity int

@description('Spreads the instances over availability zones. The region has to have zones, and it is chosen when the plan is created.')
param zoneRedundant bool

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  // checkov:skip=CKV_AZURE_225: zoneRedundant says so per environment; production has it
  name: planName
  location: location
  tags: tags
  kind: 'linux'
  sku: {
    name: skuName
    capacity: capacity
  }
  properties: {
    reserved: true // Linux
    zoneRedundant: zoneRedundant
  }
}

@description('Resource id of the plan.')
output planId string = plan.id
