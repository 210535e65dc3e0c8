// Who Slipway is. An identity of its own outlives the Function App: its roles hold before the first
// start, and still after the app was made anew.

@description('Name of the identity.')
param identityName string

@description('Region.')
param location string

@description('Tags of the resource.')
param tags object

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: identityName
  location: location
  tags: tags
}

@description('Resource id of the identity.')
output identityId string = identity.id

@description('Client id, which settings name.')
output clientId string = identity.properties.clientId

@description('Principal id, which role assignments name.')
output principalId string = identity.properties.principalId
