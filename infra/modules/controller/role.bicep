// What Slipway may do to sites, slots and database servers of this group: each action that its code
// calls, and no other. Website Contributor could also delete them.

@description('Short name that the roles are named by.')
param name string

@description('Principal id of Slipway\'s identity.')
param principalId string

@description('Whether Slipway may make flexible servers, for `slipway backup pitr`.')
param pointInTime bool

var siteActions = [
  'Microsoft.Web/sites/read'
  'Microsoft.Web/sites/config/read'
  'Microsoft.Web/sites/config/write'
  'Microsoft.Web/sites/config/list/action'
  'Microsoft.Web/sites/containerlogs/action'
  'Microsoft.Web/sites/instances/read'
  'Microsoft.Web/sites/operationresults/read'
  'Microsoft.Web/sites/resetSlotConfig/action'
  'Microsoft.Web/sites/restart/action'
  'Microsoft.Web/sites/sitecontainers/read'
  'Microsoft.Web/sites/sitecontainers/write'
  'Microsoft.Web/sites/slots/read'
  'Microsoft.Web/sites/slots/config/read'
  'Microsoft.Web/sites/slots/config/write'
  'Microsoft.Web/sites/slots/config/list/action'
  'Microsoft.Web/sites/slots/containerlogs/action'
  'Microsoft.Web/sites/slots/instances/read'
  'Microsoft.Web/sites/slots/operationresults/read'
  'Microsoft.Web/sites/slots/resetSlotConfig/action'
  'Microsoft.Web/sites/slots/restart/action'
  'Microsoft.Web/sites/slots/sitecontainers/read'
  'Microsoft.Web/sites/slots/sitecontainers/write'
  'Microsoft.Web/sites/slots/slotsdiffs/action'
  'Microsoft.Web/sites/slots/slotsswap/action'
]
var serverActions = [
  'Microsoft.DBforPostgreSQL/flexibleServers/read'
  'Microsoft.DBforPostgreSQL/flexibleServers/administrators/read'
  'Microsoft.DBforPostgreSQL/flexibleServers/backups/delete'
  'Microsoft.DBforPostgreSQL/flexibleServers/backups/read'
  'Microsoft.DBforPostgreSQL/flexibleServers/backups/write'
  'Microsoft.DBforPostgreSQL/flexibleServers/configurations/read'
  'Microsoft.DBforPostgreSQL/flexibleServers/firewallRules/read'
  'Microsoft.DBforPostgreSQL/flexibleServers/replicas/read'
  'Microsoft.DBforPostgreSQL/flexibleServers/virtualEndpoints/read'
  'Microsoft.DBforPostgreSQL/locations/azureAsyncOperation/read'
  'Microsoft.DBforPostgreSQL/locations/operationResults/read'
]
var pointInTimeActions = [
  'Microsoft.DBforPostgreSQL/flexibleServers/write'
  'Microsoft.Network/virtualNetworks/subnets/join/action'
  'Microsoft.Network/privateDnsZones/join/action'
]

resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, name, 'slipway')
  properties: {
    roleName: 'Slipway ${name} (${uniqueString(resourceGroup().id)})'
    description: 'Rolls images out on the sites of one group, and backs its database servers up.'
    type: 'CustomRole'
    permissions: [
      {
        actions: concat(siteActions, serverActions, pointInTime ? pointInTimeActions : [])
        notActions: []
      }
    ]
    assignableScopes: [
      resourceGroup().id
    ]
  }
}

resource mayRollOut 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, principalId, role.id)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: role.id
  }
}
